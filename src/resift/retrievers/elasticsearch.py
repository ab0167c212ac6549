"""A first stage in Elasticsearch 8 and 9: BM25, nearest vectors, or both."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

from resift.errors import InputError, StoreError, shown
from resift.extras import require
from resift.rerank.options import checked_flag
from resift.retrievers.arguments import (
    UNOPENED,
    checked_client,
    checked_field,
    checked_filter,
    optional_count,
    optional_field,
    optional_names,
)
from resift.retrievers.client import ClientRetriever, Steps, filter_of
from resift.retrievers.dense import Embed, check_embed, checked_mode, query_vector
from resift.retrievers.fuse import DEEPER, fuse
from resift.retrievers.json_fields import NamedFields
from resift.retrievers.query_dsl import (
    ID,
    Fields,
    check_complete,
    hits_of,
    knn_section,
    lexical_query,
    responses_of,
)
from resift.retrievers.spec import SpecOptions
from resift.search.options import Mode
from resift.types import Candidate

MAX_RESULTS = 10_000
"""The most results of a search, unless ``index.max_result_window`` has another limit."""

_LOG = logging.getLogger("resift")


class ElasticsearchRetriever(ClientRetriever):
    """Candidates from an Elasticsearch index, alias or data stream.

    `client` is an ``Elasticsearch`` or ``AsyncElasticsearch``, which stays the caller's: its hosts,
    credentials, timeouts and retries apply, and its errors are raised as they are. With an
    asynchronous client only `aretrieve` works. Threads may share the retriever, as they may share a
    client.

    `text`, `title`, `metadata` and `id` name fields, dotted if they are nested; a list of texts
    becomes one text, and a document without the text field is a candidate without a text. Without
    `metadata` all other fields but `vector` are metadata. `id` is the engine's ``_id`` by default;
    documents of several indexes with the same id are one document in a hybrid search.

    - ``lexical`` matches any word of the query in `search_fields`, by default the text and the
      title; ``title^2`` doubles a field's score.
    - ``dense`` searches the ``dense_vector`` field `vector` with what `embed` makes of the query.
    - ``hybrid``, the default if both are possible, sends both searches in one request and fuses the
      ranks (`fuse.fuse`). The engine's own ``rrf`` retriever needs a paid licence.

    `where` is a filter, or a list of filters, in Elasticsearch's query language, and holds for both
    searches. `num_candidates` is how many vectors each shard looks at, at least; by default
    Elasticsearch's own, 1.5 times the number of results. A search that does not reach all shards,
    or that reaches a time limit on the server, raises the client's error or `StoreError`; with
    `allow_partial` what it has is returned and the log has a warning.
    """

    engine: ClassVar[str] = "Elasticsearch"
    takes_num_candidates: ClassVar[bool] = True

    def __init__(
        self,
        client: Any,
        index: str,
        *,
        text: str = "text",
        title: str | None = None,
        metadata: Sequence[str] | None = None,
        id: str = ID,
        search_fields: Sequence[str] | None = None,
        vector: str | None = None,
        embed: Embed | None = None,
        mode: Mode | None = None,
        where: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        num_candidates: int | None = None,
        allow_partial: bool = False,
    ) -> None:
        """Raises `InputError` for invalid arguments, and for a mode whose arguments are missing."""
        check_embed(embed)
        missing = "embed and vector, the model and the field of the stored vectors"
        has_vectors = embed is not None and vector is not None
        if embed is not None and vector is None:
            raise InputError("embed: needs vector too, the field of the stored vectors")
        if num_candidates is not None and not self.takes_num_candidates:
            raise InputError(f"num_candidates: {self.engine} has a setting of the index for it")
        self.mode = checked_mode(mode, dense=None if has_vectors else missing, lexical=None)
        self.index = _checked_index(index)
        checked_client(client, "search", f"a client of {self.engine}")
        super().__init__(client, "close", f"index {index}")
        self._fields = Fields(
            text=checked_field("text", text),
            title=optional_field("title", title),
            metadata=optional_names("metadata", metadata),
            id=checked_field("id", id),
            vector=optional_field("vector", vector),
        )
        fields = optional_names("search_fields", search_fields)
        self._search_fields = fields or (text, *([title] if title else []))
        self._embed = embed
        self._where = checked_filter(where, several=True)
        self._num_candidates = optional_count("num_candidates", num_candidates)
        self._allow_partial = checked_flag("allow_partial", allow_partial)
        self._named = NamedFields(text=text, id=None if id == ID else id)

    @classmethod
    def open(cls, target: str, options: SpecOptions) -> Self:
        """A retriever by its name, with a client of its own; see `from_spec`."""
        url, index = _split(cls.engine, target)
        arguments: dict[str, Any] = options.given("text", "title", "id", "vector", "mode")
        for name in ("metadata", "search_fields"):
            arguments[name] = options.names(name) or None
        arguments["where"] = filter_of(options)
        arguments["num_candidates"] = options.number("num_candidates")
        client_options = options.given("ca_certs", "api_key")
        arguments["embed"] = options.embedder()
        options.finish()
        retriever = cls(UNOPENED, index, **arguments)
        retriever._use_opened(cls._client_of(url, client_options))
        return retriever

    @classmethod
    def _client_of(cls, url: str, options: dict[str, Any]) -> Any:
        return require("elasticsearch", "elasticsearch").Elasticsearch(url, **options)

    def _steps(self, query: str, k: int) -> Steps:
        bodies = self._bodies(query, k)
        if not bodies:
            return []
        response = yield lambda: self._send(bodies)
        return self._candidates(response, responses_of(response, len(bodies), self.engine), k)

    def _bodies(self, query: str, k: int) -> list[dict[str, Any]]:
        """The searches of a query; none if only vectors count and the query has none."""
        count = min(k * DEEPER, max(k, MAX_RESULTS)) if self.mode == "hybrid" else k
        bodies = []
        if self.mode != "dense":
            words = lexical_query(query, self._search_fields, self._where)
            bodies.append({"query": words})
        vector = query_vector(self._embed, query) if self.mode != "lexical" else None
        if vector is not None:
            bodies.append(self._dense_body(vector, count))
        common = {"size": count, "_source": self._fields.source, "track_total_hits": False}
        return [body | common for body in bodies]

    def _dense_body(self, vector: list[float], count: int) -> dict[str, Any]:
        field = str(self._fields.vector)
        candidates = self._num_candidates or min(count * 3 // 2, MAX_RESULTS)
        return {"knn": knn_section(vector, field, count, candidates, self._where)}

    def _send(self, bodies: list[dict[str, Any]]) -> Any:
        """The response, of an asynchronous client something to await."""
        allow = {"allow_partial_search_results": self._allow_partial}
        if len(bodies) == 1:
            return self._client.search(index=self.index, body=bodies[0], **allow)
        lines = [line for body in bodies for line in (allow, body)]
        return self._client.msearch(index=self.index, body=lines)

    def _candidates(self, response: Any, parts: Sequence[Any], k: int) -> list[Candidate]:
        """The candidates of one search, or of both, fused."""
        hits: list[list[Mapping[str, Any]]] = []
        for part in parts:
            if "error" in part:
                raise self._error(part, response)
            self._check(part)
            hits.append(hits_of(part, self.engine))
        self._named.check([hit.get("_source") or {} for several in hits for hit in several])
        lists = [self._fields.candidates(several) for several in hits]
        return fuse(lists, k) if len(lists) > 1 else lists[0][:k]

    def _check(self, part: Mapping[str, Any]) -> None:
        try:
            check_complete(part, f"{self.engine} index {self.index}")
        except StoreError as error:
            if not self._allow_partial:
                raise
            _LOG.warning("%s", error)

    def _error(self, part: Mapping[str, Any], response: Any) -> Exception:
        """The error that the client would have raised if the search had been alone."""
        exceptions = require("elasticsearch.exceptions", "elasticsearch")
        kind = exceptions.HTTP_EXCEPTIONS.get(part["status"], exceptions.ApiError)
        meta = replace(response.meta, status=part["status"])
        message = part["error"]["type"] if "type" in part["error"] else shown(part["error"])
        error: Exception = kind(message=message, meta=meta, body=dict(part))
        return error


def from_spec(target: str, options: SpecOptions) -> ElasticsearchRetriever:
    """``elasticsearch+https://user:password@host:9200/index?text=body&title=title&…``.

    Other options are `metadata` and `search_fields` (names with commas between them), `id`,
    `vector`, `embed` (a model's name), `mode`, `where` (JSON), `num_candidates`, and of the client
    `api_key` and `ca_certs`. Raises `InputError`.
    """
    return ElasticsearchRetriever.open(target, options)


def _checked_index(index: object) -> str:
    """The name of an index. Raises `InputError` for an empty one, which means all indices."""
    parts = checked_field("index", index).split(",")
    if not all(part.strip() for part in parts):
        raise InputError(f"index={shown(index)}: an empty name means all indices; name one")
    return str(index)


def _split(engine: str, target: str) -> tuple[str, str]:
    """The URL of the server and the index. Raises `InputError`."""
    try:
        url = urlsplit(target)
        port = url.port
    except ValueError:  # its message has a part of the URL
        raise InputError(f"{engine}: the port in the URL is not a number") from None
    index = unquote(url.path.rpartition("/")[2])
    if url.scheme not in ("http", "https") or not url.hostname or not index:
        raise InputError(
            f"{engine}: expected the URL of an index, such as "
            f"{engine.lower()}+http://localhost:9200/index"
        )
    port = port or (443 if url.scheme == "https" else 9200)
    user, at, _ = url.netloc.rpartition("@")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    folder = url.path.rpartition("/")[0]
    return f"{url.scheme}://{user}{at}{host}:{port}{folder}", index
