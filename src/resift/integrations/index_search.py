"""Searches of an index with options from a framework, and what a hit's metadata becomes there."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from resift.errors import InputError, shown
from resift.rerank.options import checked_budget
from resift.search.index import Index
from resift.search.options import SearchOptions
from resift.types import Hit

OPTIONS = (
    "top_n", "depth", "mode", "rerank", "budget_ms", "where", "max_requests", "exact", "tolerance",
    "fusion_weight", "min_score", "abstain_below", "long_documents", "collapse",
)  # fmt: skip
"""The arguments of `Index.search` besides the query."""


def opened_index(index: object) -> Any:
    """An index; of a URI or a folder, one that its first search opens. Raises `InputError`."""
    if isinstance(index, str | os.PathLike):
        return Index(index)
    if isinstance(index, type) or not (hasattr(index, "search") and hasattr(index, "asearch")):
        raise InputError(f"index={shown(index)}: expected an Index, or the URI of one")
    return index


def search_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not None, checked, for `Index.search`. Raises `InputError`."""
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"{name}: not an option of a search; expected {', '.join(OPTIONS)}")
    arguments = {name: value for name, value in options.items() if value is not None}
    checked_budget(arguments.get("budget_ms"))
    SearchOptions(**{name: value for name, value in arguments.items() if name != "budget_ms"})
    return arguments


def passage_metadata(hit: Hit) -> dict[str, Any]:
    """The passage's metadata, with its origin.

    ``citation`` is the `Citation` as a dict, and ``first_stage_score`` is there if the hit has one.
    They replace keys of the same name; ``source``, the URI, and ``title`` do not.
    """
    metadata: dict[str, Any] = {}
    if hit.citation is not None:
        metadata["source"] = hit.citation.uri
    if hit.title:
        metadata["title"] = hit.title
    metadata |= hit.metadata
    if hit.citation is not None:
        metadata["citation"] = asdict(hit.citation)
    if hit.first_stage_score is not None:
        metadata["first_stage_score"] = hit.first_stage_score
    return metadata


def hit_metadata(hit: Hit) -> dict[str, Any]:
    """`passage_metadata`, with how relevant the passage is.

    ``relevance_score`` is `Hit.score`, None without reranking; ``relevance_status`` is
    `Hit.status`. They replace keys of the same name.
    """
    return passage_metadata(hit) | {"relevance_score": hit.score, "relevance_status": hit.status}
