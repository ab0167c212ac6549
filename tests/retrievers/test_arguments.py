"""All adapters check their arguments alike: what would silently mean something else is refused, and
a question is text that every client can encode.
"""

from typing import Any

import pytest

from resift.errors import InputError, QueryError
from resift.retrievers.arguments import (
    checked_client,
    checked_field,
    checked_filter,
    checked_names,
    optional_count,
    optional_number,
    question,
)
from resift.retrievers.json_fields import NamedFields, has


class Client:
    """Has the methods of all clients, and sends nothing."""

    name = "docs"

    def search(self) -> None: ...
    def query_points(self) -> None: ...
    def query_vectors(self) -> None: ...
    def count_rows(self) -> None: ...
    def close(self) -> None: ...


def elasticsearch(**more: Any) -> Any:
    pytest.importorskip("elasticsearch")
    from resift.retrievers.elasticsearch import ElasticsearchRetriever

    return ElasticsearchRetriever(**dict[str, Any]({"client": Client(), "index": "docs"} | more))


def opensearch(**more: Any) -> Any:
    from resift.retrievers.opensearch import OpenSearchRetriever

    return OpenSearchRetriever(**dict[str, Any]({"client": Client(), "index": "docs"} | more))


def qdrant(**more: Any) -> Any:
    from resift.retrievers.qdrant import QdrantRetriever

    arguments: dict[str, Any] = {"client": Client(), "collection": "docs", "embed": len}
    return QdrantRetriever(**(arguments | more))


def s3_vectors(**more: Any) -> Any:
    from resift.retrievers.s3_vectors import S3VectorsRetriever

    arguments: dict[str, Any] = {"client": Client(), "bucket": "b", "index": "i", "embed": len}
    return S3VectorsRetriever(**(arguments | more))


def lancedb(**more: Any) -> Any:
    from resift.retrievers.lancedb import LanceDBRetriever

    return LanceDBRetriever(**({"table": Client()} | more))


def postgres(**more: Any) -> Any:
    pytest.importorskip("psycopg")
    from resift.retrievers.postgres import PostgresRetriever

    return PostgresRetriever(**({"connection": "host=nowhere", "table": "docs"} | more))


def duckdb(**more: Any) -> Any:
    pytest.importorskip("duckdb")
    from resift.retrievers.duckdb import DuckDbRetriever

    return DuckDbRetriever(**({"database": ":memory:", "table": "docs"} | more))


CLIENTS = [
    (elasticsearch, "client"), (opensearch, "client"), (qdrant, "client"), (s3_vectors, "client"),
    (lancedb, "table"),
]  # fmt: skip
FIELDS = [make for make, _ in CLIENTS]


@pytest.mark.parametrize(("make", "argument"), CLIENTS)
@pytest.mark.parametrize("client", [None, "http://u:secret@host:9200", Client, 7])
def test_a_client_is_one(make: Any, argument: str, client: Any) -> None:
    make()
    with pytest.raises(InputError, match=r"the first argument is .*: expected") as error:
        make(**{argument: client})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("make", FIELDS)
@pytest.mark.parametrize(
    "wrong",
    [{"text": None}, {"text": ""}, {"text": ["body"]}, {"title": ""}, {"title": 3},
     {"metadata": "lang"}, {"metadata": [None]}, {"metadata": 3}, {"where": "x"}, {"where": 3}],
)  # fmt: skip
def test_fields_and_filters_are_what_they_should_be(make: Any, wrong: dict[str, Any]) -> None:
    if make is lancedb and wrong == {"where": "x"}:
        wrong = {"where": " "}  # its conditions are in SQL
    (argument,) = wrong
    with pytest.raises(InputError, match=argument):
        make(**wrong)


@pytest.mark.parametrize("make", [elasticsearch, opensearch])
@pytest.mark.parametrize("index", ["", None, " ", ",", "docs,", ["docs"]])
def test_an_index_is_named(make: Any, index: Any) -> None:
    """Without a name all indices would be searched."""
    with pytest.raises(InputError, match="index="):
        make(index=index)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (elasticsearch, {"allow_partial": "no"}), (elasticsearch, {"num_candidates": 0}),
        (elasticsearch, {"num_candidates": "x"}), (elasticsearch, {"id": ""}),
        (elasticsearch, {"where": [1]}), (elasticsearch, {"search_fields": "body"}),
        (qdrant, {"collection": ""}), (qdrant, {"vector": ""}), (qdrant, {"where": {}}),
        (qdrant, {"score_threshold": "0.5"}), (qdrant, {"search_params": {}}),
        (qdrant, {"fusion": ["rrf"]}), (qdrant, {"text_index": ""}),
        (s3_vectors, {"bucket": ""}), (s3_vectors, {"index": 3}), (s3_vectors, {"where": [{}]}),
        (s3_vectors, {"search_fields": "body"}), (lancedb, {"id": None}), (lancedb, {"vector": 3}),
        (lancedb, {"distance": "far"}), (postgres, {"websearch": "no"}),
        (postgres, {"distance": ["l2"]}), (postgres, {"language": None}),
        (duckdb, {"distance": ["l2"]}), (duckdb, {"language": None}),
        (duckdb, {"parameters": b"x", "where": "1"}), (duckdb, {"metadata": b"x"}),
    ],
)  # fmt: skip
def test_other_arguments(make: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        make(**wrong)


def test_the_checks() -> None:
    checked_client(Client(), "search", "one")
    assert checked_field("text", "a.b") == "a.b"
    assert checked_names("metadata", {"a"}) == ("a",)
    assert (optional_count("n", None), optional_count("n", 3.0)) == (None, 3)
    assert (optional_number("n", None), optional_number("n", 3)) == (None, 3.0)
    assert checked_filter([{}], several=True) == [{}] and checked_filter(None) is None


def test_a_question_can_be_encoded() -> None:
    assert question("a\ud800b") == "a\ufffdb" and question("\0") == "\0"
    for value in (None, b"query", 3):
        with pytest.raises(QueryError, match="expected text"):
            question(value)


def test_a_misspelt_field_is_told_once_no_document_has_it() -> None:
    fields = NamedFields(text="a.body", id=None)
    fields.check([])
    with pytest.raises(InputError, match=r"text='a.body': none of the 2 documents .* have a, b$"):
        fields.check([{"a": {}}, {"b": 1}])
    fields.check([{"a": [{"body": None}]}, {}])
    fields.check([{}])  # that one has no text; the name is known
    assert has({"a.body": None}, "a.body") and not has({"a": "body"}, "a.body")
