"""A cross-encoder in stages: the same scores by every way, and early exits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts import make_exits_artifact, make_joint_artifact
from resift import Reranker
from resift.convert.exits import measure_exits
from resift.errors import ArtifactError
from resift.rerank.artifact import load_artifact, write_manifest
from resift.rerank.early_exit import EarlyExit
from resift.rerank.engine import Engine
from resift.rerank.loading import load_model
from resift.rerank.ordering import Interpolation
from resift.settings import Settings
from texts import QUESTIONS, passages

TEXTS = passages(60)
QUERY = QUESTIONS[0]
CLOSE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What its exits leave open is measured on the very texts that are ranked below."""
    made = make_exits_artifact(tmp_path_factory.mktemp("exits"))
    artifact = load_artifact(made)
    measured, _ = measure_exits(load_model(artifact), [(QUERY, TEXTS)])
    write_manifest(made, replace(artifact.manifest, exits=tuple(measured)))
    return made


@pytest.fixture
def reranker(folder: Path, runtime: str) -> Reranker:
    return Reranker(folder, settings=Settings(runtime=runtime))


def test_scores_are_the_same_alone_together_and_in_any_order(reranker: Reranker) -> None:
    together = reranker.score(QUERY, TEXTS)
    backwards = reranker.score(QUERY, TEXTS[::-1])[::-1]
    alone = [reranker.score(QUERY, [text])[0] for text in TEXTS]
    np.testing.assert_allclose(backwards, together, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(alone, together, atol=CLOSE, rtol=0)
    assert np.ptp(together) > 1000 * CLOSE


def test_scores_are_the_same_in_portions(folder: Path, reranker: Reranker) -> None:
    model = load_model(load_artifact(folder))
    many = TEXTS * 20
    per_portion = 1e6 / 4 / model.state_bytes
    assert sum(len(text.split()) for text in many) > 2 * per_portion
    logits = Engine(model, max_memory_mb=201).score(QUERY, many).logits
    np.testing.assert_allclose(logits, np.tile(reranker.score(QUERY, TEXTS), 20), atol=1e-4, rtol=0)


def test_an_early_exit_without_risk_ends_as_if_all_had_run(reranker: Reranker) -> None:
    exact = reranker.rank(QUERY, TEXTS, top_n=1, exact=True)
    raced = reranker.rank(QUERY, TEXTS, top_n=1, tolerance=0.001)
    assert {hit.stages for hit in exact} == {3}
    assert [hit.index for hit in raced] == [hit.index for hit in exact]
    assert exact.receipt.pruned == 0 < raced.receipt.pruned
    assert (exact.receipt.exact, raced.receipt.exact) == (True, False)


def test_pruned_candidates_say_where_and_are_not_first(reranker: Reranker) -> None:
    raced = reranker.rank(QUERY, TEXTS, top_n=3, tolerance=0.25)
    early_exit = EarlyExit(3, Interpolation(np.zeros(len(TEXTS))), 0.25)
    state = reranker._engine.score(QUERY, TEXTS, early_exit=early_exit)
    assert {hit.stages for hit in raced} == {3}
    assert {1, 3} <= set(state.stages.tolist()) <= {1, 2, 3}
    assert state.pruned.tolist() == (state.stages < 3).tolist()
    assert state.pruned.sum() == raced.receipt.pruned


def test_a_model_without_exits_runs_whole_and_says_so(tmp_path: Path) -> None:
    ranking = Reranker(make_joint_artifact(tmp_path)).rank(QUERY, TEXTS, top_n=3, tolerance=0.5)
    assert ranking.receipt.pruned == 0 and ranking.receipt.exact
    assert {hit.stages for hit in ranking} == {1}


def test_stages_that_nothing_was_measured_of_run_whole(folder: Path, tmp_path: Path) -> None:
    unmeasured = make_exits_artifact(tmp_path)
    manifest = load_artifact(unmeasured).manifest
    write_manifest(unmeasured, replace(manifest, exits=()))
    ranking = Reranker(unmeasured).rank(QUERY, TEXTS, top_n=3, tolerance=0.5)
    assert ranking.receipt.pruned == 0 and ranking.receipt.exact
    assert {hit.stages for hit in ranking} == {3}


@pytest.mark.parametrize("stages", [(0, 0), (1, 2), (1, 0)])
def test_stages_that_do_not_follow_are_refused(stages: tuple[int, ...], tmp_path: Path) -> None:
    made = make_exits_artifact(tmp_path)
    manifest = load_artifact(made).manifest
    names = tuple(manifest.stages[index] for index in stages)
    write_manifest(made, replace(manifest, stages=names))
    with pytest.raises(ArtifactError, match="stages do not follow one another"):
        load_model(load_artifact(made))
