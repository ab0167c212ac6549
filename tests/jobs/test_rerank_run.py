"""A run that workers of a Ray cluster rerank is the one that this process would make.

So it is when workers, nodes and the process that asks are killed; what cannot be done is named.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from cli.conftest import resift as resift
from evaluation.small_collection import json_lines
from jobs.rerank_workers import GREEDY, POISON, RecordingReranker, make_job, unfinished
from resift import Reranker
from resift.errors import ClusterError, InputError
from resift.evaluation.finished_queries import gather
from resift.evaluation.rerank_run import (
    QueryResult,
    RerankJob,
    RerankRunOptions,
    rerank_queries,
    reranked_lines,
)
from resift.jobs.cluster import Cluster
from resift.jobs.parts import Parts
from resift.jobs.rerank_run import _size, rerank_on_cluster

pytest.importorskip("ray")

OPTIONS = RerankRunOptions()


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A folder with a file for each call of a `RecordingReranker`."""
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


@pytest.fixture
def recording(joint_folder: Path, calls: Path) -> RecordingReranker:
    return RecordingReranker(joint_folder, calls)


@pytest.fixture(scope="module")
def here(joint_folder: Path) -> Reranker:
    """The model of a `recording`, in this process and in the runtime of the workers."""
    return Reranker(joint_folder)


def _lines(job: RerankJob, results: Sequence[QueryResult]) -> list[str]:
    by_id = {result.query_id: result for result in results}
    assert len(by_id) == len(results)
    return list(reranked_lines(job, [by_id[name] for name in job.run], OPTIONS))


def _undisturbed(job: RerankJob, here: Reranker) -> list[str]:
    return _lines(job, list(rerank_queries(map(job.query, job.known), here, OPTIONS)))


def _results(
    cluster: Cluster, job: RerankJob, reranker: RecordingReranker
) -> Iterator[QueryResult]:
    return rerank_on_cluster(cluster, job, job.known, cast(Reranker, reranker), OPTIONS)


def _wait_until(condition: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """`work` runs beside the block, and has to be done when that ends."""
    stop, errors = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert errors == []


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A collection and a run of 40 queries, two of which it cannot read or does not have."""
    job = make_job(40)
    folder = tmp_path / "made"
    folder.mkdir()
    corpus = [{"_id": name, "text": text.text} for name, text in job.documents.items()]
    (folder / "corpus.jsonl").write_text(json_lines(corpus))
    texts = job.queries | {"q7": " "}
    queries = [{"_id": name, "text": text} for name, text in texts.items() if name != "q9"]
    (folder / "queries.jsonl").write_text(json_lines(queries))
    run = tmp_path / "run.trec"
    run.write_text(
        "".join(
            f"{name} Q0 {entry.doc_id} {rank} {entry.score} made\n"
            for name, entries in job.run.items()
            for rank, entry in enumerate(entries, 1)
        )
    )
    return folder, run


def test_the_run_is_the_same_byte_for_byte(
    made: tuple[Path, Path], ray_cluster: Any, resift: Any, tmp_path: Path
) -> None:
    folder, run = made
    reports = []
    for name, options in (("here", ()), ("there", ("--ray", ray_cluster.address))):
        done = resift("rerank-run", folder, "--run", run, "--output", tmp_path / name, "--json",
                      "--depth", 8, "--fusion-weight", 0.3, *options)  # fmt: skip
        assert done.code == 0, done.err
        reports.append(json.loads(done.out) | {"output": None, "seconds": None})
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    assert reports[0] == reports[1]
    assert [entry["query_id"] for entry in reports[0]["not_reranked"]] == ["q7", "q9"]
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.long
def test_queries_that_no_worker_survives_keep_their_order_and_no_other_does(
    ray_cluster: Any,
    recording: RecordingReranker,
    here: Reranker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resift.jobs.rerank_run._WAVE_CHARACTERS", 8_000)
    job = make_job(20, POISON, GREEDY)
    assert 8_000 < sum(_size(job, name, 512).characters for name in job.run) < 16_000  # two waves
    results = list(_results(Cluster(ray_cluster.address), job, recording))
    lost = {result.query_id: result for result in results if result.lost}
    assert set(lost) == {"q20", "q21"}
    assert all("no worker of the cluster survives it" in result.problem for result in lost.values())
    lines, undisturbed = _lines(job, results), _undisturbed(job, here)
    others = [line for line in undisturbed if not line.startswith(("q20 ", "q21 "))]
    assert lines[: len(others)] == others
    order = [line.split()[2] for line in lines if line.startswith("q20 ")]
    assert order == [entry.doc_id for entry in job.run["q20"]]


@pytest.mark.long
def test_a_driver_that_is_killed_goes_on_from_what_is_finished(
    ray_cluster: Any, recording: RecordingReranker, calls: Path, here: Reranker, tmp_path: Path
) -> None:
    job, folder = make_job(64), tmp_path / "out.parts"
    arguments = (ray_cluster.address, folder, recording.model, calls, 64, 0.1)
    driver = subprocess.Popen(
        [sys.executable, "-c", "import sys; from jobs.rerank_workers import main; "
         "main(*sys.argv[1:])", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip
    try:
        _wait_until(lambda: driver.poll() is not None or len(list(folder.glob("*.jsonl"))) > 8)
        assert driver.poll() is None
    finally:
        driver.kill()
        driver.wait()
    with unfinished(folder, job) as finished:
        assert 8 < finished.resumed < 64
        remaining = [name for name in job.known if name not in finished]
        before = len(list(calls.iterdir()))
        gather(
            finished,
            rerank_on_cluster(
                Cluster(ray_cluster.address), job, remaining, cast(Reranker, recording), OPTIONS
            ),
            lambda result: None,
        )
        # the workers of the killed driver may have been at work for a moment
        assert len(list(calls.iterdir())) - before < 64
        lines = _lines(job, [finished.take(name) for name in job.run])
        finished.remove()
    assert lines == _undisturbed(job, here) and not folder.exists()


def test_a_worker_without_the_model_is_an_error_that_says_so(
    ray_cluster: Any, joint_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(joint_folder, tmp_path / "model"))
    job = make_job(4)
    with Reranker(folder) as reranker:
        shutil.rmtree(folder)
        with pytest.raises(
            ClusterError, match=r"a worker on .* cannot open the model: .*same path"
        ):
            list(rerank_on_cluster(Cluster(ray_cluster.address), job, job.known, reranker, OPTIONS))


def test_an_invalid_argument_is_the_error_that_it_is_here(ray_cluster: Any, here: Reranker) -> None:
    job = make_job(4)
    cluster, options = Cluster(ray_cluster.address), RerankRunOptions(-1)
    with pytest.raises(InputError, match="fusion_weight"):
        list(rerank_on_cluster(cluster, job, job.known, here, options))


@pytest.mark.long
def test_ten_killed_workers_change_nothing(
    ray_cluster: Any, recording: RecordingReranker, calls: Path, here: Reranker
) -> None:
    job, killed = make_job(300), set[int]()
    slow = RecordingReranker(recording.model, calls, 0.2)
    generator = random.Random(11)

    def kill(stop: threading.Event) -> None:
        while len(killed) < 10:
            time.sleep(generator.uniform(0.0, 3.0))
            pids = {int(file.name.partition("-")[0]) for file in calls.iterdir()} - killed
            for pid in generator.sample(sorted(pids), min(1, len(pids))):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            assert not stop.is_set(), f"the job was done after {len(killed)} kills"

    with _beside(kill):
        results = list(_results(Cluster(ray_cluster.address), job, slow))
    assert len(killed) == 10 and not any(result.lost for result in results)
    assert _lines(job, results) == _undisturbed(job, here)


@pytest.mark.long
def test_a_node_that_is_lost_changes_nothing(
    ray_cluster: Any, recording: RecordingReranker, calls: Path, here: Reranker
) -> None:
    job = make_job(120)
    slow = RecordingReranker(recording.model, calls, 0.2)
    node = ray_cluster.add_node(num_cpus=1)

    def lose(stop: threading.Event) -> None:
        _wait_until(lambda: len(list(calls.iterdir())) > 20)
        ray_cluster.remove_node(node, allow_graceful=False)
        assert not stop.is_set()

    with _beside(lose):
        results = list(_results(Cluster(ray_cluster.address), job, slow))
    assert not any(result.lost for result in results)
    assert _lines(job, results) == _undisturbed(job, here)


def test_the_client_server_is_refused_before_anybody_is_asked(here: Reranker) -> None:
    job = make_job(1)
    with pytest.raises(InputError, match="Ray's client server"):
        list(rerank_on_cluster(Cluster("ray://127.0.0.1:1"), job, job.known, here, OPTIONS))


@pytest.mark.parametrize(("queries", "is_error"), [(2, False), (20, True)])
def test_a_model_that_fails_for_every_query_of_many_is_an_error(
    queries: int, is_error: bool, here: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the job would succeed, and the run would be the old one."""
    job = make_job(queries)
    failed = [QueryResult(name, problem="openvino: no", lost=True) for name in job.known]
    monkeypatch.setattr(Parts, "process", lambda *_: iter([failed[:1], failed[1:]]))
    monkeypatch.setattr(Cluster, "connected", lambda _: nullcontext())
    results = rerank_on_cluster(Cluster("local"), job, job.known, here, OPTIONS)
    if is_error:
        with pytest.raises(ClusterError, match=r"^local: no query could be reranked: openvino"):
            list(results)
    else:
        assert list(results) == failed


def test_nothing_to_do_needs_no_cluster(here: Reranker) -> None:
    nowhere = Cluster("127.0.0.1:1")
    assert list(rerank_on_cluster(nowhere, make_job(3), [], here, OPTIONS)) == []
