"""The demo runs end to end on real documents, says what it did, and a second run embeds nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.command import Resift
from resift import Index, Reranker
from resift.cli import demo
from resift.cli.demo import SERVICES, operations, plain_text
from resift.cli.demo_measures import compare, make_evaluator, operation_ids
from resift.cli.demo_questions import RULE, questions, shown
from resift.cli.demo_report import LEGEND
from resift.errors import MissingExtra, StoreError
from resift.evaluation.measures import means, scores_by_rank

pytest.importorskip("botocore")
pytest.importorskip("lance")


def test_the_corpus_has_three_thousand_operations_with_titles_and_texts() -> None:
    rows = [row for service in SERVICES for row in operations(service)]
    assert len(rows) >= 3000
    assert len({row["_id"] for row in rows}) == len(rows)
    named = {row["_id"]: row for row in rows}
    assert named["s3.PutObjectRetention"]["title"] == "Amazon S3: put object retention"
    assert named["sqs.SendMessage"]["text"]
    assert not any("<p>" in row["text"] for row in rows)


def test_markup_becomes_text() -> None:
    assert plain_text("<p>Places a <b>legal hold</b> on an object.</p><p>More.</p>") == (
        "Places a legal hold on an object.\n\nMore."
    )
    assert plain_text("") == ""


@pytest.mark.usefixtures("small_model")
def test_a_second_demo_run_embeds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = [each for each in questions() if each.services & {"kms", "sqs"}]
    monkeypatch.setattr(demo, "SERVICES", ("sqs",))
    monkeypatch.setattr(demo, "questions", lambda: judged)
    demo.demo(tmp_path / "a b")
    first = " ".join(capsys.readouterr().out.split())
    assert "passages embedded" in first and RULE in first and " ".join(LEGEND.split()) in first
    for question in shown(judged):
        assert f"{question.id}: {question.text}" in first
    assert f"All {len(judged)} judged questions, 30 candidates each" in first
    assert "nDCG@10" in first and "success@3" in first
    assert f"resift search \"a question\" --index '{tmp_path}/a b/index'" in first
    demo.demo(tmp_path / "a b")
    assert ": 0 passages embedded, 1 file unchanged" in " ".join(capsys.readouterr().out.split())


def test_measures_are_those_of_searches_one_by_one(tmp_path: Path, joint_folder: Path) -> None:
    (tmp_path / "documents").mkdir()
    rows = [json.dumps(row) for row in operations("sqs")]
    (tmp_path / "documents" / "rows.jsonl").write_text("\n".join(rows))
    reranker = Reranker(joint_folder)
    index = Index(tmp_path / "index", reranker=reranker)
    index.sync(str(tmp_path / "documents"))
    judged = [each for each in questions() if "sqs" in each.services]
    evaluator, done = make_evaluator(judged), list[int]()
    comparison = compare(index, reranker, judged, evaluator, done.append)
    assert sum(done) == comparison.questions == len(judged)
    for measured, is_reranked in ((comparison.before, False), (comparison.after, True)):
        run = {
            each.id: scores_by_rank(operation_ids(index.search(each.text, rerank=is_reranked)))
            for each in judged
        }
        assert measured == pytest.approx(means(evaluator.per_query(run)))


@pytest.fixture
def one_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SERVICES", ("sqs",))
    monkeypatch.setattr(demo, "questions", lambda: questions()[:2])


@pytest.mark.usefixtures("small_model", "one_service")
@pytest.mark.parametrize("name", ["file", "file/below", "\0"])
def test_a_folder_that_cannot_be_written_is_one_clear_line(
    resift: Resift, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("hi")
    if name == "\0":  # a folder where a file is to be
        (tmp_path / "b" / "documents" / "sqs.jsonl").mkdir(parents=True)
        name = "b"
    error = resift("demo", "--folder", tmp_path / name).error
    assert error.startswith(f"error: --folder {tmp_path / name}: ")
    assert "name another folder" in error and "bug" not in error


@pytest.mark.usefixtures("small_model", "one_service")
def test_damage_names_the_folder_to_delete_and_a_damaged_document_is_written_again(
    tmp_path: Path,
) -> None:
    demo.demo(tmp_path)
    documents = tmp_path / "documents" / "sqs.jsonl"
    text = documents.read_bytes()
    documents.write_bytes(b"\xff\xfe")
    for file in (tmp_path / "index" / "versions").iterdir():
        file.write_text("x")
    with pytest.raises(StoreError, match=r"damaged.*; delete the folder .*/index and run  resift"):
        demo.demo(tmp_path)
    assert documents.read_bytes() == text


@pytest.mark.usefixtures("small_model", "one_service")
def test_a_pipe_is_told_of_the_long_part_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before: list[str] = []

    def record(*arguments: Any) -> Any:
        before.append(capsys.readouterr().out)
        return compare(*arguments)

    monkeypatch.setattr(demo, "compare", record)
    demo.demo(tmp_path)
    lines = before[0].splitlines()
    assert lines[-1] == "Now all 2 judged questions are asked, which may take a minute …"
    assert "without a mark: not judged to do it" in " ".join(before[0].split())


def test_without_botocore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "botocore.loaders", None)
    with pytest.raises(MissingExtra, match=r"pip install 'resift\[demo\]'"):
        next(operations("s3"))
