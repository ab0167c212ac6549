"""Only lines of Ray's native log below its level are left out of stderr."""

import os

import pytest

from resift.jobs.native_log import quiet

LINE = b"[2026-11-27 00:33:18,039 I 10506 10506] logging.cc:303: Set ray log level to 3\n"
FATAL = b"[2026-11-27 00:33:18,039 C 10506 10506] raylet.cc:3: Check failed\n"


def test_other_lines_are_written_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "")  # restored at the end
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL")
    with pytest.raises(KeyError), quiet():
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "fatal"
        os.write(2, b"before\n" + LINE + FATAL)
        raise KeyError
    os.write(2, b"later\n")
    assert capfd.readouterr().err == f"before\n{FATAL.decode()}later\n"


def test_a_level_of_the_user_is_not_changed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    with quiet():
        os.write(2, LINE)
    assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "debug"
    assert capfd.readouterr().err == LINE.decode()
