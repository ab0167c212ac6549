"""What sets a conversion's ranges never measures the result."""

import json
import os
import threading
from pathlib import Path

import pytest

from resift.convert.calibration_text import (
    HELD_OUT_PAIRS,
    MIN_HELD_OUT,
    RANGE_PAIRS,
    calibration_texts,
    candidate_lists,
)
from resift.errors import InputError


def _file(folder: Path, count: int) -> Path:
    file = folder / "texts.jsonl"
    rows = [{"query": f"q{number}", "text": f"t{number}"} for number in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_no_text_of_the_built_in_pages_is_in_both() -> None:
    texts = calibration_texts()
    assert len(texts.ranges) == RANGE_PAIRS
    assert len(texts.held_out) > HELD_OUT_PAIRS / 2
    assert not {text for _, text in texts.ranges} & {text for _, text in texts.held_out}


@pytest.mark.parametrize("count", [40, 50, 2_000])
def test_a_fifth_of_a_file_is_held_out(count: int, tmp_path: Path) -> None:
    texts = calibration_texts(_file(tmp_path, count))
    assert len(texts.held_out) == min(count // 5, HELD_OUT_PAIRS)
    assert len(texts.ranges) == min(count - count // 5, RANGE_PAIRS)
    assert not {text for _, text in texts.ranges} & {text for _, text in texts.held_out}


def test_a_short_file_holds_out_built_in_pairs(tmp_path: Path) -> None:
    texts = calibration_texts(_file(tmp_path, 12))
    assert {text for _, text in texts.ranges} <= {f"t{number}" for number in range(12)}
    assert texts.held_out == calibration_texts().held_out
    assert len(texts.held_out) >= MIN_HELD_OUT


def test_half_of_the_pairs_are_mismatched(tmp_path: Path) -> None:
    texts = calibration_texts(_file(tmp_path, 100))
    strangers = [query[1:] != text[1:] for query, text in texts.ranges]
    assert sum(strangers) == len(strangers) // 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "contains no pairs"),
        (b"\xff\xfe{", "not a readable file of UTF-8"),
        (b'{"query": 1, "text": "t"}', ":1: expected a line of"),
        (b'{"query": "q", "text": null}', ":1: expected a line of"),
    ],
)
def test_an_invalid_file_of_pairs_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        calibration_texts(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable file"):
        calibration_texts(tmp_path / "none")


def test_usual_line_ends_are_read(tmp_path: Path) -> None:
    file = _file(tmp_path, 12)
    row = json.dumps({"query": "q", "text": "a\u2028b"}, ensure_ascii=False)
    file.write_text("\r".join([row, *file.read_text().splitlines()]), encoding="utf-8", newline="")
    assert ("q", "a\u2028b") in calibration_texts(file).ranges
    with pytest.raises(InputError, match="is a device, expected a file"):
        calibration_texts(Path("/dev/zero"))


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    content = _file(tmp_path, 60).read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    texts = calibration_texts(tmp_path / "pipe")
    writer.join(10)
    assert len(texts.pairs) == 60 and candidate_lists(texts.pairs)[0][0] == "q0"
