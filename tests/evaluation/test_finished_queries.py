"""Finished queries: as they were after any interruption, and nothing but what is not finished."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift import Document, Receipt
from resift.errors import OutputError
from resift.evaluation import finished_queries
from resift.evaluation.finished_queries import (
    FinishedQueries,
    gather,
    in_order,
    job_identity,
    parts_folder,
)
from resift.evaluation.job_folder import JobFolder
from resift.evaluation.rerank_run import QueryResult, RerankJob, RerankRunOptions
from resift.evaluation.trec import RunEntry

RECEIPT = Receipt(
    "a model", "0123", "openvino 1", 3, 2, 1, 0, True, "the time ran out", {"total": 0.1 + 0.2},
    40, 0.25, 1 / 3, notes=("a note", "another"),
)  # fmt: skip
NESTED = replace(RECEIPT, notes=(), receipts=(RECEIPT,))
FINISHED = {
    "q1": QueryResult("q1", (("d2", 0.1 + 0.2), ("d1", -1e-17)), ("d3",), RECEIPT),
    "q2": QueryResult("q2", problem="the query is empty"),
    "q3": QueryResult("q3", (("d\udc80", 5.0),), (), NESTED),
}
ENTRIES = [RunEntry("d1", 2.0), RunEntry("d2", 1.0)]
RUN = dict.fromkeys(["q1", "q2", "q0", "q3"], ENTRIES)
JOB = RerankJob(
    {"q1": "a query", "q2": "", "q3": "another"},
    {"d1": Document("d1", "text"), "d2": Document("d2", "more", "a title")},
    RUN,
    2,
)
OPTIONS = RerankRunOptions()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return parts_folder(tmp_path / "out.trec")


def _finished(path: Path) -> FinishedQueries:
    return FinishedQueries(JobFolder(path, lambda: job_identity(JOB, OPTIONS, "0123")))


def _interrupt(path: Path, *results: QueryResult) -> None:
    with pytest.raises(KeyboardInterrupt), _finished(path) as finished:
        gather(finished, results, lambda result: None)
        raise KeyboardInterrupt


def test_the_folder_is_named_after_the_output() -> None:
    assert parts_folder(Path("a/out.trec.gz")) == Path("a/out.trec.gz.parts")


def test_an_interrupted_job_finds_its_results_as_they_were(path: Path) -> None:
    _interrupt(path, FINISHED["q1"], FINISHED["q2"])
    _interrupt(path, FINISHED["q3"])
    with _finished(path) as finished:
        assert finished.resumed == finished.on_disk == 3
        assert {name: finished.take(name) for name in FINISHED} == FINISHED
        finished.remove()
    assert not path.exists()


def test_what_was_lost_is_done_again(path: Path) -> None:
    lost = QueryResult("q2", problem="no worker survives it", lost=True)
    with _finished(path) as finished:
        gather(finished, [FINISHED["q1"], lost], lambda result: None)
        assert finished.take("q2") == lost
    with _finished(path) as finished:
        assert "q1" in finished and "q2" not in finished


def test_a_short_job_writes_nothing(path: Path) -> None:
    with _finished(path) as finished:
        gather(finished, FINISHED.values(), lambda result: None)
        assert [finished.take(name) for name in FINISHED] == list(FINISHED.values())
        finished.remove()
    assert not path.exists()


def test_a_long_job_writes_as_it_goes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_queries, "WRITE_AFTER_S", 0)
    with _finished(path) as finished:
        for count, result in enumerate(FINISHED.values(), 1):
            finished.add(result)
            assert finished.on_disk == count and len(list(path.glob("*.jsonl"))) == count
        assert [finished.take(name) for name in FINISHED] == list(FINISHED.values())


def test_a_file_that_a_crash_of_the_machine_cut_costs_its_last_query(path: Path) -> None:
    _interrupt(path, *FINISHED.values())
    (file,) = path.glob("*.jsonl")
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    for cut, count in ((len(content) - 5, 2), (len(lines[0]), 1), (len(lines[0]) - 20, 0), (0, 0)):
        file.write_bytes(content[:cut])
        with _finished(path) as finished:
            assert finished.resumed == count
    file.write_bytes(b"null\n[]\n{}\n" + lines[1])
    with _finished(path) as finished:
        assert finished.resumed == 1 and finished.take("q2") == FINISHED["q2"]


def test_an_error_is_not_hidden_by_one_of_the_folder(path: Path) -> None:
    path.parent.rmdir()
    with pytest.raises(ZeroDivisionError), _finished(path) as finished:
        finished.add(FINISHED["q1"])
        raise ZeroDivisionError
    with pytest.raises(OutputError), _finished(path) as finished:
        finished.add(FINISHED["q1"])


OTHER_JOBS = [
    replace(JOB, depth=3),
    replace(JOB, run=RUN | {"q3": ENTRIES[:1]}),
    replace(JOB, run=dict(reversed(RUN.items()))),
    replace(JOB, run=RUN | {"q3": [ENTRIES[0], RunEntry("d2", 0.5)]}),
    replace(JOB, queries=JOB.queries | {"q3": "a third"}),
    replace(JOB, queries={"q1": "a query", "q2": ""}),
    replace(JOB, documents=JOB.documents | {"d2": Document("d2", "more", "")}),
    replace(JOB, documents=JOB.documents | {"d2": Document("d2", "less", "a title")}),
]


@pytest.mark.parametrize("job", OTHER_JOBS)
def test_whatever_decides_a_result_makes_another_job(job: RerankJob) -> None:
    assert job_identity(job, OPTIONS, "0123") != job_identity(JOB, OPTIONS, "0123")


@pytest.mark.parametrize(
    ("options", "fingerprint"),
    [
        (RerankRunOptions(0.5), "0123"),
        (RerankRunOptions(top_n=5), "0123"),
        (RerankRunOptions(exact=True), "0123"),
        (RerankRunOptions(budget_ms=10), "0123"),
        (OPTIONS, "4567"),
    ],
)
def test_other_options_and_models_make_another_job(
    options: RerankRunOptions, fingerprint: str
) -> None:
    assert job_identity(JOB, options, fingerprint) != job_identity(JOB, OPTIONS, "0123")


def test_the_order_of_the_corpus_makes_no_other_job() -> None:
    job = replace(JOB, documents=dict(reversed(JOB.documents.items())))
    assert job_identity(job, OPTIONS, "0123") == job_identity(JOB, OPTIONS, "0123")


@given(st.permutations(list(FINISHED)), st.integers(0, 3))
def test_results_in_any_order_come_in_the_order_of_the_run(order: list[str], earlier: int) -> None:
    with FinishedQueries(None) as finished:
        gather(finished, [FINISHED[name] for name in order[:earlier]], lambda result: None)
        arriving = (FINISHED[name] for name in order[earlier:])
        ordered = list(in_order(JOB, finished, arriving, lambda result: None))
    assert [result.query_id for result in ordered] == list(JOB.run)
    assert {result.query_id: result for result in ordered if result.query_id != "q0"} == FINISHED
    assert ordered[2].problem == "is not in the collection"


def test_a_result_comes_as_soon_as_it_can() -> None:
    asked: list[str] = []

    def arriving() -> Iterator[QueryResult]:
        for name in ("q2", "q1", "q3"):
            asked.append(name)
            yield FINISHED[name]

    with FinishedQueries(None) as finished:
        ordered = in_order(JOB, finished, arriving(), lambda result: None)
        assert next(ordered).query_id == "q1" and asked == ["q2", "q1"]
