"""The public names are these, and importing the package costs next to nothing."""

import subprocess
import sys

import pytest

import resift

HEAVY = (
    "lance", "nncf", "numpy", "obstore", "onnx", "onnxruntime", "openvino", "pyarrow", "rich",
    "tokenizers", "torch", "transformers", "typer",
)  # fmt: skip


def _loaded_after(code: str) -> set[str]:
    """Which heavy packages a fresh process has loaded after running the code."""
    script = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_public_names_are_pinned() -> None:
    assert resift.__all__ == [
        "Candidate",
        "Citation",
        "Comparison",
        "Document",
        "Explanation",
        "Hit",
        "Index",
        "Precomputed",
        "Part",
        "Ranking",
        "Receipt",
        "Reranker",
    ]
    assert dir(resift) == [*resift.__all__, "__version__"]


@pytest.mark.parametrize("name", resift.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(resift, name).__name__ == name


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
    assert _loaded_after("from resift import Document, Candidate, Hit, Ranking") == set()


def test_naming_the_reranker_loads_no_runtime() -> None:
    assert _loaded_after("from resift import Reranker") <= {"numpy", "tokenizers"}


def test_naming_an_index_opens_neither_storage_nor_runtime() -> None:
    assert _loaded_after("from resift import Index\nIndex('x')") <= {"numpy", "tokenizers"}
