"""The steps of a conversion are seen on stderr, unless the program decides what it logs."""

import subprocess
import sys

import pytest

STEPS = """
import logging, sys
from resift.convert.steps import visible_steps
log = logging.getLogger("resift")
{before}
log.info("before")
with visible_steps():
    log.info("a step")
    with visible_steps():
        log.warning("a warning")
    log.debug("a detail")
log.info("after")
log.warning("a later warning")
assert log.level == logging.NOTSET or {level}
"""


def _stderr(before: str = "", level: bool = False, **variables: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", STEPS.format(before=before, level=level)],
        capture_output=True, text=True, timeout=60, env=variables or None,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "", done.stderr
    return done.stderr.splitlines()


def test_steps_are_lines_on_stderr_and_logging_is_as_before_afterwards() -> None:
    assert _stderr() == ["a step", "a warning", "a later warning"]


@pytest.mark.parametrize(
    ("before", "level", "lines"),
    [
        ("logging.basicConfig(format='%(message)s')", False, ["a warning", "a later warning"]),
        (
            "logging.basicConfig(level=logging.INFO, format='%(message)s')",
            False,
            ["before", "a step", "a warning", "after", "a later warning"],
        ),
        ("log.setLevel(logging.ERROR)", True, []),
    ],
)
def test_a_program_with_logging_decides_itself(before: str, level: bool, lines: list[str]) -> None:
    assert _stderr(before, level) == lines


def test_a_handler_of_warnings_does_not_print_them_twice() -> None:
    handler = "log.addHandler(logging.StreamHandler()); log.handlers[0].setLevel(logging.WARNING)"
    assert _stderr(handler) == ["a step", "a warning", "a later warning"]


def test_the_hubs_switch_for_progress_bars_is_ours_too() -> None:
    assert _stderr(HF_HUB_DISABLE_PROGRESS_BARS="1") == ["a warning", "a later warning"]
