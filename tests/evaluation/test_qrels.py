"""Proves how grades of judgments are read: whole ones as int, others as they are."""

from pathlib import Path

from resift.evaluation.qrels import read_qrels


def test_a_grade_may_have_a_fraction_and_a_whole_one_is_an_int(tmp_path: Path) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_text("q1 0 d1 1.5\nq1 0 d2 2.0\nq1 0 d2 2\nq1 0 d3 -.25\nq2 0 d4 1e0\n")
    grades = read_qrels(file)
    assert grades == {"q1": {"d1": 1.5, "d2": 2, "d3": -0.25}, "q2": {"d4": 1}}
    assert [type(grade) for grade in grades["q1"].values()] == [float, int, float]
