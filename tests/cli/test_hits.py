"""Proves what the table shows: where a hit is from, the sentence that answers, and 80 columns."""

from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from resift.cli import hits
from resift.cli.hits import best_sentence, passage, print_ranking, where
from resift.cli.output import console
from resift.types import Candidate, Citation, Hit, Ranking
from search.stand_ins import Backwards

TEXT = (
    "Leave is asked for in the portal. It is the manager who approves it. "
    "Vacation days of a year lapse on 31 March of the next one. Sick leave has rules of its own."
)
LAPSE = "Vacation days of a year lapse on 31 March of the next one."
WHERE: dict[str, Any] = {
    "uri": "s3://docs/handbook/leave.md",
    "doc_id": "handbook/leave.md",
    "page": 3,
    "row": None,
    "heading": "Vacation",
}
"""Of a citation."""


def hit(text: Any, title: str = "", **place: Any) -> Hit:
    cited: dict[str, Any] = {"uri": "", "doc_id": "", "start": 0, "end": 0, **place}
    return Hit(
        rank=1, index=0, id="a", score=0.5, logit=1.0, text=text, first_stage_rank=1,
        first_stage_score=None, tokens_seen=1, tokens_dropped=0, span=(0, 0), status="ok",
        title=title, citation=Citation(**cited) if place else None,
    )  # fmt: skip


def bold(text: Text) -> list[str]:
    return [text.plain[own.start : own.end] for own in text.spans if own.style == "bold"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (
            "when do vacation days lapse",
            LAPSE,
        ),
        ("who is the one approving it", "It is the manager who approves it."),
        ("VACATION", LAPSE),
    ],
)
def test_the_sentence_that_shares_most_with_the_query_is_marked(query: str, sentence: str) -> None:
    assert bold(passage(query, hit(TEXT))) == [sentence]


def test_a_sentence_far_down_is_shown_too() -> None:
    filler = "Nothing of it stands here at all. " * 40
    shown = passage("when do days lapse", hit(filler + "All days lapse in March. " + filler))
    assert bold(shown) == ["All days lapse in March."]
    assert shown.plain.startswith("… ") and len(shown.plain) < 300


def test_where_no_word_is_shared_nothing_is_marked_and_the_beginning_is_shown() -> None:
    shown = passage("zebra", hit(TEXT))
    assert bold(shown) == [] and shown.plain.startswith("Leave is asked for")


def test_scripts_without_spaces_are_compared_by_character() -> None:
    text = "东京是日本的首都。深圳在中国南方。巴黎是法国的首都。"
    start, end = best_sentence("深圳", text) or (0, 0)
    assert text[start:end] == "深圳在中国南方。"


@pytest.mark.parametrize("text", ["", " \n", None, 5, float("nan")])
def test_what_is_no_text_is_shown_as_nothing(text: Any) -> None:
    assert passage("a", hit(text)).plain.strip() == ""


def test_a_hit_says_where_it_is_from() -> None:
    assert where(hit("x", **WHERE)) == "handbook/leave.md · page 3 · Vacation"
    assert where(hit("x", uri="s3://a/b.csv", row=17)) == "s3://a/b.csv · row 17"
    assert where(hit("x")) == ""
    assert where(hit("x", doc_id="d/" * 200 + "end.md")).endswith("d/end.md")
    assert len(where(hit("x", doc_id="d/" * 200 + "end.md"))) == hits.PATH
    assert "\x1b" not in where(hit("x", doc_id="a\x1b[31m", heading="h\n\x07"))


ODD = [
    "x" * 500,
    "深圳" * 200,
    "مرحبا بالعالم " * 30,
    "\u202eevil\u202c \x1b[31mred\x1b[0m \x07 tab\tnul\x00",
    "a\u200bb\u00adc " * 60,
    "👩‍👩‍👧‍👦 " * 80,
    "[bold]no markup[/bold] [/] [",
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_eighty_columns_hold_everything(
    odd: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ranking = Ranking(
        odd, tuple(hit(odd, odd, doc_id=odd, heading=odd, page=10**6, row=10**6) for _ in range(2)),
        Backwards().rank("q", [Candidate("a", "b", rank=1)]).receipt,
    )  # fmt: skip
    monkeypatch.setattr(console, "_width", None)
    print_ranking(ranking)
    out = capsys.readouterr().out
    assert max(cell_len(line) for line in out.splitlines()) <= 80
    assert not set(out) & set("\x1b\x07\x00\u202e\u200b")
