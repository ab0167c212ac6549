"""A first stage in OpenSearch 2 and 3: BM25, nearest vectors, or both."""

from collections.abc import Mapping
from typing import Any, ClassVar

from resift.extras import require
from resift.retrievers.elasticsearch import ElasticsearchRetriever
from resift.retrievers.query_dsl import knn_query
from resift.retrievers.spec import SpecOptions


class OpenSearchRetriever(ElasticsearchRetriever):
    """Candidates from an OpenSearch index, with the arguments of `ElasticsearchRetriever`.

    `client` is an ``OpenSearch`` or ``AsyncOpenSearch``; `vector` is a ``knn_vector`` field.
    ``hybrid`` sends both searches in one request and fuses the ranks, because the engine's own
    ``hybrid`` query needs a search pipeline on the server. `num_candidates` is refused: it is
    ``ef_search`` here, a setting of the index.
    """

    engine: ClassVar[str] = "OpenSearch"
    takes_num_candidates: ClassVar[bool] = False

    @classmethod
    def _client_of(cls, url: str, options: dict[str, Any]) -> Any:
        return require("opensearchpy", "opensearch").OpenSearch(url, **options)

    def _dense_body(self, vector: list[float], count: int) -> dict[str, Any]:
        return {"query": knn_query(vector, str(self._fields.vector), count, self._where)}

    def _error(self, part: Mapping[str, Any], response: Any) -> Exception:
        exceptions = require("opensearchpy.exceptions", "opensearch")
        status, body = part["status"], part["error"]
        kind = exceptions.HTTP_EXCEPTIONS.get(status, exceptions.TransportError)
        error: Exception = kind(status, body.get("type", "error"), dict(part))
        return error


def from_spec(target: str, options: SpecOptions) -> OpenSearchRetriever:
    """``opensearch+https://user:password@host:9200/index?text=body&…``, as for Elasticsearch."""
    return OpenSearchRetriever.open(target, options)
