"""Runs come back from disk as they were, best first, and a line that is wrong is named."""

import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.errors import DatasetError
from resift.evaluation.trec import LEAST_STEP, ScoredDocument, read_run, run_lines, write_run

names = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)
scores = st.floats(-50, 50)
ranked = st.dictionaries(names, scores, min_size=1, max_size=12)


def _sorted(documents: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(documents.items(), key=lambda item: -item[1])


@given(st.dictionaries(names, ranked, min_size=1, max_size=4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_run_comes_back_in_the_order_it_was_written(
    run: dict[str, dict[str, float]], packed: bool
) -> None:
    lines = [
        line
        for query_id, documents in run.items()
        for line in run_lines(query_id, _sorted(documents), "tag")
    ]
    with TemporaryDirectory() as folder:
        file = Path(folder) / ("run.gz" if packed else "run.trec")
        write_run(file, lines)
        found = read_run(file)
        assert [other.name for other in Path(folder).iterdir()] == [file.name]
    for query_id, documents in run.items():
        assert [doc.doc_id for doc in found[query_id]] == [name for name, _ in _sorted(documents)]
    assert list(found) == list(run)


@given(st.lists(scores, min_size=1, max_size=20))
def test_written_scores_fall_from_each_to_the_next(own: list[float]) -> None:
    documents = [(str(place), score) for place, score in enumerate(sorted(own, reverse=True))]
    written = [float(line.split()[4]) for line in run_lines("q", documents, "tag")]
    assert all(one > other for one, other in pairwise(written))
    for (_, score), found in zip(documents, written, strict=True):
        assert score - len(own) * LEAST_STEP - 1e-6 <= found <= score + 1e-6


def test_a_line_has_the_six_fields() -> None:
    assert run_lines("q", [("d", 1.5)], "tag") == ["q Q0 d 1 1.500000 tag\n"]


def test_the_score_decides_and_ties_keep_the_files_order(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("q Q0 a 1 1.0 t\nq\tQ0\tb 2 3e0 t\n\nq Q0 c 3 1.0 t\np Q0 a 1 -2 t\n")
    run = read_run(file)
    assert [document.doc_id for document in run["q"]] == ["b", "a", "c"]
    assert run["p"] == [ScoredDocument("a", -2.0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d 1 1.0", "5 fields, expected 6"),
        ("q Q0 d 1 1.0 t extra", "7 fields, expected 6"),
        ("q Q0 d 1 high t", "high"),
        ("q Q0 d 1 nan t", "score nan"),
        ("q Q0 d 1 inf t", "score inf"),
        ("q Q0 a 2 0.5 t", "a is there twice for query q"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_that_is_wrong_is_named(
    tmp_path: Path, line: str, message: str, packed: bool
) -> None:
    file = tmp_path / ("run.gz" if packed else "run")
    data = f"q Q0 a 1 1.0 t\n{line}\n".encode()
    file.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DatasetError) as caught:
        read_run(file)
    assert f"{file.name}:2: " in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_document_may_answer_two_queries(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("q Q0 a 1 1 t\np Q0 a 1 1 t\n")
    assert set(read_run(file)) == {"q", "p"}


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_run_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run"
    file.write_text(text)
    with pytest.raises(DatasetError, match="run: empty"):
        read_run(file)


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="absent: no such file"):
        read_run(tmp_path / "absent")


def test_a_packed_run_that_is_damaged_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"q Q0 d%d 1 1.0 t\n" % n for n in range(200)))
    spoilt = whole[:20] + bytes(byte ^ 0xFF for byte in whole[20:60]) + whole[60:]
    for data in (whole[:-20], spoilt, b"not packed"):
        (tmp_path / "run.gz").write_bytes(data)
        with pytest.raises(DatasetError, match=r"run\.gz:"):
            read_run(tmp_path / "run.gz")


@pytest.mark.parametrize("name", ["run", "run.gz"])
def test_a_run_is_there_whole_or_as_it_was(tmp_path: Path, name: str) -> None:
    def broken() -> Iterator[str]:
        yield "q Q0 a 1 1 t\n"
        raise RuntimeError("half way")

    file = tmp_path / name
    write_run(file, ["q Q0 old 1 1 t\n"])
    before = file.read_bytes()
    with pytest.raises(RuntimeError, match="half way"):
        write_run(file, broken())
    assert file.read_bytes() == before
    assert [other.name for other in tmp_path.iterdir()] == [name]


def test_an_output_that_cannot_be_written_is_an_error_in_a_line(tmp_path: Path) -> None:
    taken = tmp_path / "folder"
    taken.mkdir()
    (tmp_path / "file").write_text("")
    for file in (taken, tmp_path / "absent" / "run", tmp_path / "file" / "run"):
        with pytest.raises(DatasetError, match="cannot be written") as caught:
            write_run(file, ["q Q0 a 1 1 t\n"])
        assert "\n" not in str(caught.value)
    assert sorted(other.name for other in tmp_path.iterdir()) == ["file", "folder"]
