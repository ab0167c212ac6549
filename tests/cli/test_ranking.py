"""What is printed of a ranking: sources, best sentences, 80 columns; ``--explain`` and effects."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from cli.command import Resift
from resift import Explanation, Part, Reranker
from resift.cli.best_sentences import best_sentence
from resift.cli.output import console
from resift.cli.passages import MAX_PATH, cited_at, passage
from resift.cli.ranking import RankingFormat, explained_text, print_hits, print_ranking
from resift.types import Candidate, Citation, Hit, Ranking
from search.stand_ins import Backwards

TEXT = (
    "Leave is asked for in the portal. It is the manager who approves it. "
    "Vacation days of a year lapse on 31 March of the next one. Sick leave has rules of its own."
)
LAPSE = "Vacation days of a year lapse on 31 March of the next one."
CITATION: dict[str, Any] = {
    "uri": "s3://docs/handbook/leave.md",
    "doc_id": "handbook/leave.md",
    "page": 3,
    "row": None,
    "heading": "Vacation",
}


def hit(text: Any, title: str = "", **citation: Any) -> Hit:
    fields: dict[str, Any] = {"uri": "", "doc_id": "", "start": 0, "end": 0, **citation}
    return Hit(
        rank=1, index=0, id="a", score=0.5, logit=1.0, text=text, first_stage_rank=1,
        first_stage_score=None, tokens_seen=1, tokens_dropped=0, span=(0, 0), status="ok",
        title=title, citation=Citation(**fields) if citation else None,
    )  # fmt: skip


def bold(text: Text) -> list[str]:
    return [text.plain[span.start : span.end] for span in text.spans if span.style == "bold"]


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


def test_without_a_shared_word_the_beginning_is_shown() -> None:
    shown = passage("zebra", hit(TEXT))
    assert bold(shown) == [] and shown.plain.startswith("Leave is asked for")


def test_scripts_without_spaces_are_compared_by_character() -> None:
    text = "东京是日本的首都。深圳在中国南方。巴黎是法国的首都。"
    start, end = best_sentence("深圳", text) or (0, 0)
    assert text[start:end] == "深圳在中国南方。"


@pytest.mark.parametrize("text", ["", " \n", None, 5, float("nan")])
def test_a_text_that_is_not_a_string_is_not_shown(text: Any) -> None:
    assert passage("a", hit(text)).plain.strip() == ""


def test_the_source_line_has_path_page_row_and_heading() -> None:
    assert cited_at(hit("x", **CITATION)) == "handbook/leave.md · page 3 · Vacation"
    assert cited_at(hit("x", uri="s3://a/b.csv", row=17)) == "s3://a/b.csv · row 17"
    assert cited_at(hit("x")) == ""
    assert cited_at(hit("x", doc_id="d/" * 200 + "end.md")).endswith("d/end.md")
    assert len(cited_at(hit("x", doc_id="d/" * 200 + "end.md"))) == MAX_PATH
    assert "\x1b" not in cited_at(hit("x", doc_id="a\x1b[31m", heading="h\n\x07"))


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
def test_odd_texts_fit_in_eighty_columns(
    odd: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    printed = Ranking(
        odd, tuple(hit(odd, odd, doc_id=odd, heading=odd, page=10**6, row=10**6) for _ in range(2)),
        Backwards().rank("q", [Candidate("a", "b", rank=1)]).receipt,
    )  # fmt: skip
    monkeypatch.setattr(console, "_width", None)
    print_hits(printed)
    out = capsys.readouterr().out
    assert max(cell_len(line) for line in out.splitlines()) <= 80
    assert not set(out) & set("\x1b\x07\x00\u202e\u200b")


QUERY = "what stops an object from being deleted"
ROWS = [
    {"text": "A bucket has an owner. Versions keep deleted objects.", "score": 3},
    {"text": "Queues wait. Object lock keeps an object from being deleted. So.", "score": 2},
    {"text": "Functions run code.", "score": 1},
    {"text": "", "score": 0},
]  # fmt: skip


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def _ranking() -> Ranking:
    rows: list[dict[str, Any]] = ROWS
    candidates = [
        Candidate(str(n), row["text"], score=row["score"]) for n, row in enumerate(rows, 1)
    ]
    return Reranker().rank(QUERY, candidates)


def test_json_has_the_explanation_of_the_first_hits_beside_their_fields(
    resift: Resift, lines: Path
) -> None:
    plain = resift("rerank", "-q", QUERY, lines, "--jsonl").rows
    rows = resift("rerank", "-q", QUERY, lines, "--jsonl", "--explain", 2).rows
    assert [list(row) for row in rows] == [[*plain[0], "explanation"]] * 2 + [list(plain[0])] * 2
    assert [{**row, "explanation": None} for row in rows] == [
        {**row, "explanation": None} for row in plain
    ]
    expected = _ranking().explain(0)
    explanation = rows[0]["explanation"]
    assert [part["text"] for part in explanation["parts"]] == [part.text for part in expected.parts]
    assert [p["effect"] for p in explanation["parts"]] == [p.effect for p in expected.parts]
    assert (explanation["id"], explanation["rank"], explanation["logit"]) == (
        "2",
        1,
        expected.logit,
    )


def test_an_unreadable_hit_has_no_explanation(resift: Resift, lines: Path) -> None:
    rows = resift("rerank", "-q", QUERY, lines, "--jsonl", "--explain", 99).rows
    assert [row["explanation"] is None for row in rows] == [False, False, False, True]
    done = resift("rerank", "-q", QUERY, lines, "--explain", 99)
    assert done.code == 0 and "4. 4: nothing to explain: empty" in done.out
    assert "rank 3 is above rank 4, which has no score: empty" in " ".join(done.out.split())


def test_the_table_shows_signed_effects_and_compares_neighbours(
    resift: Resift, lines: Path
) -> None:
    done = resift("rerank", "-q", QUERY, lines, "--explain", 3)
    shown = " ".join(done.out.split())
    ranked = _ranking()
    best = ranked.explain(0).strongest()[0]
    assert f"Object lock keeps an object from being deleted. [{best.effect:+.2f}]" in shown
    assert f"why: {ranked.compare(0, 1).summary} why: {ranked.compare(1, 2).summary}" in shown
    assert "Functions run code. (the only part" in shown
    assert "\x1b" not in done.out


def test_a_search_explains_its_hits(resift: Resift, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    source = tmp_path / "source"
    source.mkdir()
    for number, row in enumerate(ROWS[:3]):
        (source / f"{number}.txt").write_text(str(row["text"]))
    index = tmp_path / "index"
    assert resift("index", source, "--index", index).code == 0
    rows = resift("search", QUERY, "--index", index, "--jsonl", "--explain", 1).rows
    best = max(rows[0]["explanation"]["parts"], key=lambda part: part["effect"])
    assert best["text"].startswith("Object lock")
    assert "why: rank 1" in resift("search", QUERY, "--index", index, "--explain", 2).out
    refused = resift("search", QUERY, "--index", index, "--explain", 1, "--no-rerank")
    assert "leave out --no-rerank" in refused.error


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_hit_is_refused(resift: Resift, lines: Path, count: int) -> None:
    assert f"--explain {count}" in resift("rerank", "-q", QUERY, lines, "--explain", count).error


def test_a_search_whose_reranker_failed_says_that_there_is_nothing_to_explain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ranked = _ranking()
    failed = replace(ranked, explainer=None, receipt=replace(ranked.receipt, reason="it broke"))
    print_ranking(failed, RankingFormat(as_lines=True, explain=1))
    out, err = capsys.readouterr()
    assert "nothing to explain: it broke" in err
    assert len(out.splitlines()) == 4 and "explanation" not in out


def _explained(*effects: float, unread: int = 0, words: str = "A b.") -> Text:
    parts = tuple(Part(words, 0, 4, effect) for effect in effects)
    return explained_text(hit(""), Explanation("a", 1, 1.0, parts, (0, 0), unread))


def _styles(text: Text) -> list[str]:
    return [str(span.style) for span in text.spans if text.plain[span.start : span.end] == "A b."]


def test_colour_shows_the_sign_and_bold_the_size() -> None:
    text = _explained(4.0, 1.0, 0.1, -1.0, -3.0)
    assert _styles(text) == ["bold green", "not bold green", "not bold", "not bold red", "bold red"]
    assert text.plain.count("[") == 3 and "[+4.00]" in text.plain and "[-3.00]" in text.plain


def test_no_control_character_of_a_document_reaches_the_terminal() -> None:
    text = _explained(1.0, 0.5, words="a\x1b[31m b\x9b2J\x07\u202e [bold]x[/]")
    assert all(char.isprintable() or char == "\n" for char in text.plain)
    assert "[bold]x[/]" in text.plain


def test_unread_characters_are_counted() -> None:
    assert "… 1,234 characters were not read" in _explained(1.0, 0.5, unread=1234).plain
    assert "not read" not in _explained(1.0, 0.5).plain
