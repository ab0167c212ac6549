"""Runs are read as they were written, best first; invalid lines are named."""

import gzip
import os
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.errors import DatasetError, OutputError
from resift.evaluation.trec import MIN_STEP, RunEntry, read_qrels, read_run, run_lines, write_run

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
        for line in run_lines(query_id, _sorted(documents))
    ]
    with TemporaryDirectory() as folder:
        file = Path(folder) / ("run.gz" if packed else "run.trec")
        write_run(file, lines)
        written_run = read_run(file)
        assert [path.name for path in Path(folder).iterdir()] == [file.name]
    for query_id, documents in run.items():
        assert [doc.doc_id for doc in written_run[query_id]] == [
            name for name, _ in _sorted(documents)
        ]
    assert list(written_run) == list(run)


@given(st.lists(scores, min_size=1, max_size=20))
def test_written_scores_decrease(values: list[float]) -> None:
    documents = [(str(index), score) for index, score in enumerate(sorted(values, reverse=True))]
    written = [float(line.split()[4]) for line in run_lines("q", documents)]
    assert all(above > below for above, below in pairwise(written))
    for (_, score), written_score in zip(documents, written, strict=True):
        assert score - len(values) * MIN_STEP - 1e-6 <= written_score <= score + 1e-6


def test_a_line_has_the_six_fields() -> None:
    assert run_lines("q", [("d", 1.5)]) == ["q Q0 d 1 1.500000 resift\n"]


def test_the_score_decides_and_ties_keep_the_files_order(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("q Q0 a 1 1.0 t\nq\tQ0\tb 2 3e0 t\n\nq Q0 c 3 1.0 t\np Q0 a 1 -2 t\n")
    run = read_run(file)
    assert [document.doc_id for document in run["q"]] == ["b", "a", "c"]
    assert run["p"] == [RunEntry("a", -2.0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d 1 1.0", "expected  query_id Q0 doc_id rank score tag"),
        ("q Q0 d 1 1.0 t extra", "7 fields"),
        ("q Q0 d 1 high t", "high"),
        ("q Q0 d 1 nan t", "score nan is not a finite number"),
        ("q Q0 d 1 inf t", "score inf is not a finite number"),
        ("q Q0 a 2 0.5 t", "a occurs twice for query q"),
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


def test_a_document_may_be_relevant_to_two_queries(tmp_path: Path) -> None:
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
def test_a_run_is_written_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    def broken() -> Iterator[str]:
        yield "q Q0 a 1 1 t\n"
        raise RuntimeError("half way")

    file = tmp_path / name
    write_run(file, run_lines("q", [("old", 1.0)]))
    before = file.read_bytes()
    with pytest.raises(RuntimeError, match="half way"):
        write_run(file, broken())
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_output_that_cannot_be_written_is_an_error_in_a_line(tmp_path: Path) -> None:
    taken = tmp_path / "folder"
    taken.mkdir()
    (tmp_path / "file").write_text("")
    for file in (taken, tmp_path / "absent" / "run", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match=r"is a folder|there is no folder") as caught:
            write_run(file, ["q Q0 a 1 1 t\n"])
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    "layout",
    ["{q} Q0 {d} 1 {s} t", "{q}\tQ0\t{d}\t1\t{s}\ta tag", "{q}\t{d}\t{s}", "{q} {d} {s}e0",
     "{q},{d},{s}", " {q}  {d}  {s} \r", "{q} {d} 1 {s}", "{q}, Q0, {d}, 1, {s}, t"],
)  # fmt: skip
@pytest.mark.parametrize("heading", ["", "qid doc score\n", "# made by hand\n\n", "\ufeff"])
def test_usual_variants_of_runs_are_read(tmp_path: Path, layout: str, heading: str) -> None:
    file = tmp_path / "run"
    rows = [("q", "d\u00a01", 2.5), ("q", "d2", 3), ("q", "d\u00a01", 2.5), ("p", "#3", -1)]
    file.write_text(heading + "\n".join(layout.format(q=q, d=d, s=s) for q, d, s in rows))
    assert read_run(file) == {
        "q": [RunEntry("d2", 3.0), RunEntry("d\u00a01", 2.5)],
        "p": [RunEntry("#3", -1.0)],
    }


def test_ranks_of_three_columns_are_ranks(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("q\ta\t1\nq\tb\t2\np\ta\t1\nq\tc\t3\n")
    run = read_run(file)
    assert [entry.doc_id for entry in run["q"]] == ["a", "b", "c"]
    assert [entry.score for entry in run["q"]] == [1 / 61, 1 / 62, 1 / 63]
    file.write_text("q a 3\nq b 2\nq c 1\n")  # falling numbers are scores
    assert [entry.doc_id for entry in read_run(file)["q"]] == ["a", "b", "c"]
    file.write_text("q a 2\nq b 3\nq c 1\n")
    with pytest.raises(DatasetError, match="may be scores or ranks"):
        read_run(file)


@pytest.mark.parametrize(
    "line", ["q d", "q d 1,5 x", "q d 1_0", "q d 1e999", "q d -inf", "q 0 d 1", "q Q0 d 1 2.0 t"]
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "run"
    file.write_text(f"q a 0.7\n{line}\n")
    with pytest.raises(DatasetError, match="run:2: expected  query_id Q0") as caught:
        read_run(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "before",
    [b"thesis\n", b"q Q0 a 1 1 bm25\n", b"\x1f\x8bnot packed",
     gzip.compress(b"q Q0 a 1 1 bm25\n", mtime=0),
     b"q Q0 a 1 1.0 resift\nand a note\n", b"q1 Q0 my 1 notes resift\n",
     b"q1 Q0 my notes 1.000000 resift\n", b"q1 Q0 d 1 nan resift\n",
     gzip.compress(b"q1 Q0 my own notes resift\n", mtime=0)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["run", "run.gz"])
def test_only_a_run_that_resift_wrote_is_replaced(tmp_path: Path, before: bytes, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(before)
    with pytest.raises(OutputError, match="exists and is not a run that resift wrote"):
        write_run(file, run_lines("q", [("a", 1.0)]))
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["run", "run.gz"])
def test_a_run_that_resift_wrote_is_replaced_however_long(tmp_path: Path, name: str) -> None:
    lines = [
        line for n in range(40) for line in run_lines(f"q{n}", [(str(k), -k) for k in range(99)])
    ]
    for _ in range(2):
        write_run(tmp_path / name, lines)
    assert len(read_run(tmp_path / name)) == 40
    write_run(Path(os.devnull), lines)
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("size", [1e3, 1e8, 1e20, -1e9])
def test_scores_decrease_in_single_precision_too(size: float) -> None:
    lines = run_lines("q", [(str(n), size) for n in range(50)])
    single = array("f", [float(line.split()[4]) for line in lines])
    assert all(above > below for above, below in pairwise(single))


def test_a_grade_may_have_a_fraction_and_a_whole_one_is_an_int(tmp_path: Path) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_text("q1 0 d1 1.5\nq1 0 d2 2.0\nq1 0 d2 2\nq1 0 d3 -.25\nq2 0 d4 1e0\n")
    grades = read_qrels(file)
    assert grades == {"q1": {"d1": 1.5, "d2": 2, "d3": -0.25}, "q2": {"d4": 1}}
    assert [type(grade) for grade in grades["q1"].values()] == [float, int, float]
