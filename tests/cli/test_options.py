"""An option of one name is said and read in one way, and every verb has those that make sense."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from resift.cli.app import app

ALIKE = ("--model", "--calibration", "--exact", "--fusion-weight", "--min-score", "--abstain-below")
VERBS = {
    "--model": "demo index search rerank rerank-run calibrate eval judge verify serve mcp",
    "--calibration": "demo search rerank",
    "--budget-ms": "search rerank rerank-run",
    "--exact": "search rerank rerank-run",
    "--fusion-weight": "search rerank rerank-run calibrate eval",
    "--top-n": "search rerank rerank-run",
    "--output": "rerank-run calibrate judge",
    "--json": "index search versions rollback cleanup verify-citation rerank rerank-run calibrate "
    "eval models verify doctor plan",
    "--ray": "index rerank-run serve",
    "--workers": "index plan rerank-run serve",
    "--worker-cpus": "index rerank-run",
}


SERVERS = {"serve", "mcp"}
"""They take several models and indexes."""


def _options() -> Iterator[tuple[str, str, Any]]:
    """Verb, name and what it is, of every option."""
    group = typer.main.get_command(app)
    for verb, command in group.commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            for name in parameter.opts:
                if name.startswith("--"):
                    yield verb, name, parameter


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_its_options(name: str) -> None:
    assert {verb for verb, option, _ in _options() if option == name} == set(VERBS[name].split())


@pytest.mark.parametrize("name", ALIKE)
def test_an_option_means_the_same_everywhere(name: str) -> None:
    meanings = {
        (option.help, str(option.default))
        for verb, option_name, option in _options()
        if option_name == name and verb not in SERVERS
    }
    assert len(meanings) == 1


@pytest.mark.parametrize("name", ["--model", "--index"])
def test_an_option_means_the_same_to_all_servers(name: str) -> None:
    meanings = [
        (option.help, option.multiple)
        for verb, option_name, option in _options()
        if option_name == name and verb in SERVERS
    ]
    assert len(meanings) == len(SERVERS) and len(set(meanings)) == 1 and meanings[0][1]


def test_help_says_every_default_that_a_text_names() -> None:
    named = 0
    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        texts = [getattr(parameter, "help", None) or "" for parameter in command.params]
        defaults = [text.partition("[default: ")[2].rstrip("]") for text in texts]
        defaults = [default for default in defaults if default]
        printed = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "300"}).output
        assert [default for default in defaults if f"[default: {default}" not in printed] == []
        named += len(defaults)
    assert named >= 20
