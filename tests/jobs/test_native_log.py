"""Only the one line that Ray writes about its own level is left out of stderr."""

import os

import pytest

from resift.jobs.native_log import quiet

LINE = "[2026-11-27 I 1 1] logging.cc:303: Set ray log level from environment variable {} to 3\n"


def test_other_lines_are_written_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "")  # restored at the end
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL")
    with pytest.raises(KeyError), quiet():
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "fatal"
        os.write(2, b"before\n" + LINE.format("RAY_BACKEND_LOG_LEVEL").encode() + b"after\n")
        raise KeyError
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "before\nafter\nlater\n"


def test_a_level_of_the_user_is_not_changed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    line = LINE.format("RAY_BACKEND_LOG_LEVEL")
    with quiet():
        os.write(2, line.encode())
    assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "debug"
    assert capfd.readouterr().err == line
