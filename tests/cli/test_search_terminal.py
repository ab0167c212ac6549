"""``resift search`` in a real terminal: what people see at each width, and what pipes get."""

import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from cli.command import Resift, process
from cli.terminal import Terminal

pytest.importorskip("lance")
pytest.importorskip("Stemmer")

QUERY = "what stops an object from being deleted"
TEXT = (
    "# Locks\n\nA bucket has an owner.\n\n## Until a date\n\n"
    "An object lock keeps it from deletion until a date.\n"
)
TESTS = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
PRINTED = r"""
from resift.cli.streams import prepare_size, prepare_streams
prepare_streams()
prepare_size()
from cli.rankings import hit, ranking
from resift.cli.ranking import RankingFormat, print_ranking
text = "Objects that are deleted: \u6df1\u5733\u5728\u4e2d\u56fd\u3002" * 9
hits = [hit(text, "Locks", uri="/docs/a.md", line=3), hit("A second one.", "Other")]
result = ranking(*hits, query="delete \u6df1\u5733", partial=True, reason="time was up")
print_ranking(result, RankingFormat())
"""
COLOUR = re.compile(r"\x1b\[[\d;]*3[0-7][\d;]*m")


def _screen(columns: int = 80, **variables: str) -> tuple[str, str]:
    """What is printed of a ranking in a terminal: without and with what steers it."""
    with Terminal(
        columns=columns, program=PRINTED, variables={"PYTHONPATH": TESTS, **variables}
    ) as terminal:
        terminal.wait_for("calibrated")
        assert terminal.ends() == 0
        return terminal.screen.replace("\r", ""), terminal.raw


@pytest.mark.parametrize("columns", [40, 200])
def test_hits_fit_the_terminal(columns: int) -> None:
    screen, raw = _screen(columns)
    shown = screen[screen.index("1 Locks") : screen.index("3 of 3 scored")]
    assert max(map(cell_len, shown.splitlines())) <= columns
    assert "/docs/a.md:3" in shown and "first stage 4" in shown
    assert COLOUR.search(raw) and "\x1b[1;31mdeleted" in raw and "\x1b[1;31m深圳" in raw


def test_the_receipt_is_wrapped_at_words() -> None:
    screen, _ = _screen(40)
    rows = screen[screen.index("partial ·") :].rstrip().splitlines()
    assert len(rows) > 1 and max(map(cell_len, rows)) <= 40
    assert " ".join(" ".join(rows).split()).startswith(
        "partial · 3 of 3 scored · 9 tokens · m on r · total 5 ms · scores are not calibrated"
    )


def test_what_is_missing_is_said_before_the_hits() -> None:
    screen, _ = _screen()
    assert screen.startswith("partial: time was up\n1 Locks")
    assert screen.index("2 Other") < screen.index("partial · 3 of 3 scored")
    assert screen.count("time was up") == 1


def test_without_colours_marks_are_bold() -> None:
    _, raw = _screen(NO_COLOR="1")
    assert not COLOUR.search(raw) and "\x1b[1mdeleted" in raw


def test_a_dumb_terminal_gets_no_escape_sequence() -> None:
    screen, raw = _screen(TERM="dumb", FORCE_HYPERLINK="1")
    assert "\x1b" not in raw and "1 Locks\n  Objects that are deleted" in screen


def test_a_terminal_that_is_not_of_utf8_gets_ascii() -> None:
    screen, raw = _screen(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert raw.isascii() and "deleted" in screen and "score 0.5000 | first stage 4" in screen


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from resift import Index

    folder = tmp_path_factory.mktemp("searched")
    (folder / "source").mkdir()
    (folder / "source" / "locks.md").write_text(TEXT)
    (folder / "source" / "rows.jsonl").write_text('{"_id": "r", "text": "Queues \\u001b]0;x."}\n')
    Index(folder / "index").sync(str(folder / "source"))
    return folder / "index"


def test_a_search_shows_the_line_and_opens_the_file(index: Path, tmp_path: Path) -> None:
    opened, programs = tmp_path / "opened", tmp_path / "bin"
    programs.mkdir()
    for name in ("xdg-open", "open"):
        (programs / name).write_text(f'#!/bin/sh\necho "$@" > {opened}\n')
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    options = ("search", QUERY, "--index", index, "--mode", "lexical", "--open", 1)
    with Terminal(*options, variables={"PATH": path, "VTE_VERSION": "6800"}) as terminal:
        terminal.wait_for("best sentences")
        assert terminal.ends() == 0
        raw = terminal.raw
    assert "\x1b[1;31mobject" in raw and "\x1b[1;31mdeletion" in raw
    assert "locks.md:7" in raw and "locks.md\x1b\\" in raw
    assert opened.read_text() == f"{index.parent / 'source' / 'locks.md'}\n"


def test_words_are_marked_by_the_stems_of_the_indexs_language(tmp_path: Path) -> None:
    from resift import Index

    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.md").write_text("Die Häuser sind alt.\n")
    Index(tmp_path / "index", language="de").sync(str(tmp_path / "source"))
    options = ("--index", tmp_path / "index", "--mode", "lexical", "--no-rerank")
    with Terminal("search", "haus", *options) as terminal:
        terminal.wait_for("best sentences")
        assert terminal.ends() == 0 and "\x1b[1;31mHäuser" in terminal.raw


def test_pipes_get_a_table_and_json_is_as_before(resift: Resift, index: Path) -> None:
    done = resift("search", QUERY, "--index", index)
    assert done.out.split()[:4] == ["rank", "was", "score", "passage"]
    assert "best sentences" not in done.err
    rows = resift("search", QUERY, "--index", index, "--jsonl").rows
    assert rows[0]["citation"]["line"] and "best_sentence" not in rows[0]


def test_open_is_checked_before_and_after_the_search(resift: Resift, index: Path) -> None:
    refused = resift("search", QUERY, "--index", index / "absent", "--open", 0)
    assert "--open 0: expected the rank of a hit" in refused.error
    done = resift("search", QUERY, "--index", index, "--json", "--open", 9)
    assert done.code == 1 and "--open 9: expected a hit, from 1 to" in done.err
    assert done.out.startswith("{")


def test_colours_that_are_forced_do_not_change_what_pipes_get(index: Path) -> None:
    arguments = ("search", QUERY, "--index", str(index), "--no-rerank", "--mode", "lexical")
    done = process(*arguments, environment={**os.environ, "FORCE_COLOR": "1"})
    assert done.code == 0 and "passage" in done.out.splitlines()[0]
