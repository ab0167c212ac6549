"""Queries and judgments that do not fit are named; what fits is measured."""

from pathlib import Path

import pytest

from evaluation.made import make_collection
from resift.errors import DatasetError
from resift.evaluation.task import make_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_collection(tmp_path / "made")


def _judge(folder: Path, text: str, name: str = "qrels.tsv") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_judged_queries_are_taken(folder: Path) -> None:
    _judge(folder, "q1\td2\t1\n")
    task = make_task(folder, None, 1, None)
    assert (list(task.queries), task.qrels) == (["q1"], {"q1": {"d2": 1}})
    assert task.notes == ()


def test_judgments_of_unknown_queries_are_named_and_left_out(folder: Path) -> None:
    _judge(folder, "q1\td2\t1\nq8\td2\t1\nq9\td2\t1\n")
    task = make_task(folder, None, 1, None)
    assert list(task.queries) == ["q1"]
    assert task.notes[0].startswith(
        "2 of 3 judged queries are not among the queries, the first is q8"
    )


def test_judgments_of_nothing_but_unknown_queries_are_refused(folder: Path) -> None:
    _judge(folder, "q8\td2\t1\n")
    with pytest.raises(DatasetError, match=r"none of its 1 queries is in .*, the first is q8"):
        make_task(folder, None, 1, None)


@pytest.mark.parametrize("text", [None, "query-id\tcorpus-id\tscore\n"])
def test_without_judgments_all_queries_are_taken_and_that_is_said(
    folder: Path, text: str | None
) -> None:
    if text:
        _judge(folder, text)
    task = make_task(folder, None, 1, None)
    assert (list(task.queries), task.qrels) == (["q1", "q2"], {})
    assert "no judgments" in task.notes[0] and "resift judge" in task.notes[0]


def test_queries_without_an_answer_are_named(folder: Path) -> None:
    _judge(folder, "q1\td2\t0\nq2\td4\t1\n")
    assert "1 of 2 queries have no document of grade 1" in make_task(folder, None, 1, None).notes[0]
    assert "2 of 2 queries have no document of grade 2" in make_task(folder, None, 2, None).notes[0]


def test_judgments_may_be_elsewhere(folder: Path) -> None:
    file = _judge(folder, "q2\td4\t1\n", "qrels/dev.tsv")
    assert list(make_task(folder, file, 1, None).queries) == ["q2"]
    beside = make_task(_judge(folder, "a question\n", "queries.txt"), None, 1, None)
    assert list(beside.queries.values()) == ["a question"]


def test_a_part_is_spread_evenly(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("".join(f"question {number}\n" for number in range(10)))
    chosen = make_task(file, None, 1, 3).queries.values()
    assert list(chosen) == ["question 0", "question 3", "question 6"]
    assert len(make_task(file, None, 1, 99).queries) == 10


def test_a_query_without_text_costs_itself_and_is_named(folder: Path) -> None:
    _judge(folder, "q1\td2\t1\nq0\td2\t1\n")
    with (folder / "queries.jsonl").open("a") as lines:
        lines.write('{"_id": "q0", "text": null}\n')
    task = make_task(folder, None, 1, None)
    assert list(task.queries) == ["q1"]
    assert task.notes[0] == "1 queries have no text, the first is q0: left out"
