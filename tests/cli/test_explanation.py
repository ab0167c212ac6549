"""``--explain``: the first hits' sentences with effects, and why each is above the next."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from cli.command import Resift
from resift import Candidate, Explanation, Part, Ranking, Reranker
from resift.cli.explanation import marked
from resift.types import Hit

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
    own = [Candidate(str(n), row["text"], score=row["score"]) for n, row in enumerate(rows, 1)]
    return Reranker().rank(QUERY, own)


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
    own = rows[0]["explanation"]
    assert [part["text"] for part in own["parts"]] == [part.text for part in expected.parts]
    assert [p["effect"] for p in own["parts"]] == [p.effect for p in expected.parts]
    assert (own["id"], own["rank"], own["logit"]) == ("2", 1, expected.logit)


def test_what_cannot_be_read_has_no_explanation_and_spoils_none(
    resift: Resift, lines: Path
) -> None:
    rows = resift("rerank", "-q", QUERY, lines, "--jsonl", "--explain", 99).rows
    assert [row["explanation"] is None for row in rows] == [False, False, False, True]
    done = resift("rerank", "-q", QUERY, lines, "--explain", 99)
    assert done.code == 0 and "4. 4: nothing to explain: empty" in done.out
    assert "rank 3 is above rank 4, which has no score: empty" in " ".join(done.out.split())


def test_people_see_signed_effects_without_colour_and_why_each_is_above_the_next(
    resift: Resift, lines: Path
) -> None:
    done = resift("rerank", "-q", QUERY, lines, "--explain", 3)
    shown = " ".join(done.out.split())
    ranking = _ranking()
    best = ranking.explain(0).strongest()[0]
    assert f"Object lock keeps an object from being deleted. [{best.effect:+.2f}]" in shown
    assert f"why: {ranking.compare(0, 1).summary} why: {ranking.compare(1, 2).summary}" in shown
    assert "Functions run code. (the only part" in shown
    assert "\x1b" not in done.out


def test_a_search_explains_what_it_found(resift: Resift, tmp_path: Path) -> None:
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
    from dataclasses import replace

    from resift.cli.explanation import Shape, print_answer

    ranking = _ranking()
    failed = replace(ranking, explainer=None, receipt=replace(ranking.receipt, reason="it broke"))
    print_answer(failed, Shape(as_lines=True, explain=1))
    out, err = capsys.readouterr()
    assert "nothing to explain: it broke" in err
    assert len(out.splitlines()) == 4 and "explanation" not in out


def _shown(*effects: float, unread: int = 0, words: str = "A b.") -> Text:
    parts = tuple(Part(words, 0, 4, effect) for effect in effects)
    hit = Hit(
        rank=1, index=0, id="a", score=0.5, logit=1.0, text="", first_stage_rank=1,
        first_stage_score=None, tokens_seen=1, tokens_dropped=0, span=(0, 0), status="ok",
    )  # fmt: skip
    return marked(hit, Explanation("a", 1, 1.0, parts, (0, 0), unread))


def _styles(text: Text) -> list[str]:
    return [str(span.style) for span in text.spans if text.plain[span.start : span.end] == "A b."]


def test_colour_says_which_way_and_weight_how_far() -> None:
    text = _shown(4.0, 1.0, 0.1, -1.0, -3.0)
    assert _styles(text) == ["bold green", "not bold green", "not bold", "not bold red", "bold red"]
    assert text.plain.count("[") == 3 and "[+4.00]" in text.plain and "[-3.00]" in text.plain


def test_no_control_character_of_a_document_reaches_the_terminal() -> None:
    text = _shown(1.0, 0.5, words="a\x1b[31m b\x9b2J\x07\u202e [bold]x[/]")
    assert all(char.isprintable() or char == "\n" for char in text.plain)
    assert "[bold]x[/]" in text.plain


def test_what_was_not_read_is_counted() -> None:
    assert "… 1,234 characters were not read" in _shown(1.0, 0.5, unread=1234).plain
    assert "not read" not in _shown(1.0, 0.5).plain
