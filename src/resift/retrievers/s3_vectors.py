"""A first stage in Amazon S3 Vectors: nearest vectors, full text, or both."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from resift.errors import InputError, StoreError
from resift.extras import require
from resift.retrievers.arguments import (
    UNOPENED,
    checked_client,
    checked_field,
    checked_filter,
    checked_names,
    optional_field,
    optional_names,
)
from resift.retrievers.client import ClientRetriever, Steps, filter_of
from resift.retrievers.dense import Embed, check_embed, checked_mode, query_vector
from resift.retrievers.json_fields import NamedFields
from resift.retrievers.spec import SpecOptions
from resift.search.options import Mode
from resift.types import Candidate

MAX_RESULTS = 10_000
"""The service's limit on the results of a query, which come in pages."""

MAX_CHARACTERS = 1024
"""The service's limit on the text of a full-text query."""

_DENSE = "embed, the model of the stored vectors"
_LEXICAL = "search_fields, the metadata keys with full-text search"


class S3VectorsRetriever(ClientRetriever):
    """Candidates from a vector index of Amazon S3 Vectors.

    `client` is ``boto3.client("s3vectors")``, which stays the caller's: its region, credentials and
    retries apply, and its errors are raised as they are. An aiobotocore client works with
    `aretrieve`. The index is named by `bucket` and `index`, or by `index_arn`. It needs the
    permissions ``s3vectors:QueryVectors`` and ``s3vectors:GetVectors``.

    `text`, `title` and `metadata` name metadata keys of the vectors; without `metadata` all other
    keys are metadata. Keep the text in a non-filterable key: filterable metadata has 2 KB. The id
    is the vector's key.

    - ``dense`` searches with what `embed` makes of the query. The score is the cosine, or the
      negative Euclidean distance.
    - ``lexical`` searches the `search_fields` by BM25, which needs an index in enhanced mode with
      full-text search of these keys, and a boto3 that knows it. Of a longer query the first 1,024
      characters are searched for.
    - ``hybrid``, the default if both are possible, lets the service fuse both.

    `where` is a metadata filter of the service.
    """

    engine: ClassVar[str] = "S3 Vectors"

    def __init__(
        self,
        client: Any,
        bucket: str | None = None,
        index: str | None = None,
        *,
        index_arn: str | None = None,
        text: str = "text",
        title: str | None = None,
        metadata: Sequence[str] | None = None,
        embed: Embed | None = None,
        search_fields: Sequence[str] = (),
        mode: Mode | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises `InputError` for invalid arguments, and if the mode or the index lacks some."""
        check_embed(embed)
        self._search_fields = checked_names("search_fields", search_fields)
        self.mode = checked_mode(
            mode,
            dense=None if embed is not None else _DENSE,
            lexical=None if self._search_fields else _LEXICAL,
        )
        self._index = _named(bucket, index, index_arn)
        target = f"index {index_arn or f'{bucket}/{index}'}"
        checked_client(client, "query_vectors", 'boto3.client("s3vectors")')
        super().__init__(client, "query_vectors", target)
        self._text, self._title = checked_field("text", text), optional_field("title", title)
        names = optional_names("metadata", metadata)
        self._metadata = None if names is None else frozenset(names)
        self._embed = embed
        self._where = checked_filter(where)
        self._named = NamedFields(text=text)

    def _steps(self, query: str, k: int) -> Steps:
        request = self._request(query, k)
        if request is None:
            return []
        vectors: list[Any] = []
        while True:
            response = yield partial(self._client.query_vectors, **request)
            vectors += response["vectors"]
            token = response.get("nextToken")
            if not token or len(vectors) >= k:
                break
            if token == request.get("nextToken"):
                raise StoreError(f"{self.name}: one page came twice; try again")
            request = {**request, "nextToken": token}
        metric = response.get("distanceMetric")
        self._named.check([vector.get("metadata") or {} for vector in vectors[:k]])
        hits = enumerate(vectors[:k], start=1)
        return [self._candidate(hit, rank, metric) for rank, hit in hits]

    def _request(self, query: str, k: int) -> dict[str, Any] | None:
        """The arguments of ``query_vectors``; None if the query can find nothing."""
        request: dict[str, Any] = {**self._index, "topK": min(k, MAX_RESULTS)}
        vector = query_vector(self._embed, query) if self.mode != "lexical" else None
        if vector is not None:
            request["queryVector"] = {"float32": vector}
        if self.mode != "dense":
            text = _cut(query)
            texts = [{"text": text, "metadataKey": key} for key in self._search_fields]
            request |= {"queryTexts": texts, "returnScores": True}
        elif vector is None:
            return None
        else:
            request["returnDistance"] = True
        if self._where is not None:
            request["filter"] = self._where
        return request | {"returnMetadata": True}

    def _candidate(self, vector: Mapping[str, Any], rank: int, metric: str | None) -> Candidate:
        fields: Mapping[str, Any] = vector.get("metadata") or {}
        title = fields.get(self._title) if self._title else None
        others = {
            key: value
            for key, value in fields.items()
            if (
                key not in (self._text, self._title)
                if self._metadata is None
                else key in self._metadata
            )
        }
        return Candidate(
            id=vector["key"],
            text=fields.get(self._text),  # type: ignore[arg-type]
            title=title if isinstance(title, str) else "",
            metadata=others,
            rank=rank,
            score=_score(vector, metric),
        )


def from_spec(target: str, options: SpecOptions) -> S3VectorsRetriever:
    """``s3-vectors:BUCKET/INDEX?text=body&embed=MODEL&…``.

    Other options are `title`, `metadata` and `search_fields` (names with commas between them),
    `mode`, `where` (a filter in JSON), `region` and `endpoint`. Credentials are those that boto3
    finds. Raises `InputError`.
    """
    bucket, slash, index = target.partition("/")
    if not (bucket and slash and index) or "/" in index:
        raise InputError("s3-vectors: expected s3-vectors:BUCKET/INDEX")
    arguments: dict[str, Any] = options.given("text", "title", "mode")
    arguments["metadata"] = options.names("metadata") or None
    arguments["search_fields"] = options.names("search_fields")
    arguments["where"] = filter_of(options)
    region, endpoint = options.text("region"), options.text("endpoint")
    arguments["embed"] = options.embedder()
    options.finish()
    boto3 = require("boto3", "s3-vectors")
    retriever = S3VectorsRetriever(UNOPENED, bucket, index, **arguments)
    retriever._use_opened(boto3.client("s3vectors", region_name=region, endpoint_url=endpoint))
    return retriever


def _named(bucket: str | None, index: str | None, arn: str | None) -> dict[str, str]:
    if arn is not None and bucket is None and index is None:
        return {"indexArn": checked_field("index_arn", arn)}
    if bucket is not None and index is not None and arn is None:
        names = checked_field("bucket", bucket), checked_field("index", index)
        return {"vectorBucketName": names[0], "indexName": names[1]}
    raise InputError("the index: expected bucket and index, or index_arn")


def _cut(query: str) -> str:
    """The beginning of a query that the service takes, up to white space if there is any."""
    if len(query) <= MAX_CHARACTERS:
        return query
    beginning = query[:MAX_CHARACTERS]
    return beginning.rpartition(" ")[0].rstrip() or beginning


def _score(vector: Mapping[str, Any], metric: str | None) -> float | None:
    """A number that grows with relevance; None if the service gave none."""
    scores = vector.get("scores") or {}
    if "fused" in scores:
        return float(scores["fused"])
    if scores.get("bm25Scores"):
        return float(sum(entry["score"] for entry in scores["bm25Scores"]))
    distance = vector.get("distance")
    if distance is None:
        return None
    return 1.0 - float(distance) if metric == "cosine" else -float(distance)
