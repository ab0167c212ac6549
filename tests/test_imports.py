"""Packages import in one direction, without circles, and each dependency has its importers."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "resift"
BASE = {
    "types", "errors", "extras", "files", "inputs", "cores", "settings", "plain_json",
    "setting_values", "storage_settings", "storage_tables", "background", "outages", "transport",
}  # fmt: skip

MAY_IMPORT = {
    "types": {"errors", "contexts", "documents", "plain_json", "extras"},
    "contexts": {"documents"},
    "documents": set[str](),
    "plain_json": set[str](),
    "errors": set[str](),
    "extras": {"errors"},
    "cores": set[str](),
    "background": set[str](),
    "outages": {"errors"},
    "transport": {"errors", "files"},
    "files": {"errors"},
    "inputs": {"errors", "files"},
    "settings": {"errors", "files", "setting_values", "storage_settings", "storage_tables"},
    "setting_values": {"errors"},
    "storage_settings": {"errors", "setting_values"},
    "storage_tables": {"errors", "setting_values", "storage_settings"},
    "rerank": BASE,
    "index": BASE,
    "convert": BASE | {"rerank"},
    "search": BASE | {"rerank", "index"},
    "evaluation": BASE | {"rerank", "index", "search", "retrievers"},
    "retrievers": BASE | {"rerank", "index", "search"},
    "integrations": BASE | {"rerank", "index", "search"},
    "serve": BASE | {"rerank", "index", "search"},
    "planning": BASE,
    "training": BASE | {"rerank", "convert", "evaluation"},
    "jobs": BASE | {"rerank", "index", "search", "evaluation", "serve"},
    "__main__": {"cli"},
    "cli": BASE
    | {
        "rerank",
        "index",
        "search",
        "serve",
        "evaluation",
        "convert",
        "training",
        "jobs",
        "planning",
        "retrievers",
    },
}
"""What each package knows of the others; every package also knows itself."""

ALSO = {
    "index/embedders/artifact.py": {"rerank"},
    "index/embedders/stored.py": {"rerank"},
    "index/parsing/chunking.py": {"rerank"},
    "rerank/catalogue.py": {"convert"},
    "search/counters.py": {"convert"},
    "types.py": {"search"},
}
"""Files that may know more than their package: how models run, how texts are counted, and how a
model that is not stored yet is made (by `require`, when it is needed)."""

IMPORTERS = {
    "boto3": ("retrievers/",),
    "botocore": ("cli/demo.py", "index/storage/credentials.py"),
    "azure": ("index/storage/az_access.py",),
    "bm25s": ("training/",),
    "charset_normalizer": ("index/parsing/charset.py",),
    "dspy": ("integrations/dspy.py",),
    "duckdb": ("retrievers/",),
    "elasticsearch": ("retrievers/",),
    "fastapi": ("serve/",),
    "filelock": ("convert/store.py",),
    "google": ("index/storage/gs_access.py",),
    "haystack": ("integrations/haystack.py",),
    "huggingface_hub": (
        "convert/hub.py",
        "convert/hub_errors.py",
        "convert/hub_tokenizer.py",
        "convert/steps.py",
    ),
    "ir_measures": ("evaluation/measures.py",),
    "kreuzberg": ("index/parsing/parse_office.py",),
    "lance": ("index/table/",),
    "lancedb": ("integrations/lancedb.py", "retrievers/"),
    "langchain_core": ("integrations/langchain.py",),
    "llama_index": ("integrations/llama_index.py",),
    "mcp": ("serve/mcp.py",),
    "mteb": ("integrations/mteb.py",),
    "ml_dtypes": ("convert/safetensors_files.py",),
    "numpy": (
        "rerank/",
        "index/",
        "search/fusion.py",
        "retrievers/",
        "integrations/",
        "evaluation/",
        "convert/",
        "training/",
    ),
    "obstore": (
        "index/storage/access.py",
        "index/storage/client.py",
        "index/storage/s3_access.py",
        "index/storage/doctor.py",
        "index/sources/bucket.py",
        "index/versions/files.py",
        "index/versions/published.py",
        "index/versions/shard_count.py",
    ),
    "onnx": ("convert/", "training/"),
    "onnxruntime": ("rerank/runtimes.py",),
    "opensearchpy": ("retrievers/",),
    "opentelemetry": ("serve/tracing.py",),
    "openvino": ("rerank/runtimes.py",),
    "pandas": ("types.py", "integrations/pyterrier.py", "retrievers/"),
    "pathspec": ("index/sources/patterns.py",),
    "prometheus_client": ("serve/metrics.py", "jobs/serve_metrics.py"),
    "psycopg": ("retrievers/",),
    "pydantic": ("serve/", "integrations/"),
    "pydantic_core": ("serve/",),
    "pyarrow": (
        "index/manifest.py",
        "index/parsing/parse_parquet.py",
        "index/table/",
        "integrations/lancedb.py",
    ),
    "pyterrier": ("integrations/pyterrier.py",),
    "qdrant_client": ("retrievers/",),
    "pypdfium2": ("index/parsing/parse_pdf.py",),
    "ray": ("jobs/",),
    "requests": ("index/storage/gs_access.py",),
    "rich": ("cli/",),
    "safetensors": ("convert/safetensors_files.py", "training/"),
    "sqlite_vec": ("retrievers/",),
    "starlette": ("serve/", "jobs/"),
    "scipy": ("evaluation/calibrate.py",),
    "selectolax": ("index/parsing/parse_html.py",),
    "tokenizers": (
        "convert/",
        "rerank/tokenization.py",
        "rerank/causal_tokens.py",
        "rerank/multi_vector.py",
    ),
    "torch": (
        "training/",
        "integrations/activation.py",
        "integrations/cross_encoder.py",
    ),
    "tree_sitter": ("index/parsing/parse_code.py",),
    "transformers": ("training/",),
    "Stemmer": ("index/analysis/stemming.py", "training/"),
    "typer": ("cli/",),
    "uvicorn": ("serve/",),
    "watchfiles": ("index/watch.py",),
    "wordllama": ("index/embedders/static.py",),
    "yaml": ("index/parsing/front_matter.py",),
}
"""Where a package from outside may be imported; `require` counts as an import."""


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of each import, `require` and `import_module` anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            if node.module == "resift":
                yield from ((node.lineno, f"resift.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in {"require", "import_module"} and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


def _files() -> list[str]:
    return sorted(file.relative_to(SOURCE).as_posix() for file in SOURCE.rglob("*.py"))


def _package(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def offences(file: str, text: str) -> list[str]:
    """What a file imports though its package must not, one message each."""
    package = _package(file)
    problems = []
    for line, module in _imports(ast.parse(text)):
        top, _, rest = module.partition(".")
        if not top:
            problems.append(f"{file}:{line}: relative import of {module}; use the absolute name")
        elif top == "resift" and rest:
            other = rest.partition(".")[0]
            allowed = MAY_IMPORT[package] | ALSO.get(file, set()) | {package}
            if other not in allowed:
                problems.append(f"{file}:{line}: {package} must not import {module}")
        elif top in IMPORTERS and not file.startswith(IMPORTERS[top]):
            problems.append(f"{file}:{line}: {top} is imported by {', '.join(IMPORTERS[top])} only")
    return problems


@pytest.mark.parametrize("file", [file for file in _files() if file != "__init__.py"])
def test_a_file_imports_only_what_its_room_may_know(file: str) -> None:
    assert _package(file) in MAY_IMPORT, f"{file}: add {_package(file)} to MAY_IMPORT"
    assert offences(file, (SOURCE / file).read_text(encoding="utf-8")) == []


def test_every_importer_is_used() -> None:
    used: set[tuple[str, str]] = set()
    for file in _files():
        modules = {module.partition(".")[0] for _, module in _imports(_tree(file))}
        used |= {(top, prefix) for top in modules & set(IMPORTERS) for prefix in IMPORTERS[top]
                 if file.startswith(prefix)}  # fmt: skip
    assert {
        (top, prefix) for top, prefixes in IMPORTERS.items() for prefix in prefixes
    } - used == set()


def test_nothing_outside_the_library_is_imported_without_an_entry() -> None:
    known = set(IMPORTERS) | set(sys.stdlib_module_names) | {"resift"}
    unknown = {
        f"{file}:{line}: {module}; add it to IMPORTERS"
        for file in _files()
        for line, module in _imports(_tree(file))
        if module.partition(".")[0] not in known
    }
    assert unknown == set()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("types.py", "from resift.settings import Settings"),
        ("rerank/engine.py", "from resift.index.table.store import Store"),
        ("rerank/engine.py", "def f():\n    import openvino"),
        ("index/table/store.py", "from resift.rerank.models import Encoder"),
        ("index/sync.py", "lance = require('lance', 'index')"),
        ("search/fusion.py", "import resift.cli.output"),
        ("search/two_stage.py", "from resift.evaluation import trec"),
        ("training/fit.py", "from resift import cli"),
        ("evaluation/trec.py", "from rich.table import Table"),
        ("cli/rerank.py", "import torch.nn"),
        ("cli/rerank.py", "from .output import errors"),
    ],
)
def test_the_check_itself_finds_what_is_wrong(file: str, text: str) -> None:
    assert len(offences(file, text)) == 1


def _tree(file: str) -> ast.AST:
    return ast.parse((SOURCE / file).read_text(encoding="utf-8"))


def test_no_module_of_convert_imports_torch_or_transformers() -> None:
    modules = [
        file.removesuffix(".py").replace("/", ".")
        for file in _files()
        if file.startswith("convert/")
    ]
    imports = "; ".join(f"import resift.{module.removesuffix('.__init__')}" for module in modules)
    code = f"import sys; {imports}; sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))"
    pytest.importorskip("onnx")
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_no_files_import_each_other_not_even_for_types_or_inside_of_functions() -> None:
    modules = {
        f"resift.{file[:-3].replace('/', '.').removesuffix('.__init__')}" for file in _files()
    }
    imports: dict[str, set[str]] = {}
    for file in _files():
        module = f"resift.{file[:-3].replace('/', '.').removesuffix('.__init__')}"
        names = imports.setdefault(module, set())
        for node in ast.walk(ast.parse((SOURCE / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in modules:
                full_names = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= (full_names & modules) or {node.module}
    imports = {module: names - {module, "resift"} for module, names in imports.items()}
    assert len(imports) > 100
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
