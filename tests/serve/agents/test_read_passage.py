"""The tool read_passage reads on in a document: before and after a passage, in pieces that fit."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from resift.search.index import Index
from resift.serve.admission import Admission
from resift.serve.agents.tools import ToolProblem, call
from resift.serve.service import Service
from search.library import open_library, paragraph


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    for opened, _ in open_library(tmp_path_factory.mktemp("library")):
        yield opened


def read(index: Index, **arguments: Any) -> dict[str, Any]:
    service = Service({}, {"library": index}, Admission())

    async def get_service() -> Service:
        return service

    answer = asyncio.run(call(get_service, "read_passage", arguments))
    assert answer.tokens <= arguments.get("max_tokens", 1_500)
    return answer.structured


def test_a_passage_is_read_with_those_around_it(index: Index) -> None:
    hit = index.search("keel part 1", 1, rerank=False, mode="lexical")[0]
    rows = index.neighbours(hit, 9, 9)
    assert len(rows) == 2
    alone = read(index, id=hit.id)
    wide = read(index, id=hit.id, before=9, after=9)
    assert alone["text"] == hit.text and wide["id"] == hit.id
    for row in rows:
        assert row.text in wide["text"] and row.text not in alone["text"]
    assert all(paragraph("keel", number) in wide["text"] for number in range(3))
    before, after = (read(index, id=hit.id, **{name: 1})["text"] for name in ("before", "after"))
    assert rows[0].text in before and rows[1].text not in before
    assert rows[1].text in after and rows[0].text not in after


def test_a_long_text_comes_in_pieces(index: Index) -> None:
    hit = index.search("keel part 1", 1, rerank=False, mode="lexical")[0]
    whole = read(index, id=hit.id, before=9, after=9)["text"]
    pieces: list[str] = []
    start: int | None = 0
    while start is not None:
        piece = read(index, id=hit.id, before=9, after=9, start=start, max_tokens=400)
        pieces.append(piece["text"])
        start = piece.get("next_start")
    assert len(pieces) > 1 and "".join(pieces) == whole


def test_how_much_is_read_has_a_limit(index: Index) -> None:
    with pytest.raises(ToolProblem, match="before=21"):
        read(index, id="a#1", before=21)
    with pytest.raises(ToolProblem, match="no such passage"):
        read(index, id="a#1", before=20, after=20)
