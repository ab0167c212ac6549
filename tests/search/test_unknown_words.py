"""Words unknown to the embedder find nothing; the receipt says that dense retrieval is missing."""

from pathlib import Path

import pytest

from resift.search.index import Index
from resift.settings import Settings

UNKNOWN = "w" * 150  # longer than any word that the tokenizer takes apart


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder: Path = tmp_path_factory.mktemp("unknown")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("x" * 150 + " " + "y" * 150)
    (docs / "b.txt").write_text("Shenzhen is a city in China")
    index = Index(str(folder / "index"), settings=Settings())
    index.sync(str(docs))
    return index


@pytest.mark.parametrize("query", [UNKNOWN, f"{UNKNOWN}, {UNKNOWN}!"])
def test_a_query_of_unknown_words_finds_no_unknown_words(index: Index, query: str) -> None:
    ranking = index.search(query, mode="dense", rerank=False)
    assert len(ranking) == 0
    assert ranking.receipt.partial
    assert "knows no word of the query" in (ranking.receipt.reason or "")
    hybrid = index.search(query, rerank=False)
    assert len(hybrid) == 0
    assert "without the dense retriever" in (hybrid.receipt.reason or "")


def test_what_the_embedder_knows_of_a_query_finds_as_it_does_alone(index: Index) -> None:
    mixed = index.search(f"{UNKNOWN} city", mode="dense", rerank=False)
    alone = index.search("city", mode="dense", rerank=False)
    assert [hit.id for hit in mixed] == [hit.id for hit in alone]
    assert [hit.first_stage_score for hit in mixed] == [hit.first_stage_score for hit in alone]
    assert "Shenzhen" in mixed[0].text
    assert not mixed.receipt.partial
