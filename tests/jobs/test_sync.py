"""An index that workers of a Ray cluster build is the one that this process would build."""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.errors import ClusterError, InputError, StoreError
from resift.index.embed import Models
from resift.index.report import SyncReport
from resift.index.run import Progress
from resift.index.shards import publication
from resift.index.storage.location import Location
from resift.index.table.snapshot import View
from resift.jobs.cluster import Cluster
from resift.jobs.sync import RayWorkers
from resift.search.index import Index

ray = pytest.importorskip("ray")
DataContext = pytest.importorskip("ray.data").DataContext
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

WORDS = (Path(__file__).parent.parent / "texts.py").read_text(encoding="utf-8").split()
DIM = 32


@dataclass
class Embedder:
    """Hashed words. Notes its process in a folder, and does what a text says."""

    pids: str = ""
    delay_s: float = 0.0
    name: str = "hashed"
    fingerprint: str = "hashed 32"
    dim: int = DIM

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import os
        import signal
        import zlib

        if self.pids:
            (Path(self.pids) / str(os.getpid())).touch()
        time.sleep(self.delay_s)
        vectors = np.full((len(texts), self.dim), 1e-3, np.float32)
        for row, text in enumerate(texts):
            if "poison" in text:
                os.kill(os.getpid(), signal.SIGKILL)
            if "exhausting" in text:
                raise MemoryError
            for word in text.split():
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1.0
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


class NoReranker:
    """Ranks nothing and precomputes nothing."""

    def rank(self, query: str, documents: Any, **options: Any) -> Any:
        raise NotImplementedError


def make_documents(folder: Path, count: int = 60) -> Path:
    folder.mkdir()
    generator = random.Random(7)
    for number in range(count):
        text = " ".join(generator.choices(WORDS, k=generator.randint(50, 900)))
        (folder / f"{number:03}.txt").write_text(f"{text}\n", encoding="utf-8")
    return folder


def open_index(folder: Path, **options: Any) -> Index:
    return Index(folder, embedder=Embedder(**options), reranker=NoReranker())


def contents(index: Index) -> dict[str, tuple[Any, ...]]:
    """All passages by id: text and vector."""
    snapshot = index._loader.snapshot().result()
    view = snapshot.view()
    assert isinstance(view, View)
    table = view._table
    rows = table.scanner(columns=["id", "text", "terms", "vector"], with_row_id=True).to_table()
    return {
        row["id"]: (row["text"], row["terms"], tuple(row["vector"])) for row in rows.to_pylist()
    }


def results(index: Index) -> list[list[tuple[str, float]]]:
    queries = [" ".join(WORDS[at : at + 3]) for at in range(0, 90, 9)]
    return [
        [(c.id, round(c.score or 0.0, 5)) for c in index.retrieve(query, 10, mode).candidates]
        for query in queries
        for mode in ("lexical", "dense", "hybrid")
    ]


def assert_same(left: Index, right: Index) -> None:
    assert contents(left) == contents(right)
    assert results(left) == results(right)


@pytest.fixture
def workers(ray_cluster: Any) -> RayWorkers:
    return RayWorkers(Cluster(ray_cluster.address))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_documents(tmp_path_factory.mktemp("source") / "documents")


@pytest.fixture(scope="module")
def undisturbed(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The index of the documents that this process builds."""
    index = open_index(tmp_path_factory.mktemp("local") / "index")
    index.sync(str(documents))
    return index


def test_no_thread_of_ray_data_fetches_ahead(
    documents: Path, tmp_path: Path, workers: RayWorkers
) -> None:
    """Such a thread may use Ray after its end, when a job fails: then Ray ends the process."""
    running: set[str] = set()

    def note(state: Progress) -> None:
        running.update(frame.f_code.co_filename for frame in sys._current_frames().values())

    open_index(tmp_path / "index").sync(str(documents), note, workers=workers)
    assert [file for file in running if "block_batching" in file] == []


def test_workers_build_the_same_index_and_later_only_what_has_changed(
    tmp_path: Path, workers: RayWorkers
) -> None:
    documents = make_documents(tmp_path / "documents")
    local, remote = open_index(tmp_path / "local"), open_index(tmp_path / "remote")
    seen: list[Progress] = []
    here = local.sync(str(documents))
    there = remote.sync(str(documents), seen.append, workers=workers)
    counts = ("added", "changed", "deleted", "unchanged", "unindexed", "passages_embedded")
    assert [getattr(here, n) for n in counts] == [getattr(there, n) for n in counts]
    assert_same(local, remote)
    assert seen[-1].done_objects == seen[-1].total_objects == 60
    assert seen[-1].work == pytest.approx(1.0)
    assert len({state.passages for state in seen}) > 4  # seen while it runs

    changed = documents / "003.txt"
    changed.write_text(f"{changed.read_text(encoding='utf-8')} one more word\n", encoding="utf-8")
    (documents / "004.txt").unlink()
    (documents / "new.txt").write_text("a new document\n", encoding="utf-8")
    again = remote.sync(str(documents), workers=workers)
    local.sync(str(documents))
    assert (again.added, again.changed, again.deleted, again.unchanged) == (1, 1, 1, 58)
    assert again.passages_reused > 0
    assert_same(local, remote)
    nothing = remote.sync(str(documents), workers=workers)
    assert (nothing.version, nothing.passages_embedded) == (again.version, 0)


class Killer(threading.Thread):
    """Kills processes that have embedded with -9, at random times, until enough are killed."""

    def __init__(self, pids: Path, times: int) -> None:
        super().__init__(daemon=True)
        self.killed: list[int] = []
        self._pids, self._times = pids, times
        self._random = random.Random(11)
        self._ended = threading.Event()

    def run(self) -> None:
        while len(self.killed) < self._times:
            if self._ended.wait(self._random.uniform(0.1, 0.9)):
                return
            seen = [int(file.name) for file in self._pids.iterdir()]
            if left := [pid for pid in seen if pid not in self.killed]:
                pid = self._random.choice(left)
                with suppress(ProcessLookupError):  # Ray has ended it
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(pid)

    def end(self) -> None:
        """Kill nothing any more: the ids of processes are used again."""
        self._ended.set()
        self.join()


def test_workers_that_are_killed_at_ten_random_points_change_nothing(
    documents: Path, undisturbed: Index, tmp_path: Path, workers: RayWorkers
) -> None:
    killed: list[int] = []
    for number in range(10):
        pids = tmp_path / f"pids-{number}"
        pids.mkdir()
        index = open_index(tmp_path / f"index-{number}", pids=str(pids), delay_s=0.1)
        killer = Killer(pids, 2)
        killer.start()
        report = index.sync(str(documents), workers=workers)
        killer.end()
        killed += killer.killed
        assert (report.added, report.skipped) == (60, ())
        assert_same(index, undisturbed)
        if len(killed) >= 10:
            break
    assert len(killed) >= 10


@pytest.mark.parametrize("word", ["poison", "exhausting"])
def test_a_document_that_no_worker_survives_is_named_and_the_others_are_indexed(
    word: str, tmp_path: Path, workers: RayWorkers
) -> None:
    documents = make_documents(tmp_path / "documents", 12)
    (documents / "bad.txt").write_text(f"this is {word} for all\n", encoding="utf-8")
    index = open_index(tmp_path / "index")
    report = index.sync(str(documents), workers=workers)
    [(uri, reason)] = report.skipped
    assert uri.endswith("bad.txt") and "no worker" in reason
    assert report.added == 12
    assert {id_.rpartition("/")[2][:3] for id_ in contents(index)} == {f"{n:03}" for n in range(12)}
    (documents / "bad.txt").write_text("harmless now\n", encoding="utf-8")
    assert index.sync(str(documents), workers=workers).added == 1


def test_a_node_that_is_lost_changes_nothing(
    documents: Path, undisturbed: Index, tmp_path: Path, ray_cluster: Any
) -> None:
    node = ray_cluster.add_node(num_cpus=1)
    (tmp_path / "pids").mkdir()
    index = open_index(tmp_path / "index", pids=str(tmp_path / "pids"), delay_s=0.1)
    lost: list[Progress] = []

    def lose(state: Progress) -> None:
        if not lost and state.passages:
            lost.append(state)
            ray_cluster.remove_node(node, allow_graceful=False)

    report = index.sync(str(documents), lose, workers=RayWorkers(Cluster(ray_cluster.address)))
    assert lost and report.added == 60
    assert_same(index, undisturbed)


DRIVER = """
    import sys
    sys.path[:0] = {paths!r}
    from jobs.test_sync import Cluster, RayWorkers, open_index
    from pathlib import Path
    index = open_index(Path({index!r}), delay_s=0.3)
    index.sync({documents!r}, print, workers=RayWorkers(Cluster({address!r})))
"""


def test_a_driver_that_is_killed_goes_on_from_what_is_committed(
    documents: Path, undisturbed: Index, tmp_path: Path, workers: RayWorkers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    paths = [str(Path(__file__).parent.parent)]
    code = (
        textwrap.dedent(DRIVER)
        .format(
            paths=paths,
            index=str(tmp_path / "index"),
            documents=str(documents),
            address=workers.cluster.address,
        )
        .replace(
            "index.sync(", "import resift.index.parts as p; p.COMMIT_PASSAGES = 50\nindex.sync("
        )
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    for line in driver.stdout:
        if "Progress(done_objects=" in line and int(line.split("=")[1].split(",")[0]) >= 30:
            break
    driver.kill()
    driver.wait()
    driver.stdout.close()
    index = open_index(tmp_path / "index")
    report = index.sync(str(documents), workers=workers)
    assert report.passages_resumed > 0
    assert report.passages_resumed + report.passages_embedded == len(contents(undisturbed))
    assert_same(index, undisturbed)


def test_errors_of_workers_end_the_sync_and_publish_nothing(
    documents: Path, tmp_path: Path, workers: RayWorkers
) -> None:
    class Refusing(Embedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            raise StoreError("no room on this disk")

    index = Index(tmp_path / "index", embedder=Refusing(), reranker=NoReranker())
    with pytest.raises(StoreError, match="no room on this disk"):
        index.sync(str(documents), workers=workers)
    with pytest.raises(StoreError):
        index.versions()


def test_a_cluster_that_is_not_there_or_has_no_room_is_named(
    documents: Path, tmp_path: Path, workers: RayWorkers
) -> None:
    index = open_index(tmp_path / "index")
    with pytest.raises(ClusterError, match="no node of the cluster has room for a worker of 64"):
        index.sync(
            str(documents), workers=RayWorkers(Cluster(workers.cluster.address, worker_cpus=64))
        )
    assert not (tmp_path / "index").exists(), "the sync stopped before it made a table"
    for wrong in (
        {"address": ""},
        {"workers": 0},
        {"worker_cpus": 0},
        {"worker_gpus": -1.0},
        {"worker_cpus": 1.5},
    ):
        with pytest.raises(InputError):
            Cluster(**wrong)


def test_reports_are_equal_for_the_odd_files_too(tmp_path: Path, workers: RayWorkers) -> None:
    documents = make_documents(tmp_path / "documents", 8)
    (documents / "empty.txt").write_bytes(b"")
    (documents / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    (documents / "rows.jsonl").write_text('{"text": "one"}\nnot json\n', encoding="utf-8")
    reports: list[SyncReport] = []
    for name, by in (("local", None), ("remote", workers)):
        reports.append(open_index(tmp_path / name).sync(str(documents), workers=by))
    assert reports[0].skipped == reports[1].skipped
    assert reports[0].partly_read == reports[1].partly_read
    assert DataContext.get_current().max_errored_blocks == 0, "the caller's own jobs stay as strict"
    shutil.rmtree(documents)


def test_an_index_of_shards_is_built_by_workers_too(
    tmp_path: Path, workers: RayWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = make_documents(tmp_path / "documents", 20)
    indexes = [
        Index(tmp_path / name, embedder=Embedder(), reranker=NoReranker(), shards=3)
        for name in ("local", "remote")
    ]
    indexes[0].sync(str(documents))
    monkeypatch.delattr(publication, "publish")  # workers publish the shards
    progress: list[Progress] = []
    report = indexes[1].sync(str(documents), progress.append, workers=workers)
    assert not ray.is_initialized()
    assert (report.added, len(indexes[1].versions()[0].shards)) == (20, 3)
    assert results(indexes[0]) == results(indexes[1])
    assert {each.total_objects for each in progress} == {20}
    done = [each.done_objects for each in progress]
    assert done == sorted(done)
    assert (progress[-1].done_objects, progress[-1].work) == (20, 1.0)


@dataclass(frozen=True)
class Deadly:
    """Instead of a `ShardPublication`: kills the workers that publish it, the first few times."""

    folder: str
    deaths: int
    number: int
    whole: Location
    passages: int = 1

    def publish(self, embedder: Any) -> str:
        died = len(list(Path(self.folder).iterdir()))
        if died < self.deaths:
            (Path(self.folder) / str(died)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        name: str = embedder.name
        return name


def open_models() -> AbstractContextManager[Models]:
    return nullcontext(Models(Embedder()))


def test_a_shard_whose_worker_dies_is_published_by_another(
    tmp_path: Path, workers: RayWorkers
) -> None:
    models = Models(Embedder(), elsewhere=lambda threads: open_models)
    whole = Location(None, str(tmp_path))
    with workers.connected():
        shards: Any = [Deadly(str(tmp_path), 1, number, whole) for number in (0, 1)]
        published: dict[int, Any] = dict(workers.publish(shards, models))
        assert published == {0: "hashed", 1: "hashed"}
        shards = [Deadly(str(tmp_path), 99, 2, whole)]
        with pytest.raises(ClusterError, match="/shards/002: not published"):
            dict(workers.publish(shards, models))
