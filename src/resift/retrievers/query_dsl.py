"""Elasticsearch's and OpenSearch's search API: bodies of requests, candidates of answers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resift.errors import StoreError, shown
from resift.retrievers.json_fields import id_of, only, text_of, title_of, value_at, without
from resift.types import Candidate

ID = "_id"
"""The engine's id of a document, which is no field of it."""

_TIE_BREAKER = 0.5  # how much the other fields of a document count, as in BEIR's own search


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of an index, as dotted paths.

    With `metadata` None all fields are metadata but the text, the title, the vector and the id.
    """

    text: str
    title: str | None
    metadata: tuple[str, ...] | None
    id: str
    vector: str | None

    @property
    def source(self) -> Any:
        """What of a document the engine returns: the value of ``_source``."""
        if self.metadata is None:
            return {"excludes": [self.vector]} if self.vector else True
        return {"includes": [*dict.fromkeys((*self._others(), *self.metadata))]}

    def candidate(self, hit: Mapping[str, Any], rank: int) -> Candidate:
        """A hit as a candidate; its text is None if the document has no such field."""
        source = hit.get("_source") or {}
        metadata = self.metadata
        fields = only(source, metadata) if metadata is not None else self._all(source)
        id_ = None if self.id == ID else id_of(value_at(source, self.id))
        return Candidate(
            id=str(hit[ID]) if id_ is None else id_,
            text=text_of(value_at(source, self.text)),
            title=title_of(value_at(source, self.title)) if self.title else "",
            metadata=fields,
            rank=rank,
            score=hit.get("_score"),
        )

    def candidates(self, hits: Sequence[Mapping[str, Any]]) -> list[Candidate]:
        """Hits, best first, as candidates."""
        return [self.candidate(hit, rank) for rank, hit in enumerate(hits, start=1)]

    def _all(self, source: Any) -> dict[str, Any]:
        fields: dict[str, Any] = without(source, self._others())
        return fields

    def _others(self) -> list[str]:
        return [self.text, *([self.title] if self.title else []), *([self.id] * (self.id != ID))]


def lexical_query(query: str, fields: Sequence[str], where: Any) -> dict[str, Any]:
    """Finds documents with any word of the query, ranked by BM25.

    Of a question no document has all words. A field may have a boost, such as ``title^2``.
    """
    words: dict[str, Any]
    if len(fields) == 1:
        words = {"match": {fields[0]: {"query": query, "operator": "or"}}}
    else:
        options = {"type": "best_fields", "operator": "or", "tie_breaker": _TIE_BREAKER}
        words = {"multi_match": {"query": query, "fields": list(fields), **options}}
    return {"bool": {"must": [words], "filter": _clauses(where)}} if where else words


def knn_section(
    vector: Sequence[float], field: str, count: int, num_candidates: int, where: Any
) -> dict[str, Any]:
    """Elasticsearch's ``knn`` section of a search: `count` nearest vectors that pass the filter."""
    section: dict[str, Any] = {"field": field, "query_vector": list(vector), "k": count}
    section["num_candidates"] = max(num_candidates, count)
    return section | ({"filter": _clauses(where)} if where else {})


def knn_query(vector: Sequence[float], field: str, count: int, where: Any) -> dict[str, Any]:
    """OpenSearch's ``knn`` query; the engine filters before it looks for neighbours."""
    nearest: dict[str, Any] = {"vector": list(vector), "k": count}
    if where:
        nearest["filter"] = where if isinstance(where, Mapping) else {"bool": {"filter": where}}
    return {"knn": {field: nearest}}


def responses_of(response: Any, count: int, engine: str) -> list[Mapping[str, Any]]:
    """The responses of `count` searches that were sent at once, in their order.

    Raises `StoreError` if there are more or fewer: which belongs to which would be a guess.
    """
    body = getattr(response, "body", response)
    parts = body.get("responses") if count > 1 and isinstance(body, Mapping) else [body]
    if not isinstance(parts, list) or len(parts) != count:
        number = len(parts) if isinstance(parts, list) else "no"
        raise StoreError(
            f"{engine}: {number} responses for {count} searches; expected one for each; is there a "
            "proxy in between?"
        )
    if not all(isinstance(part, Mapping) for part in parts):
        raise StoreError(f"{engine}: a response is not an object; is there a proxy in between?")
    return parts


def hits_of(response: Mapping[str, Any], engine: str) -> list[Mapping[str, Any]]:
    """The hits of a search, best first. Raises `StoreError` for a response without them."""
    section = response.get("hits")
    hits = section.get("hits") if isinstance(section, Mapping) else None
    if not isinstance(hits, list) or not all(
        isinstance(hit, Mapping) and isinstance(hit.get(ID), str) for hit in hits
    ):
        raise StoreError(
            f"{engine}: expected a response with hits that have ids, got {shown(response)}"
        )
    return hits


def check_complete(response: Mapping[str, Any], index: str) -> None:
    """Raise `StoreError` if a search did not look everywhere."""
    problem = _missing_part(response)
    if problem:
        raise StoreError(
            f"{index}: {problem}, so documents are missing; repair the cluster, or accept such "
            "results with allow_partial=True"
        )


def _missing_part(response: Mapping[str, Any]) -> str | None:
    shards, clusters = response.get("_shards") or {}, response.get("_clusters") or {}
    if response.get("timed_out"):
        return "the search was ended by its own time limit"
    if shards.get("failed"):
        reason = _reason(shards.get("failures"))
        return f"{shards['failed']} of {shards.get('total', '?')} shards failed{reason}"
    for state in ("skipped", "failed", "partial"):
        if clusters.get(state):
            return f"{clusters[state]} of {clusters.get('total', '?')} clusters: {state}"
    return None


def _reason(failures: Any) -> str:
    reason = value_at((failures or [None])[0], "reason.reason")
    return f" ({reason})" if isinstance(reason, str) else ""


def _clauses(where: Any) -> list[Any]:
    return [where] if isinstance(where, Mapping) else list(where)
