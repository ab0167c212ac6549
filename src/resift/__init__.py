"""resift: the second pass of a search. Reads query and document together, on your CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resift.rerank.reranker import Reranker
    from resift.search.index import Index
    from resift.types import (
        Candidate,
        Citation,
        Comparison,
        Document,
        Explanation,
        Hit,
        Part,
        Precomputed,
        Ranking,
        Receipt,
    )

_HOMES = {
    "Candidate": "resift.types",
    "Citation": "resift.types",
    "Comparison": "resift.types",
    "Document": "resift.types",
    "Explanation": "resift.types",
    "Hit": "resift.types",
    "Index": "resift.search.index",
    "Precomputed": "resift.types",
    "Part": "resift.types",
    "Ranking": "resift.types",
    "Receipt": "resift.types",
    "Reranker": "resift.rerank.reranker",
}
__all__ = [
    "Candidate",
    "Citation",
    "Comparison",
    "Document",
    "Explanation",
    "Hit",
    "Index",
    "Part",
    "Precomputed",
    "Ranking",
    "Receipt",
    "Reranker",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use: importing resift imports no runtime."""
    if name == "__version__":
        return import_module("importlib.metadata").version("resift")
    if name not in _HOMES:
        raise AttributeError(f"module 'resift' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
