"""Hits as people see them at a terminal: lines that fit, marks, sources, and no raw control."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from cli.rankings import hit, ranking
from resift.cli import hits, symbols
from resift.cli.best_sentences import best_sentences
from resift.cli.hits import print_hits_for_people
from resift.types import Ranking

pytest.importorskip("Stemmer")

LOCKS = hit(
    "Versions stay.\nObject lock keeps an object from being deleted. Billing goes on.",
    "Locks",
    uri="/handbook/locks.md",
    line=7,
    heading="Retention",
)
QUERY = "what prevents the deletion of objects"


def _printed(
    result: Ranking,
    monkeypatch: pytest.MonkeyPatch,
    width: int = 80,
    encoding: str = "utf-8",
    colours: bool = False,
) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    console = Console(
        file=stream, width=width, force_terminal=colours, color_system="standard", highlight=False
    ) if colours else Console(file=stream, width=width, highlight=False)  # fmt: skip
    monkeypatch.setattr(hits, "console", console)
    monkeypatch.setattr(symbols, "console", console)
    print_hits_for_people(result, best_sentences(result))
    stream.flush()
    return raw.getvalue().decode(encoding)


def test_a_hit_has_title_sentence_source_and_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ranking(LOCKS, query=QUERY, calibration="model")
    assert _printed(result, monkeypatch) == (
        "1 Locks — Retention\n"
        "  Versions stay. Object lock keeps an object from being deleted. Billing goes\n"
        "  on.\n"
        "  /handbook/locks.md:8\n"
        "  probability 0.5000 · first stage 4\n"
        "\n"
    )


def test_a_score_without_calibration_is_no_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "score 0.5000 · first" in _printed(ranking(LOCKS), monkeypatch)
    other = ranking(LOCKS, calibration="judged_other_depth")
    assert "score 0.5000 · first" in _printed(other, monkeypatch)
    late = hit("a b", uri="s3://docs/a.csv", row=3, page=2)
    object.__setattr__(late, "score", None)
    object.__setattr__(late, "status", "not_reranked")
    shown = _printed(ranking(late), monkeypatch)
    assert "not reranked · first stage 4" in shown
    assert "s3://docs/a.csv · page 2 · row 3" in shown
    assert "  id a\n" in _printed(ranking(hit("text")), monkeypatch)


def test_of_a_long_path_the_end_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"s3://docs/{'folder/' * 40}locks.md"
    shown = _printed(ranking(hit("text", uri=uri)), monkeypatch, width=200)
    assert f"  …{uri[-119:]}\n" in shown


def test_text_of_an_earlier_paragraph_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "## Retention\n\nVersions stay. Locks keep an object."
    result = ranking(hit(text, uri="/a.md", line=7), query="object")
    assert "1 Versions stay. Locks keep an object.\n  /a.md:9\n" in _printed(result, monkeypatch)


def test_words_of_the_query_are_marked_in_title_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _printed(ranking(LOCKS, query="locked deletion"), monkeypatch, colours=True)
    for word in ("Locks", "lock", "deleted"):
        marked = [f"\x1b[{codes}m{word}" for codes in ("1;31", "1;2;31")]
        assert any(each in shown for each in marked), word
    assert "31mobject" not in shown


def test_a_long_sentence_begins_near_its_first_word_of_the_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "Whatever may come of it in that time, " * 9 + "a zebra came."
    assert len(text) < 400
    assert "a zebra came." in _printed(ranking(hit(text), query="zebra"), monkeypatch)


ODD = {
    "long word": "x" * 500,
    "CJK": "深圳在中国南方，" * 60,
    "arabic": "مرحبا بالعالم " * 30,
    "control": "\u202eevil\u202c \x1b[31mred\x1b[0m \x1b]0;t\x07 tab\tnul\x00 \x9b2J\r\x08",
    "invisible": "a\u200bb\u00adc " * 60,
    "emoji": "👩‍👩‍👧‍👦 " * 80,
    "markup": "[bold]no markup[/bold] [/] [",
    "lone surrogate": "a \udcff b",
}


@pytest.mark.parametrize("width", [40, 61, 120])
@pytest.mark.parametrize("name", ODD)
def test_odd_texts_fit_and_control_nothing(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = ODD[name]
    result = ranking(
        *[hit(odd, odd, uri=f"/{odd}", heading=odd, page=9, line=3)] * 10, hit(odd), query=odd
    )
    shown = _printed(result, monkeypatch, width)
    lines = shown.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert not any(line.endswith(" ") for line in lines)
    assert lines[0].startswith(" 1 ")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_what_it_can_show(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ranking(
        hit("Café 深圳 deleted.", "Café", uri="/é.md", heading="H", line=1), query="deletion"
    )
    shown = _printed(result, monkeypatch, 40, encoding)
    cafe = "Café" if encoding == "latin-1" else "Caf\\xe9"
    assert f"1 {cafe} - H\n" in shown and "\\u6df1\\u5733 deleted." in shown
    assert "score 0.5000 | first stage 4" in shown or "score 0.5000 · first stage 4" in shown
    assert max(map(len, shown.splitlines())) <= 40


@pytest.mark.parametrize("linked", ["0", "1"])
def test_only_files_of_this_machine_are_linked(
    linked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_HYPERLINK", linked)
    result = ranking(LOCKS, hit("b", uri="s3://docs/b.md"))
    shown = _printed(result, monkeypatch, colours=True)
    assert shown.count("\x1b]8;id=") == int(linked)
    assert ("/handbook/locks.md\x1b\\" in shown) == (linked == "1")
    assert "s3://docs/b.md\x1b\\" not in shown
