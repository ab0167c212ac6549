"""A first stage in OpenSearch 2 and 3: BM25, nearest vectors, or both."""

from collections.abc import Mapping
from typing import Any, ClassVar

from resift.extras import require
from resift.retrievers.elasticsearch import ElasticsearchRetriever
from resift.retrievers.query_dsl import knn_query


class OpenSearchRetriever(ElasticsearchRetriever):
    """Candidates from an OpenSearch index, with the arguments of `ElasticsearchRetriever`.

    `client` is an ``OpenSearch`` or ``AsyncOpenSearch``; `vector` is a ``knn_vector`` field.
    ``hybrid`` sends both searches in one request and fuses the ranks, because the engine's own
    ``hybrid`` query needs a search pipeline on the server. `num_candidates` is not used: it is
    ``ef_search`` here, a setting of the index.
    """

    engine: ClassVar[str] = "OpenSearch"
    package: ClassVar[str] = "opensearchpy"
    extra: ClassVar[str] = "opensearch"

    @classmethod
    def _open(cls, url: str) -> Any:
        return require(cls.package, cls.extra).OpenSearch(url)

    def _dense_body(self, vector: list[float], count: int) -> dict[str, Any]:
        return {"query": knn_query(vector, str(self._fields.vector), count, self._where)}

    def _error(self, part: Mapping[str, Any], response: Any) -> Exception:
        exceptions = require(f"{self.package}.exceptions", self.extra)
        status, body = part["status"], part["error"]
        kind = exceptions.HTTP_EXCEPTIONS.get(status, exceptions.TransportError)
        error: Exception = kind(status, body.get("type", "error"), dict(part))
        return error
