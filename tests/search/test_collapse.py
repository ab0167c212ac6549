"""Hits of one document together: its best passage stands for it, and the others are counted."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from resift.errors import InputError
from resift.search.collapse import collapsed
from resift.search.index import Index
from resift.settings import Settings
from resift.types import Hit, Ranking
from search.hits import RECEIPT, cited, hit, ranked
from search.stand_ins import Backwards

WORDS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of one file are documents; a text file of sections is one."""
    root = tmp_path_factory.mktemp("collapse")
    docs = root / "docs"
    docs.mkdir()
    rows = [
        {"id": word, "text": f"The fox is {word} and slowly walks through dark woods."}
        for word in WORDS
    ]
    (docs / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (docs / "long.md").write_text(
        "".join(f"# Part {number}\n\nThe fox fox fox fox.\n\n" for number in range(8))
    )
    index_at(root).sync(str(docs))
    return root


def index_at(root: Path, reranker: object = None) -> Index:
    return Index(
        root / "index", settings=Settings(), embedder=HashingEmbedder(),
        reranker=reranker,  # type: ignore[arg-type]
    )  # fmt: skip


def documents(ranking: Ranking) -> list[str]:
    assert [entry.rank for entry in ranking] == list(range(1, len(ranking) + 1))
    return [entry.citation.doc_id for entry in ranking if entry.citation]


@pytest.mark.parametrize("rerank", [False, True])
def test_a_search_gives_the_best_passage_of_each_document(folder: Path, rerank: bool) -> None:
    index = index_at(folder, Backwards())
    plain = index.search("fox", 20, mode="lexical", rerank=rerank)
    first = {name: next(h for h in plain if h.citation and h.citation.doc_id == name).id
             for name in documents(replace(plain))}  # fmt: skip
    assert len(plain) == 11 and len(first) == 4
    for top_n in (1, 3, 4, 9):
        ranking = index.search("fox", top_n, mode="lexical", rerank=rerank, collapse="document")
        assert [entry.id for entry in ranking] == list(first.values())[:top_n]
        assert ranking.receipt.collapsed == 7


def test_documents_behind_a_crowd_of_passages_are_there(folder: Path) -> None:
    """The long document has the first eight passages; `top_n` counts documents all the same."""
    index = index_at(folder)
    plain = index.search("fox", 3, mode="lexical", rerank=False)
    assert set(documents(plain)) == {"long.md"}
    ranking = index.search("fox", 3, mode="lexical", rerank=False, collapse="document")
    assert len(set(documents(ranking))) == 3
    few = index.search("fox", 3, 3, mode="lexical", rerank=False, collapse="document")
    assert documents(few) == ["long.md"]
    assert few.receipt.notes == ("the 3 hits are of 1 document: a larger depth may have more",)
    every = index.search("fox", 9, mode="lexical", rerank=False, collapse="document")
    assert len(every) == 4 and every.receipt.notes == (), "no depth has more"


def test_asearch_and_its_first_stage_are_collapsed_too(folder: Path) -> None:
    first: list[Ranking] = []

    async def note(ranking: Ranking) -> None:
        first.append(ranking)

    index = index_at(folder, Backwards())
    ranking = asyncio.run(
        index.asearch("fox", 2, mode="lexical", collapse="document", on_first_stage=note)
    )
    assert [entry.id for entry in ranking] == [
        entry.id for entry in index.search("fox", 2, mode="lexical", collapse="document")
    ]
    assert len(set(documents(first[0]))) == len(first[0]) == 2
    assert first[0].receipt.collapsed == 7


def test_a_context_of_documents_still_grows(folder: Path) -> None:
    ranking = index_at(folder).search("fox", 2, rerank=False, collapse="document")
    assert ranking.neighbours is not None and len(ranking.context(500).sources) == 2


def test_hits_without_a_citation_are_documents_of_their_own() -> None:
    four = ranked(hit("a"), hit("a"), cited("b", "s3://b"), cited("c", "s3://b"))
    ranking = collapsed(four, 9, 4)
    assert [entry.text for entry in ranking] == ["a", "a", "b"]
    assert ranking.receipt == replace(
        RECEIPT, depth=4, collapsed=1,
        notes=("the 4 hits are of 3 documents: a larger depth may have more",),
    )  # fmt: skip


def test_nothing_is_noted_if_there_is_nothing_more() -> None:
    entries: list[Hit] = [cited("b", f"s3://{number}") for number in range(3)]
    assert collapsed(ranked(*entries), 9, 3).receipt.notes == ()
    assert collapsed(ranked(*entries, entries[0]), 2, 4).receipt.notes == ()
    assert collapsed(ranked(*entries, entries[0]), 9, 5).receipt.notes == ()


@pytest.mark.parametrize("value", ["page", True, 1, ""])
def test_only_documents_can_be_asked_for(folder: Path, value: object) -> None:
    with pytest.raises(InputError, match="collapse="):
        index_at(folder).search("fox", collapse=value)  # type: ignore[arg-type]
