"""However narrow the terminal, and whatever COLUMNS says, what is printed can be read."""

import os
import subprocess
import sys

import pytest
from rich.table import Table

from cli.command import PROGRAM
from resift.cli import width
from resift.cli.output import console, print_table

ODD = ["0", "00", "-5", "²", "٣", "abc", "", " ", "1.5"]


def printed(*arguments: str, **variables: str) -> str:
    """Stdout of the command in an environment with these variables."""
    environment = {name: value for name, value in os.environ.items() if name not in ("LINES",)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        input="Paris is the capital of France\nBerlin\n",
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("columns", ODD)
def test_a_size_that_is_none_is_not_there(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        monkeypatch.setenv(variable, columns)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((90, 20)))
    width.prepare()
    assert not {"COLUMNS", "LINES", "TERMINAL_WIDTH"} & os.environ.keys()


@pytest.mark.parametrize(
    ("columns", "kept"),
    [("7", "7"), ("0080", "80"), ("1000", "1000"), ("9" * 18, "1000"), ("9" * 5_000, None)],
)
def test_a_size_is_at_most_that_of_a_terminal(
    columns: str, kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERMINAL_WIDTH", "0")
    width.prepare()
    assert os.environ.get("COLUMNS") == kept


@pytest.mark.parametrize("columns", ["0", "²", "1", "20"])
def test_a_passage_and_the_help_are_readable_at_any_width(columns: str) -> None:
    table = printed("rerank", "-q", "capital of France", "--explain", "1", COLUMNS=columns)
    assert table.count("Paris is the capital of France") == 2 and "passage" in table
    help_text = printed("rerank", "--help", COLUMNS=columns, TERMINAL_WIDTH=columns)
    assert "--min-score" in help_text and "--text-field" in help_text


@pytest.mark.parametrize("columns", [1, 20, 40, 59])
def test_figures_are_whole_in_a_narrow_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_width", columns)
    table = Table(box=None)
    for number in range(8):
        table.add_column(f"column{number}", no_wrap=True)
    table.add_row(*(f"0.123{number}" for number in range(8)))
    print_table(table)
    heads, figures = capsys.readouterr().out.splitlines()
    assert heads.split() == [f"column{number}" for number in range(8)]
    assert figures.split() == [f"0.123{number}" for number in range(8)]


def test_a_small_table_stays_small(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_width", 20)
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    table.add_row("x" * 30)
    print_table(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) == 30
