"""A teacher's logits say what is relevant where it is sure, and nothing elsewhere."""

from pathlib import Path

import pytest

from evaluation.small_collection import DOCUMENTS, QUERIES, make_collection
from resift.errors import DatasetError
from resift.training.teacher_run import TeacherRun


def _run(folder: Path, *lines: str) -> TeacherRun:
    file = folder / "teacher.trec"
    rows = (line.split() for line in lines)
    file.write_text(
        "".join(f"{query} Q0 {doc} {rank} {score} made\n" for query, doc, rank, score in rows)
    )
    return TeacherRun(make_collection(folder / "made"), file)


def test_documents_that_the_teacher_is_sure_of_are_labelled(tmp_path: Path) -> None:
    run = _run(tmp_path, "q1 d2 1 4.5", "q1 d4 2 2.2", "q1 d1 3 2.1", "q1 d3 4 -2.2")
    rows, notes = run.pairs()
    negatives = [DOCUMENTS["d3"]]
    assert rows == [
        {"query": QUERIES["q1"], "positive": DOCUMENTS["d2"], "negatives": negatives},
        {"query": QUERIES["q1"], "positive": DOCUMENTS["d4"], "negatives": negatives},
    ]
    assert notes == [] and (str(run), run.stem) == (str(run.run), "teacher")


def test_queries_without_a_contrast_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = ("q1 d2 1 4.5", "q1 d3 2 -3", "q2 d1 1 30", "q2 d4 2 20", "q9 d1 1 5", "q9 d2 1 -5")
    rows, notes = _run(tmp_path, *lines).pairs()
    assert [row["query"] for row in rows] == [QUERIES["q1"]]
    assert len(notes) == 1 and notes[0].startswith("2 of 3 queries left out")


@pytest.mark.parametrize(
    "lines", [("q1 d2 1 0.9", "q1 d1 2 0.1"), ("q1 d2 1 30", "q1 d1 2 20"), ("q1 d9 1 5",)]
)
def test_a_run_without_logits_is_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError, match=r"teacher\.trec: no query has .*--fusion-weight 0"):
        _run(tmp_path, *lines).pairs()


def test_documents_that_the_corpus_lacks_or_that_are_empty_are_left_out(tmp_path: Path) -> None:
    run = _run(tmp_path, "q1 d2 1 4.5", "q1 d9 2 4.0", "q1 d1 3 -4", "q1 d8 4 -5")
    (row,) = run.pairs()[0]
    assert (row["positive"], row["negatives"]) == (DOCUMENTS["d2"], [DOCUMENTS["d1"]])
