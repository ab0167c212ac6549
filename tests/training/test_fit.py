"""The fit finds the weights that made the judgments, and fuses the first stage where it helps."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.rerank.late_interaction import LateInteractionWeights
from resift.training.fit import Judged, fit, ndcg

TRUE = np.array([0.7, 0.2, 0.1])
LISTS, DEPTH = 60, 40


def judged_lists(
    weights: NDArray[np.float64] = TRUE,
    noise: float = 0.02,
    first_stage: str = "noise",
    seed: int = 1,
) -> list[Judged]:
    """Lists whose relevant documents are the five best by the true weights, near enough.

    With a first stage that "helps", half of what makes a document relevant is not in the
    features at all, and its scores are that half.
    """
    rng = np.random.default_rng(seed)
    lists = []
    for place in range(LISTS):
        features = rng.uniform(0, 1, (DEPTH, 3))
        hidden = rng.normal(0, 0.15, DEPTH)
        worth = features @ weights + rng.normal(0, noise, DEPTH)
        if first_stage == "helps":
            worth += hidden
        relevant = np.zeros(DEPTH, bool)
        relevant[np.argsort(-worth)[:5]] = True
        scores = hidden if first_stage == "helps" else rng.normal(0, 1, DEPTH)
        lists.append(Judged(f"source-{place % 2}", features, scores, relevant))
    return lists


def numbers(weights: LateInteractionWeights) -> NDArray[np.float64]:
    return np.array([weights.query_maxsim, weights.document_maxsim, weights.cosine])


@pytest.mark.parametrize("true", [(0.7, 0.2, 0.1), (0.1, 0.3, 0.6), (0.0, 0.9, 0.1)])
def test_the_weights_are_those_that_made_the_judgments(true: tuple[float, ...]) -> None:
    fitted = fit(judged_lists(np.array(true)))
    found = numbers(fitted.weights)
    np.testing.assert_allclose(found / found.sum(), true, atol=0.11)  # one step of the grid
    assert fitted.logits > 0.9


def test_unseen_lists_are_ranked_as_by_the_true_weights() -> None:
    weights = numbers(fit(judged_lists()).weights)
    unseen = judged_lists(seed=2)
    own = np.mean([ndcg(one.features @ weights, one.relevant) for one in unseen])
    ideal = np.mean([ndcg(one.features @ TRUE, one.relevant) for one in unseen])
    assert own > ideal - 0.02


def test_a_positive_logit_means_more_likely_than_not() -> None:
    lists = judged_lists()
    weights = fit(lists).weights
    logits = np.concatenate([one.features @ numbers(weights) + weights.bias for one in lists])
    relevant = np.concatenate([one.relevant for one in lists])
    assert np.mean(logits[relevant] > 0) > 0.85
    assert np.mean(logits[~relevant] < 0) > 0.85


def test_a_first_stage_that_misleads_gets_no_weight() -> None:
    misled = [
        Judged(one.source, one.features, -one.relevant.astype(np.float64), one.relevant)
        for one in judged_lists(noise=0.15)
    ]
    fitted = fit(misled)
    assert fitted.fusion_weight == 0.0
    assert fitted.fused == fitted.logits
    assert fitted.first_stage < 0.1


def test_a_first_stage_of_noise_gets_no_weight_that_costs_anything() -> None:
    noise = fit(judged_lists(noise=0.15, first_stage="noise"))
    helps = fit(judged_lists(first_stage="helps"))
    assert noise.fusion_weight < helps.fusion_weight / 2
    assert noise.fused > noise.logits - 0.01


def test_a_first_stage_that_knows_more_than_the_logits_gets_weight() -> None:
    fitted = fit(judged_lists(first_stage="helps"))
    assert fitted.fusion_weight > 0
    assert fitted.fused > fitted.logits + 0.05
    assert fitted.fused > fitted.first_stage


def test_a_source_of_many_lists_weighs_as_one_of_few() -> None:
    def shares(copies: int) -> NDArray[np.float64]:
        first, second = (judged_lists(np.array(one)) for one in ((1.0, 0, 0), (0, 0, 1.0)))
        lists = [replace(one, source="first") for one in first] * copies
        lists += [replace(one, source="second") for one in second]
        weights = numbers(fit(lists).weights)
        result: NDArray[np.float64] = weights / weights.sum()
        return result

    np.testing.assert_allclose(shares(9), shares(1), atol=1e-3)
    assert shares(1)[2] > 0.15  # both have their say


@pytest.mark.parametrize("depth", [3, 10, 11, 100])
def test_ndcg_is_what_ir_measures_says(depth: int) -> None:
    measures = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(depth)
    for relevant_documents in {1, 2, depth // 2, depth}:
        scores = rng.permutation(depth).astype(np.float64)
        relevant = np.zeros(depth, bool)
        relevant[rng.permutation(depth)[: max(relevant_documents, 1)]] = True
        run = {"q": {f"d{place}": float(score) for place, score in enumerate(scores)}}
        qrels = {"q": {f"d{place}": int(one) for place, one in enumerate(relevant)}}
        found = measures.calc_aggregate([measures.nDCG @ 10], qrels, run)[measures.nDCG @ 10]
        assert ndcg(scores, relevant) == pytest.approx(found, abs=1e-9)


def test_ndcg_is_one_for_the_best_order_and_less_for_any_other() -> None:
    relevant = np.array([True, True, False])
    assert ndcg(np.array([3.0, 2.0, 1.0]), relevant) == 1.0
    assert ndcg(np.array([3.0, 1.0, 2.0]), relevant) == pytest.approx(1.5 / (1 + 1 / np.log2(3)))
