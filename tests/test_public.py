"""The public names are these, they are all that public signatures mention, and they load lazily."""

import ast
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import resift

HEAVY = (
    "lance", "numpy", "obstore", "onnx", "onnxruntime", "openvino", "pandas", "pyarrow",
    "rich", "tokenizers", "torch", "transformers", "typer",
)  # fmt: skip

ERRORS = """
    ArtifactError BelowFloor CalibrationError ClusterError DatasetError EmbedderError
    HubError IndexBusy
    IndexMismatch IndexNotFound InputError MassDeletion MissingExtra ModelError ModelNotFound
    NoCopy OutputError Overloaded ParityError QueryError RerankerClosed RerankerError ResiftError
    RuntimeFailure SettingsError SourceError SourceLost StoreError Unreadable UnsafeStore
    Vanished VersionGone
""".split()

NAMES = """
    AnalyserSpec AzSettings BaseReranker Basis Calibrated Candidate Chain Citation
    CitationStatus Cited Collapse Columns Comparison Context ContextOrder ContextSource
    Document DocumentLike Embedder Explainer Explanation Globs GsSettings Hit Index
    ListwiseReranker LongDocuments Mode ModelCheck ParseLimits Part PassageReader Precomputed
    Precomputer Progress ProgressCallback Ranker Ranking Receipt RemoteReranker Reranker
    Retrieved Retriever ScoredCandidates Settings SourceOptions Status StorageSettings
    SyncFailure SyncPlan SyncReport TwoStage VectorIndex Verdict Verification Version Workers
    open_ranker
""".split()


def _loaded_after(code: str) -> set[str]:
    """Which heavy packages a fresh process has loaded after running the code."""
    script = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_public_names_are_pinned() -> None:
    assert resift.__all__ == sorted([*ERRORS, *NAMES])
    assert dir(resift) == sorted([*resift.__all__, "__version__"])


def test_every_error_is_public() -> None:
    from resift import errors

    raised = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert sorted(raised) == ERRORS


@pytest.mark.parametrize("name", resift.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    value = getattr(resift, name)
    assert not inspect.isclass(value) or value.__name__ == name


def _annotations(tree: ast.AST, is_private: bool = False) -> Iterator[ast.expr]:
    """What the fields and methods of a class are annotated with, but for private ones."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if not node.target.id.startswith("_"):
                yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") or node.name == "__init__":
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                annotations = [argument.annotation for argument in arguments]
                yield from (each for each in (*annotations, node.returns) if each is not None)
        elif isinstance(node, ast.ClassDef):
            yield from _annotations(node)


def _names(annotation: ast.expr) -> Iterator[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _names(ast.parse(node.value, mode="eval").body)


def _own_names(module: ModuleType) -> set[str]:
    """Names that a module defines, or imports from resift."""
    assert module.__file__
    names: set[str] = set()
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resift"):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _mentioned(name: str) -> set[str]:
    """The names of resift that the signatures and fields of a public class mention."""
    cls = getattr(resift, name)
    if not inspect.isclass(cls):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    module = sys.modules[cls.__module__]
    names = {each for annotation in _annotations(tree) for each in _names(annotation)}
    return names & _own_names(module) - {"T"}


@pytest.mark.parametrize("name", resift.__all__)
def test_every_name_in_a_public_signature_is_public(name: str) -> None:
    assert _mentioned(name) - set(resift.__all__) == set()


def test_the_check_itself_sees_signatures_and_fields() -> None:
    assert {"Settings", "DocumentLike", "Verification"} <= _mentioned("Reranker")
    assert {"DocumentLike", "LongDocuments", "Ranking"} <= _mentioned("BaseReranker")
    assert {"Embedder", "SyncReport", "Mode", "ProgressCallback"} <= _mentioned("Index")
    assert {"Hit", "Explainer", "Receipt"} <= _mentioned("Ranking")


def test_the_version_is_the_installed_ones() -> None:
    from importlib.metadata import version

    assert resift.__version__ == version("resift")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Rerank'"):
        resift.Rerank  # noqa: B018
    with pytest.raises(ImportError):
        exec("from resift import Rerank")


def test_importing_resift_loads_no_runtime_and_no_library() -> None:
    assert _loaded_after("import resift") == set()


def test_the_types_need_nothing_either() -> None:
    names = "Document, Candidate, Hit, Ranking, Settings, InputError"
    assert _loaded_after(f"from resift import {names}") == set()


def test_naming_the_reranker_loads_no_runtime() -> None:
    assert _loaded_after("from resift import Reranker") <= {"numpy", "tokenizers"}


def test_naming_an_index_opens_neither_storage_nor_runtime() -> None:
    assert _loaded_after("from resift import Index\nIndex('x')") <= {"numpy", "tokenizers"}
