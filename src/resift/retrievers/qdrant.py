"""A first stage in Qdrant: dense vectors, sparse vectors or a text index, or two of them fused."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from resift.errors import InputError, shown
from resift.extras import require
from resift.retrievers.arguments import (
    UNOPENED,
    checked_choice_of,
    checked_client,
    checked_field,
    optional_field,
    optional_names,
    optional_number,
)
from resift.retrievers.client import ClientRetriever, Steps, filter_of
from resift.retrievers.dense import Embed, as_vector, check_embed, checked_mode, encoded
from resift.retrievers.fuse import DEEPER
from resift.retrievers.json_fields import (
    NamedFields,
    id_of,
    only,
    text_of,
    title_of,
    value_at,
    without,
)
from resift.retrievers.spec import SpecOptions
from resift.search.options import Mode
from resift.types import Candidate

Fusion = Literal["rrf", "dbsf"]

_DENSE = "embed, the model of the stored vectors"
_LEXICAL = "sparse_embed and sparse_vector, or text_index"


class QdrantRetriever(ClientRetriever):
    """Candidates from a Qdrant collection.

    `client` is a ``QdrantClient`` or ``AsyncQdrantClient``, which stays the caller's, and whose
    errors are raised as they are. With an asynchronous one only `aretrieve` works.

    `text`, `title`, `metadata` and `id` name fields of the payload, dotted if they are nested.
    Without `metadata` the other fields are metadata. The id is the point's, as text: a number or a
    UUID; name a field with `id` where your judgments have other ids.

    - ``dense`` searches the vector named `vector` (None: the unnamed one) with what `embed` returns
      for the query: a vector, the rows of a multivector, or a model of the client's, such as
      ``models.Document`` for inference by the server.
    - ``lexical`` searches the sparse vector `sparse_vector` with what `sparse_embed` returns: an
      object with ``indices`` and ``values``, such as fastembed's, or a mapping from index to
      weight. Or it ranks by BM25 over `text_index`, a payload field whose text index has
      ``scoring``. A plain text index is only a filter: it has no scores.
    - ``hybrid``, the default if both are possible, is one request: the server fuses both results,
      by `fusion`.

    `where` is a ``models.Filter``. `score_threshold` is for the similarity of dense vectors, or, if
    only lexical search is used, for its score. `search_params` is a ``models.SearchParams`` for
    dense search.
    """

    engine: ClassVar[str] = "Qdrant"

    def __init__(
        self,
        client: Any,
        collection: str,
        *,
        text: str = "text",
        title: str | None = None,
        metadata: Sequence[str] | None = None,
        id: str | None = None,
        embed: Embed | None = None,
        vector: str | None = None,
        sparse_embed: Any = None,
        sparse_vector: str | None = None,
        text_index: str | None = None,
        mode: Mode | None = None,
        fusion: Fusion = "rrf",
        where: Any = None,
        score_threshold: float | None = None,
        search_params: Any = None,
    ) -> None:
        """Raises `InputError` for invalid arguments, and for a mode whose arguments are missing."""
        check_embed(embed)
        has_sparse = _check_lexical(sparse_embed, sparse_vector, text_index)
        is_lexical = has_sparse or text_index is not None
        self.mode = checked_mode(
            mode,
            dense=None if embed is not None else _DENSE,
            lexical=None if is_lexical else _LEXICAL,
        )
        self._fusion = checked_choice_of("fusion", fusion, ("rrf", "dbsf"))
        self.collection = checked_field("collection", collection)
        checked_client(client, "query_points", "a client of Qdrant")
        super().__init__(client, "close", f"collection {collection}")
        self._text = checked_field("text", text)
        self._title, self._id = optional_field("title", title), optional_field("id", id)
        self._metadata = optional_names("metadata", metadata)
        self._embed, self._vector = embed, optional_field("vector", vector)
        self._sparse_embed = sparse_embed
        self._sparse_vector = optional_field("sparse_vector", sparse_vector)
        self._text_index = optional_field("text_index", text_index)
        self._where = _checked_model("where", where, "models.Filter")
        self._threshold = optional_number("score_threshold", score_threshold)
        self._params = _checked_model("search_params", search_params, "models.SearchParams")
        self._named = NamedFields(text=text, id=id)

    def _steps(self, query: str, k: int) -> Steps:
        searches = self._searches(query)
        if not searches:
            return []
        arguments = searches[0] if len(searches) == 1 else self._fused(searches, k)
        response = yield lambda: self._client.query_points(
            self.collection,
            query_filter=self._where,
            limit=k,
            with_payload=self._payload(),
            **arguments,
        )
        self._named.check([point.payload or {} for point in response.points])
        points = enumerate(response.points, start=1)
        return [self._candidate(point, rank) for rank, point in points]

    def _searches(self, query: str) -> list[dict[str, Any]]:
        """The searches that the query allows, as arguments of ``query_points``."""
        searches = []
        if self.mode != "dense":
            lexical, using = self._lexical(query), self._text_index or self._sparse_vector
            if lexical is not None:
                limit = {"score_threshold": self._threshold} if self.mode == "lexical" else {}
                searches.append({"query": lexical, "using": using, **limit})
        if self.mode != "lexical":
            dense = _dense(encoded(self._embed, query))
            if dense is not None:
                options = {"score_threshold": self._threshold, "search_params": self._params}
                searches.append({"query": dense, "using": self._vector, **options})
        return searches

    def _lexical(self, query: str) -> Any:
        models = _models()
        if self._text_index is not None:
            return models.TextQuery(text=query)
        indices, values = _sparse(self._sparse_embed(query))
        return models.SparseVector(indices=indices, values=values) if indices else None

    def _fused(self, searches: list[dict[str, Any]], k: int) -> dict[str, Any]:
        models = _models()
        prefetch = [
            models.Prefetch(
                query=search["query"],
                using=search["using"],
                score_threshold=search.get("score_threshold"),
                params=search.get("search_params"),
                filter=self._where,
                limit=k * DEEPER,
            )
            for search in searches
        ]
        return {
            "prefetch": prefetch,
            "query": models.FusionQuery(fusion=models.Fusion(self._fusion)),
        }

    def _payload(self) -> bool | list[str]:
        """The fields that the server returns."""
        if self._metadata is None:
            return True
        return [*dict.fromkeys((*self._others(), *self._metadata))]

    def _others(self) -> list[str]:
        """The fields that are no metadata."""
        return [name for name in (self._text, self._title, self._id) if name]

    def _candidate(self, point: Any, rank: int) -> Candidate:
        payload: Mapping[str, Any] = point.payload or {}
        named = id_of(value_at(payload, self._id)) if self._id else None
        metadata = self._metadata
        return Candidate(
            id=str(point.id) if named is None else named,
            text=text_of(value_at(payload, self._text)),
            title=title_of(value_at(payload, self._title)) if self._title else "",
            metadata=without(payload, self._others())
            if metadata is None
            else only(payload, metadata),
            rank=rank,
            score=float(point.score),
        )


def from_spec(target: str, options: SpecOptions) -> QdrantRetriever:
    """``qdrant+https://host:6333/collection?text=body&embed=MODEL&…``, or ``qdrant:FOLDER?…``.

    A folder is one of the client's local mode and needs the option `collection`. Other options are
    `title`, `metadata` (names with commas between them), `id`, `vector`, `text_index`, `mode`,
    `fusion`, `where` (a filter in JSON), and `api_key`. Sparse vectors need Python. Raises
    `InputError`.
    """
    arguments: dict[str, Any] = options.given("text", "title", "id", "vector", "text_index")
    arguments |= options.given("mode", "fusion")
    arguments["metadata"] = options.names("metadata") or None
    where = filter_of(options)
    scheme, separator, _ = target.partition("://")
    is_url = bool(separator) and scheme in ("http", "https")
    if is_url:
        client_options: dict[str, Any] = options.given("api_key")
        client_options["url"], _, collection = target.rpartition("/")
    else:
        client_options = {"path": target}
        collection = options.required("collection", "docs")
    arguments["embed"] = options.embedder()
    options.finish()
    if not collection or client_options.get("url", "").endswith(("http:/", "https:/")):
        raise InputError("qdrant: expected a URL such as qdrant+http://localhost:6333/collection")
    try:
        arguments["where"] = None if where is None else _models().Filter.model_validate(where)
    except ValueError:  # its message has the value
        raise InputError("qdrant: where: expected a filter of Qdrant's API in JSON") from None
    retriever = QdrantRetriever(UNOPENED, collection, **arguments)
    retriever._use_opened(require("qdrant_client", "qdrant").QdrantClient(**client_options))
    return retriever


def _check_lexical(sparse_embed: Any, sparse_vector: str | None, text_index: str | None) -> bool:
    """Whether there are sparse vectors. Raises `InputError` for arguments that do not fit."""
    if (sparse_embed is None) != (sparse_vector is None):
        raise InputError("sparse_embed and sparse_vector belong together: give both, or neither")
    if sparse_embed is not None and text_index is not None:
        raise InputError("text_index and sparse_vector: there is one lexical search; give one")
    if sparse_embed is not None and not callable(sparse_embed):
        raise InputError(f"sparse_embed: {shown(sparse_embed)}: expected a callable")
    return sparse_embed is not None


def _checked_model(argument: str, value: Any, expected: str) -> Any:
    """A model of the client, be it one of gRPC, or None. Raises `InputError`."""
    is_model = hasattr(value, "model_dump") or hasattr(value, "DESCRIPTOR")
    if value is not None and (isinstance(value, type) or not is_model):
        raise InputError(f"{argument}={shown(value)}: expected a {expected}, or None")
    return value


def _dense(value: Any) -> Any:
    """What ``query_points`` takes for a dense search; None for a zero vector."""
    if hasattr(value, "model_dump"):
        return value
    rows = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(rows, Sequence) and rows and isinstance(rows[0], Sequence | Mapping):
        vectors = [as_vector(row) for row in rows]
        return [vector for vector in vectors if vector is not None] or None
    return as_vector(rows)


def _sparse(value: Any) -> tuple[list[int], list[float]]:
    """Indices and weights. Raises `InputError` for anything else."""
    try:
        if isinstance(value, Mapping):
            indices, values = list(value), list(value.values())
        else:
            indices, values = list(value.indices), list(value.values)
        weights = [float(weight) for weight in values]
        if len(indices) != len(weights) or not all(map(math.isfinite, weights)):
            raise ValueError
        return [int(index) for index in indices], weights
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"sparse_embed: returned {shown(value)}: expected an object with indices and values, "
            "or a mapping from index to weight"
        ) from None


def _models() -> Any:
    return require("qdrant_client", "qdrant").models
