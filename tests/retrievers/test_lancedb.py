"""Proves that a LanceDB table is a first stage, with real tables on disk.

Full text, vectors and both, by synchronous and asynchronous tables; filters,
columns and ids; questions with signs of query syntax; the errors of LanceDB.
"""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lancedb")

import lancedb

from resift import Reranker
from resift.errors import InputError
from resift.retrievers.lancedb import LanceDBRetriever
from resift.retrievers.names import open_retriever

ROWS: list[dict[str, Any]] = [
    {"key": "heat", "body": "A heat pump moves heat into a house.", "title": "Heat pumps",
     "embedding": [1.0, 0.0], "lang": "en", "when": datetime(2026, 1, 1), "tags": ["home"]},
    {"key": "boiler", "body": "A boiler burns gas in a house.", "title": None,
     "embedding": [0.8, 0.6], "lang": "en", "when": None, "tags": []},
    {"key": "tides", "body": "The moon pulls the sea.", "title": "Tides of heat",
     "embedding": [0.0, 1.0], "lang": "de", "when": None, "tags": None},
    {"key": "bare", "body": None, "title": "Nothing", "embedding": [-1.0, 0.0], "lang": "en",
     "when": None, "tags": None},
]  # fmt: skip


@pytest.fixture(params=["indexed", "flat"])
def table(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    table = lancedb.connect(str(tmp_path)).create_table("docs", ROWS)
    if request.param == "indexed":
        for column in ("body", "title"):
            table.create_index(column, config=lancedb.index.FTS())
    return table


def embed(query: str) -> list[float]:
    return {"heat": [1.0, 0.0], "nothing": [0.0, 0.0]}.get(query, [0.0, 1.0])


def retriever(table: Any, **options: Any) -> LanceDBRetriever:
    fields: dict[str, Any] = {"id": "key", "text": "body", "title": "title"}
    return LanceDBRetriever(table, **(fields | options))


def ids(candidates: list[Any]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_a_question_matches_by_any_of_its_words(table: Any) -> None:
    stage = retriever(table)
    candidates = stage("what does a heat pump cost for a house?", 5)
    assert ids(candidates) == ["heat", "boiler"]
    assert [hit.rank for hit in candidates] == [1, 2]
    assert all(type(hit.score) is float for hit in candidates)
    assert ids(stage("what does a heat pump cost for a house?", 1)) == ["heat"]
    assert stage("volcano", 5) == [] and stage.name == "lexical of LanceDB table docs"


@pytest.mark.parametrize(
    "query", ['"moon', "moon AND (", "moon' OR 1=1 --", "moon~2 *:*", "+moon -x"]
)
def test_query_syntax_is_only_text(table: Any, query: str) -> None:
    assert ids(retriever(table)(query, 1)) == ["tides"]
    assert retriever(table)("?!", 5) == []


def test_columns(table: Any) -> None:
    heat, boiler, _, bare = retriever(table, embed=embed, mode="dense")("heat", 4)
    assert (heat.title, heat.text) == ("Heat pumps", ROWS[0]["body"])
    assert heat.metadata == {"lang": "en", "when": datetime(2026, 1, 1), "tags": ["home"]}
    assert boiler.title == "" and bare.text is None
    (heat,) = retriever(table, metadata=["lang", "embedding"])("pump", 1)
    assert heat.metadata == {"lang": "en", "embedding": [1.0, 0.0]}
    (heat,) = retriever(table, metadata=[])("pump", 1)
    assert heat.metadata == {}
    ranking = Reranker().rank("heat", retriever(table, embed=embed)("heat", 4))
    assert {hit.id: hit.status for hit in ranking}["bare"] == "not_text"


def test_several_columns_with_text(table: Any) -> None:
    both = retriever(table, search_fields=["body", "title"])
    assert set(ids(both("heat", 5))) == {"heat", "tides"}
    assert ids(retriever(table, search_fields=["title"])("heat", 1)) != []


def test_dense(table: Any) -> None:
    dense = retriever(table, embed=embed, mode="dense")
    candidates = dense("heat", 3)
    assert ids(candidates) == ["heat", "boiler", "tides"]
    assert [hit.score for hit in candidates] == pytest.approx([0.0, -0.4, -2.0])
    cosine = retriever(table, embed=embed, mode="dense", distance="cosine", vector="embedding")
    assert [hit.score for hit in cosine("heat", 3)] == pytest.approx([0.0, -0.2, -1.0])
    array = retriever(table, embed=lambda query: np.array([0.0, 1.0]), mode="dense")
    assert ids(array("x", 1)) == ["tides"]
    assert dense("nothing", 3) == []


def test_hybrid(table: Any) -> None:
    hybrid = retriever(table, embed=embed)
    assert hybrid.mode == "hybrid"
    candidates = hybrid("heat", 3)
    assert ids(candidates) == ["heat", "boiler", "tides"]
    assert candidates[0].score == 2 / 61 and [hit.rank for hit in candidates] == [1, 2, 3]
    assert len(hybrid("heat", 2)) == 2
    assert ids(hybrid("volcano", 2)) == ["tides", "boiler"]  # dense alone
    assert ids(retriever(table, embed=lambda query: [0.0, 0.0])("pump", 3)) == ["heat"]


def test_both_lists_are_deeper_than_the_result(tmp_path: Path) -> None:
    texts = {"a": "moon moon moon", "b": "moon and sea", "c": "sun", "d": "sun and sea"}
    embeddings = {"a": [-1.0, 0.0], "b": [0.9, 0.1], "c": [1.0, 0.0], "d": [0.5, 0.5]}
    rows = [{"id": id_, "text": texts[id_], "vector": embeddings[id_]} for id_ in texts]
    table = lancedb.connect(str(tmp_path)).create_table("docs", rows)
    stage = LanceDBRetriever(table, embed=lambda query: [1.0, 0.0])
    assert ids(stage("moon", 1)) == ["b"]  # second in both; first are a, and c


def test_a_condition_comes_before_the_search(table: Any) -> None:
    for mode in ("lexical", "dense", "hybrid"):
        stage = retriever(table, embed=embed, mode=mode, where="lang = 'de'")
        assert ids(stage("heat moon", 1)) == ["tides"]
    assert retriever(table, embed=embed, where="lang = 'fr'")("heat", 3) == []


def test_a_row_without_an_id(tmp_path: Path) -> None:
    rows = [{"id": None, "text": f"moon {n}", "vector": [1.0, n]} for n in range(3)]
    rows.append({"id": "a", "text": "sun", "vector": [0.0, 1.0]})
    table = lancedb.connect(str(tmp_path)).create_table("docs", rows)
    stage = LanceDBRetriever(table, embed=embed)
    assert sorted(ids(stage("moon", 4))) == ["a", "moon 0", "moon 1", "moon 2"]


def test_nothing_is_warned_of(table: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for mode in ("lexical", "dense", "hybrid"):
        assert retriever(table, embed=embed, mode=mode)("heat", 2)
    assert capfd.readouterr().err == ""  # LanceDB writes its warnings there


def test_a_table_without_ids(table: Any) -> None:
    for mode in ("lexical", "dense", "hybrid"):
        stage = retriever(table, id="_rowid", embed=embed, mode=mode, metadata=[])
        assert ids(stage("heat", 1)) == ["0"]


def test_an_asynchronous_table(table: Any, tmp_path: Path) -> None:
    async def search(**options: Any) -> list[list[Any]]:
        connection = await lancedb.connect_async(str(tmp_path))
        opened = await connection.open_table("docs")
        with pytest.raises(InputError, match="AsyncTable cannot be awaited in a thread"):
            retriever(opened)("heat", 1)
        modes: Any = ("lexical", "dense", "hybrid")
        stages = [retriever(opened, embed=embed, mode=mode, **options) for mode in modes]
        return list(await asyncio.gather(*(stage.aretrieve("heat", 2) for stage in stages)))

    lexical, dense, hybrid = asyncio.run(search())
    assert ids(lexical) == ["heat"] and ids(dense) == ids(hybrid) == ["heat", "boiler"]
    assert dense[0].metadata == {"lang": "en", "when": datetime(2026, 1, 1), "tags": ["home"]}
    options = {"where": "lang = 'en'", "id": "_rowid", "vector": "embedding", "distance": "cosine"}
    assert [ids(candidates) for candidates in asyncio.run(search(**options))] == [
        ["0"], ["0", "1"], ["0", "1"]
    ]  # fmt: skip


def test_a_synchronous_table_in_an_event_loop(table: Any) -> None:
    assert ids(asyncio.run(retriever(table).aretrieve("pump", 2))) == ["heat"]


def test_errors_are_lancedbs(table: Any) -> None:
    with pytest.raises(ValueError, match=r"query dim\(3\)"):
        retriever(table, embed=lambda query: [1.0, 2.0, 3.0], vector="embedding")("heat", 1)
    with pytest.raises(ValueError, match="no vector column"):  # none of this length
        retriever(table, embed=lambda query: [1.0, 2.0, 3.0])("heat", 1)
    with pytest.raises(Exception, match="absent"):
        retriever(table, metadata=["absent"])("heat", 1)
    with pytest.raises(Exception, match="colour"):
        retriever(table, where="colour = 'red'")("heat", 1)


def test_by_name(table: Any, tmp_path: Path) -> None:
    spec = f"lancedb:{tmp_path}?table=docs&id=key&text=body&metadata=lang&where=lang%3D'en'"
    (hit, *others) = open_retriever(spec)("house", 5)
    assert {hit.id, others[0].id} == {"heat", "boiler"}  # type: ignore[union-attr]
    assert hit.metadata == {"lang": "en"}  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"needs the option table, such as \?table=docs"):
        open_retriever(f"lancedb:{tmp_path}")


def test_arguments(table: Any) -> None:
    with pytest.raises(InputError, match="mode 'dense' needs embed"):
        retriever(table, mode="dense")
    with pytest.raises(InputError, match="expected a list of names, got a string"):
        retriever(table, metadata="lang")


def test_a_question_with_a_lone_surrogate(table: Any) -> None:
    asked = []

    def embeds(query: str) -> list[float]:
        asked.append(query)
        return [0.0, 1.0]

    for stage in (
        retriever(table),
        retriever(table, embed=embeds, search_fields=["body", "title"]),
    ):
        assert ids(stage("moon \ud800", 1)) == ["tides"]
    assert asked == ["moon \ufffd"]
