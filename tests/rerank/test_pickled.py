"""A reranker goes into other processes: a pickle opens its model again there, once a process."""

import copy
import multiprocessing
import os
import pickle
from pathlib import Path

import pytest

from artifacts import make_exits_artifact, make_joint_artifact
from resift import Ranking, Reranker
from resift.errors import ArtifactError, InputError
from resift.settings import Settings, StorageSettings

QUERY = "what stops an object from being deleted"
TEXTS = ["a lock", "a bucket has an owner", "functions run code"]


def _logits(ranking: Ranking) -> list[tuple[str, float | None]]:
    return [(hit.id, hit.logit) for hit in ranking]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_ranks_as_its_parent_does(
    joint_folder: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    monkeypatch.chdir(joint_folder.parent)
    reranker = Reranker(joint_folder.name, settings=Settings())  # found from any folder later
    here = reranker.rank(QUERY, TEXTS)
    monkeypatch.chdir("/")
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:  # its end kills the process, should that hang
        there = [pool.apply_async(reranker.rank, (QUERY, TEXTS)) for _ in range(2)]
        for ranking in (call.get(timeout=60) for call in there):
            assert _close(ranking, here)
            assert ranking.receipt.fingerprint == reranker.fingerprint


def _close(first: Ranking, second: Ranking) -> bool:
    pairs = zip(_logits(first), _logits(second), strict=True)
    return all(a[0] == b[0] and abs((a[1] or 0) - (b[1] or 0)) < 1e-5 for a, b in pairs)


def test_a_process_that_is_handed_it_often_opens_it_once(joint_folder: Path) -> None:
    data = pickle.dumps(Reranker(joint_folder, settings=Settings()))
    assert pickle.loads(data) is pickle.loads(data)


def test_arguments_go_along_and_secrets_stay(joint_folder: Path) -> None:
    storage = StorageSettings(secret_access_key="storage-secret")
    settings = Settings(
        runtime="onnxruntime", threads=1, storage=storage, embedder_key="embedder-secret"
    )
    data = pickle.dumps(Reranker(joint_folder, settings=settings))
    assert b"secret" not in data
    assert pickle.loads(data).rank(QUERY, TEXTS).receipt.runtime.startswith("onnxruntime")


def test_the_bundled_model_is_that_of_the_other_process() -> None:
    data = pickle.dumps(Reranker())
    assert b"bundled" not in data and os.fsencode(Path(__file__).parent.parent) not in data


def test_another_model_at_the_same_place_is_no_quiet_change(tmp_path: Path) -> None:
    data = pickle.dumps(Reranker(make_joint_artifact(tmp_path), settings=Settings()))
    (tmp_path / "manifest.json").unlink()
    make_exits_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="was pickled; use the same files") as caught:
        pickle.loads(data)
    assert "\n" not in str(caught.value)


def test_a_copy_is_the_reranker_itself(joint_folder: Path) -> None:
    reranker = Reranker(joint_folder, settings=Settings())
    assert copy.copy(reranker) is reranker
    assert copy.deepcopy({"reranker": reranker})["reranker"] is reranker


def test_a_ranking_is_pickled_without_its_model(joint_folder: Path) -> None:
    reranker = Reranker(joint_folder, settings=Settings())
    ranking = reranker.rank(QUERY, TEXTS)
    again = pickle.loads(pickle.dumps(ranking))
    assert again == ranking and copy.deepcopy(ranking) == ranking
    with pytest.raises(InputError, match="has no reranker"):
        again.explain(0)
    assert reranker.explain(QUERY, again[0]).id == again[0].id
