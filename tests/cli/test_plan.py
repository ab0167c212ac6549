"""``resift plan``: what it prints, as text and as JSON, and its errors in one line."""

import json
import shlex
from pathlib import Path

import pytest

from cli.command import Resift
from resift.planning.prices import bundled_prices

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
SMALL = ("plan", "--passages", "1e6", "--qps", "5")


def _examples() -> list[tuple[str, str]]:
    """Each command of the page whose output follows, and that output."""
    blocks = PAGE.read_text(encoding="utf-8").split("```\n")[1::2]
    shown = [block.split("\n", 1) for block in blocks if block.startswith("$ resift plan")]
    return [(command.removeprefix("$ resift "), out) for command, out in shown if out.strip()]


def test_the_page_shows_what_the_command_prints(resift: Resift) -> None:
    examples = _examples()
    assert len(examples) >= 2
    for command, shown in examples:
        done = resift(*shlex.split(command))
        printed = [line.rstrip() for line in (done.out + done.err).splitlines()]
        assert printed == shown.splitlines(), f"put what this prints into {PAGE}: resift {command}"


def test_figures_are_whole_and_said_to_be_measured_or_not(resift: Resift) -> None:
    done = resift(*SMALL)
    assert done.code == 0 and not done.err
    lines = done.out.splitlines()
    assert lines[0] == "1,000,000 passages of 90 words, 5 queries/s, depth 30, p95 500 ms"
    rows = [line for line in lines if line.split()[-1:] in (["measured"], ["extrapolated"])]
    assert len(rows) >= 10
    assert any(line.startswith("bottleneck: serve: ") for line in lines)


def test_json_has_every_row_with_its_sources(resift: Resift) -> None:
    plan = json.loads(resift(*SMALL, "--json").out)
    assert {row["stage"] for row in plan["rows"]} == {"build", "keep", "serve", "sync"}
    assert plan["month_dollars"] > 0 and plan["fleet"]["p95_ms"] <= 500
    assert all(row["sources"] for row in plan["rows"] if row["step"] == "embed")
    assert plan["targets"]["passages"] == 1e6


def test_prices_are_printed_changed_and_used(resift: Resift, tmp_path: Path) -> None:
    table = resift("plan", "--show-prices").out
    assert table == bundled_prices()
    file = tmp_path / "prices.toml"
    file.write_text(table.replace("core_hour = 0.035", "core_hour = 0.070"))
    before, after = (json.loads(resift(*SMALL, "--json", *more).out)["month_dollars"]
                     for more in ((), ("--prices", file)))  # fmt: skip
    assert 1.3 * before < after < 2 * before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--passages", "0", "--qps", "5"), "--passages 0: expected a whole number from 1"),
        (("--passages", "1e30", "--qps", "5"), "--passages 1e+30: expected a whole number"),
        (("--passages", "nan", "--qps", "5"), "--passages nan: expected a whole number"),
        (("--passages", "1e6", "--qps", "inf"), "--qps inf: expected a number from"),
        ((*SMALL[1:], "--p95-ms", "-3"), "--p95-ms -3: expected a number from 1"),
        ((*SMALL[1:], "--p95-ms", "5"), "--p95-ms 5: expected at least"),
        ((*SMALL[1:], "--depth", "0"), "--depth 0: expected a whole number from 1"),
        ((*SMALL[1:], "--prices", "none.toml"), "none.toml: cannot be read"),
        ((*SMALL[1:], "--costs", "none.json"), "none.json: cannot be read"),
        ((*SMALL[1:], "--prices", ""), '--prices "": expected the name of a file'),
    ],
)
def test_wrong_input_is_one_line(resift: Resift, arguments: tuple[str, ...], message: str) -> None:
    assert message in resift("plan", *arguments).error


@pytest.mark.parametrize("typed", ["1000000", "1,000,000", "1e6", "1000000.0"])
def test_a_number_may_be_written_in_several_ways(resift: Resift, typed: str) -> None:
    lines = resift("plan", "--passages", typed, "--qps", "5").out.splitlines()
    assert lines[0].startswith("1,000,000 passages of 90 words, 5 queries/s, depth 30, ")


@pytest.mark.parametrize("typed", ["1,5", "1,00,000", "x", ""])
def test_what_is_no_number_is_a_wrong_usage(resift: Resift, typed: str) -> None:
    done = resift("plan", "--passages", typed, "--qps", "5")
    assert done.code == 2 and f"{typed!r}: expected a number" in " ".join(done.err.split())


def test_without_passages_and_qps_the_usage_is_wrong(resift: Resift) -> None:
    done = resift("plan")
    assert done.code == 2 and "--passages" in done.err
