"""Proves that keys are read again, that a damaged file is told, and that it lets nobody in."""

from pathlib import Path

import pytest

from resift.errors import InputError
from resift.serve.keys import Keys, bearer

FIRST, SECOND = "a-key-of-a-caller-0001", "a-key-of-a-caller-0002"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# callers\n\n  {FIRST}  \n")
    return path


def test_the_keys_of_the_file_are_accepted_and_no_others(path: Path) -> None:
    keys = Keys(path)
    assert keys.accepts(FIRST)
    for other in (None, "", SECOND, FIRST[:-1], "# callers", FIRST + "\ud800"):
        assert not keys.accepts(other)


def test_a_changed_file_counts_at_once(path: Path) -> None:
    keys = Keys(path)
    path.write_text(f"{SECOND}\n{FIRST}x\n")
    assert keys.accepts(SECOND) and not keys.accepts(FIRST)


@pytest.mark.parametrize("damage", ["", "short\n", None], ids=["empty", "short", "gone"])
def test_a_damaged_file_is_told_once_and_changes_nothing(
    path: Path, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(path)
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    assert keys.accepts(FIRST) and keys.accepts(FIRST) and not keys.accepts(SECOND)
    (record,) = caplog.records
    assert "the keys stay as they were" in record.getMessage() and str(path) in record.getMessage()
    path.write_text(f"{SECOND}\n")
    assert keys.accepts(SECOND) and not keys.accepts(FIRST)


def test_a_server_that_begins_with_a_damaged_file_accepts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(tmp_path / "none")
    assert not keys.accepts(FIRST) and not keys.accepts("") and not keys.accepts(None)
    with pytest.raises(InputError, match="cannot be read"):
        Keys.check(tmp_path / "none")
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer ", None),
        ("", None),
        (None, None),
    ],
)
def test_the_key_of_a_header(header: str | None, key: str | None) -> None:
    assert bearer(header) == key
