"""A small server that speaks the search API of Elasticsearch 8 and 9, or of OpenSearch 2 and 3.

It refuses what these refuse: unknown keys in a request, other media types, a version of the client
that is too new, an index that is not there. It analyses text into lower-case words, scores matches
by their number of words, and compares vectors exactly.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from storage.peer import Answer, Peer, Request

WORD = re.compile(r"\w+")
COMPATIBLE = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson);\s*compatible-with=(\d+)")
SEARCH_KEYS = {"query", "size", "_source", "track_total_hits"}
PARAMETERS = {"allow_partial_search_results"}
MAX_CANDIDATES = 10_000
Score = Callable[[str, Mapping[str, Any]], float | None]
"""The score of a document by its id and source; None if it does not match."""


class Refused(Exception):
    """An error as these engines answer it."""

    def __init__(self, status: int, kind: str, reason: str, **more: Any) -> None:
        super().__init__(reason)
        self.status = status
        cause = {"type": kind, "reason": reason, **more}
        self.body = {"error": {"root_cause": [cause], **cause}, "status": status}


class SearchEnginePeer(Peer):
    """`indexes` by name: sources by id. `failed_shards` of five fail; `timed_out` ends early."""

    def __init__(self, engine: str = "elasticsearch", major: int = 9) -> None:
        super().__init__()
        self.is_elasticsearch = engine == "elasticsearch"
        self.major = major
        self.indexes: dict[str, dict[str, dict[str, Any]]] = {}
        self.failed_shards = 0
        self.timed_out = False
        self.refusal: Refused | None = None
        """Answers the dense search of a request, or the only one."""

    def answer(self, request: Request) -> Answer:
        headers = {"X-elastic-product": "Elasticsearch"} if self.is_elasticsearch else {}
        try:
            kind = self._media_type(request)
            status, body = 200, self._respond(request)
        except Refused as refused:
            kind, status, body = "application/json", refused.status, refused.body
        return Answer(status, {"Content-Type": kind, **headers}, json.dumps(body).encode())

    def searches(self) -> list[dict[str, Any]]:
        """The bodies of all searches so far."""
        lines = [json.loads(line) for asked in self.seen for line in asked.body.splitlines()]
        return [line for line in lines if "size" in line]

    def _media_type(self, request: Request) -> str:
        for name in ("accept", "content-type"):
            value = request.headers.get(name, "")
            match = COMPATIBLE.fullmatch(value) if self.is_elasticsearch else None
            if match and int(match[2]) not in (self.major, self.major - 1):
                reason = f"Invalid media-type value on headers [{name}]"
                raise Refused(400, "media_type_header_exception", reason)
            if not match and value not in ("application/json", "application/x-ndjson", "*/*", ""):
                raise Refused(406, "illegal_argument_exception", f"header [{value}] not supported")
        version = f"; compatible-with={self.major}" if match else ""
        return f"application/vnd.elasticsearch+json{version}" if match else "application/json"

    def _respond(self, request: Request) -> Any:
        _refuse_unknown(request.query, PARAMETERS, f"request [{request.path}]")
        index, _, action = request.path.strip("/").partition("/")
        if request.method != "POST" or action not in ("_search", "_msearch"):
            raise Refused(405, "illegal_argument_exception", f"no handler for {request.path}")
        if action == "_search":
            partial = request.query.get("allow_partial_search_results", "true") == "true"
            return self._search(index, json.loads(request.body), partial)
        if not request.body.endswith(b"\n"):
            reason = "The msearch request must be terminated by a newline [\n]"
            raise Refused(400, "illegal_argument_exception", reason)
        lines = [json.loads(line) for line in request.body.splitlines()]
        pairs = zip(lines[::2], lines[1::2], strict=True)
        return {"took": 1, "responses": [self._one_of(index, *pair) for pair in pairs]}

    def _one_of(self, index: str, header: dict[str, Any], body: dict[str, Any]) -> Any:
        _refuse_unknown(header, PARAMETERS, "the metadata section")
        try:
            partial = header.get("allow_partial_search_results", True)
            return self._search(index, body, partial) | {"status": 200}
        except Refused as refused:
            return refused.body

    def _search(self, name: str, body: dict[str, Any], partial: bool) -> dict[str, Any]:
        _refuse_unknown(body, SEARCH_KEYS | ({"knn"} if self.is_elasticsearch else set()), "search")
        is_dense = "knn" in body or "knn" in body.get("query", {})
        if self.refusal and (is_dense or not self._is_hybrid()):
            raise self.refusal
        index = self.indexes.get(name)
        if index is None:
            more = {"resource.id": name, "resource.type": "index_or_alias", "index": name}
            raise Refused(404, "index_not_found_exception", f"no such index [{name}]", **more)
        if not partial and (self.failed_shards or self.timed_out):
            kind = "search_phase_execution_exception"
            raise Refused(503, kind, "Partial shards failure" if self.failed_shards else "Time")
        hits = self._hits(index, body)[: body.get("size", 10)]
        failures = [{"shard": 0, "reason": {"type": "x", "reason": "disk is full"}}]
        shards: dict[str, Any] = {"total": 5, "failed": self.failed_shards}
        shards |= {"failures": failures} if self.failed_shards else {}
        hits = [hit | {"_index": name} for hit in hits]
        whole = {"max_score": None, "hits": hits}
        return {"took": 1, "timed_out": self.timed_out, "_shards": shards, "hits": whole}

    def _is_hybrid(self) -> bool:
        return bool(self.seen) and self.seen[-1].path.endswith("_msearch")

    def _hits(self, index: dict[str, dict[str, Any]], body: dict[str, Any]) -> list[dict[str, Any]]:
        if "knn" in body:
            scores: dict[str, float | None] = {**_knn(index, body["knn"])}
        else:
            score = _query(body["query"], index)
            scores = {id_: score(id_, source) for id_, source in index.items()}
        best = [(id_, score) for id_, score in scores.items() if score is not None]
        best.sort(key=lambda entry: -entry[1])
        chosen = body.get("_source", True)
        return [
            {"_id": id_, "_score": score, "_source": _filtered(index[id_], chosen)}
            for id_, score in best
        ]


def _refuse_unknown(keys: Mapping[str, Any], allowed: set[str], where: str) -> None:
    unknown = sorted(set(keys) - allowed)
    if unknown:
        raise Refused(400, "parsing_exception", f"unknown key [{unknown[0]}] in {where}")


def _query(query: dict[str, Any], index: dict[str, dict[str, Any]]) -> Score:
    if len(query) != 1:
        raise Refused(400, "parsing_exception", "[query] malformed, expected one field name")
    ((kind, body),) = query.items()
    if kind not in _QUERIES:
        raise Refused(400, "parsing_exception", f"unknown query [{kind}]")
    return _QUERIES[kind](body, index)


def _match(body: dict[str, Any], index: dict[str, dict[str, Any]]) -> Score:
    ((field, options),) = body.items()
    _refuse_unknown(options, {"query", "operator"}, "match")
    return _words([field], options["query"], options.get("operator", "or"))


def _multi_match(body: dict[str, Any], index: dict[str, dict[str, Any]]) -> Score:
    _refuse_unknown(body, {"query", "fields", "type", "operator", "tie_breaker"}, "multi_match")
    if body["type"] not in ("best_fields", "most_fields", "cross_fields"):
        raise Refused(400, "parsing_exception", f"no multi_match type [{body['type']}]")
    return _words(body["fields"], body["query"], body["operator"])


def _words(fields: Sequence[str], query: str, operator: str) -> Score:
    terms = set(WORD.findall(query.lower()))

    def score(id_: str, source: Mapping[str, Any]) -> float | None:
        total = 0.0
        for field in fields:
            name, _, boost = field.partition("^")
            words = WORD.findall(" ".join(_texts(source, name)).lower())
            matched = terms & set(words)
            if matched and (operator == "or" or matched == terms):
                total += float(boost or 1) * (len(matched) + 1 / len(words))
        return total or None

    return score


def _bool(body: dict[str, Any], index: dict[str, dict[str, Any]]) -> Score:
    _refuse_unknown(body, {"must", "filter"}, "bool")
    must = [_query(query, index) for query in _list(body.get("must"))]
    filters = [_query(query, index) for query in _list(body.get("filter"))]

    def score(id_: str, source: Mapping[str, Any]) -> float | None:
        scores = [query(id_, source) for query in must]
        passes = all(query(id_, source) is not None for query in filters)
        return sum(s or 0 for s in scores) if passes and None not in scores else None

    return score


def _term(body: dict[str, Any], index: dict[str, dict[str, Any]]) -> Score:
    ((field, value),) = body.items()
    return lambda id_, source: 1.0 if value in _values(source, field) else None


def _knn_query(body: dict[str, Any], index: dict[str, dict[str, Any]]) -> Score:
    ((field, options),) = body.items()
    _refuse_unknown(options, {"vector", "k", "filter"}, "knn")
    vector, k, where = options["vector"], options["k"], options.get("filter")
    scores = _nearest(index, field, vector, k, [where] if where else [])
    return lambda id_, source: scores.get(id_)


def _knn(index: dict[str, dict[str, Any]], body: dict[str, Any]) -> dict[str, float]:
    known = {"field", "query_vector", "k", "num_candidates", "filter"}
    _refuse_unknown(body, known, "knn")
    candidates, k = body["num_candidates"], body["k"]
    if candidates > MAX_CANDIDATES or candidates < k:
        reason = f"[num_candidates] {candidates} cannot be less than [k] or exceed [10000]"
        raise Refused(400, "illegal_argument_exception", reason)
    return _nearest(index, body["field"], body["query_vector"], k, _list(body.get("filter")))


def _nearest(
    index: dict[str, dict[str, Any]], field: str, vector: list[float], k: int, where: list[Any]
) -> dict[str, float]:
    query = np.array(vector)
    if not query.any():
        reason = "The [cosine] similarity does not support vectors with zero magnitude."
        raise Refused(400, "illegal_argument_exception", reason)
    filters = [_query(clause, index) for clause in where]
    scores = {}
    for id_, source in index.items():
        if field not in source or any(clause(id_, source) is None for clause in filters):
            continue
        stored = np.array(source[field])
        if len(stored) != len(query):
            reason = f"the query vector has a different dimension [{len(query)}]"
            raise Refused(400, "query_shard_exception", reason)
        cosine = query @ stored / np.linalg.norm(query) / np.linalg.norm(stored)
        scores[id_] = float(1 + cosine) / 2
    return dict(sorted(scores.items(), key=lambda entry: -entry[1])[:k])


_QUERIES: dict[str, Callable[[dict[str, Any], dict[str, dict[str, Any]]], Score]] = {
    "match": _match, "multi_match": _multi_match, "bool": _bool, "term": _term, "knn": _knn_query,
}  # fmt: skip


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _values(source: Any, path: str) -> list[Any]:
    """All values of a field, in nested objects and lists of them."""
    if isinstance(source, list):
        return [value for item in source for value in _values(item, path)]
    if not path:
        return [source]
    if not isinstance(source, Mapping):
        return []
    head, _, rest = path.partition(".")
    return _values(source[head], rest) if head in source else []


def _texts(source: Any, path: str) -> list[str]:
    return [str(value) for value in _values(source, path)]


def _filtered(source: Any, chosen: Any) -> Any:
    """The source filtering of these engines: dotted paths to include or exclude."""
    if isinstance(chosen, bool):
        return source if chosen else None
    _refuse_unknown(chosen, {"includes", "excludes"}, "_source")
    includes, excludes = chosen.get("includes"), chosen.get("excludes", [])
    return _part(source, "", includes, excludes)


def _part(source: Any, path: str, includes: list[str] | None, excludes: list[str]) -> Any:
    if isinstance(source, list):
        return [_part(item, path, includes, excludes) for item in source]
    if not isinstance(source, Mapping):
        return source
    part = {}
    for key, value in source.items():
        name = f"{path}{key}"
        if name in excludes:
            continue
        if includes is None or name in includes:
            part[key] = _part(value, f"{name}.", None, excludes)
        elif any(wanted.startswith(f"{name}.") for wanted in includes):
            part[key] = _part(value, f"{name}.", includes, excludes)
    return part
