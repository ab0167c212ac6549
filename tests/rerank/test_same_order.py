"""A logit is the same, bit by bit, alone or among others, computed or cached; so is the order."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts import make_exits_artifact, make_joint_artifact
from resift import Candidate, Ranking, Reranker
from resift.rerank.artifact import Exit
from resift.settings import Settings
from split_artifacts import WORDS, make_split_artifact

QUERY = " ".join(WORDS[:5])
TEXTS = [
    " ".join(np.random.default_rng(length).choice(WORDS, length))
    for length in [*range(1, 60, 3), 9, 10, 11, 12, 90]
]


@pytest.mark.parametrize("make", [make_split_artifact, make_joint_artifact, make_exits_artifact])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_logit_does_not_depend_on_the_batch(
    make: Callable[[Path], Path], size: int, tmp_path: Path, runtime: str
) -> None:
    reranker = Reranker(make(tmp_path), settings=Settings(runtime=runtime))
    together = reranker.score(QUERY, TEXTS)
    parts = [
        reranker.score(QUERY, TEXTS[first : first + size]) for first in range(0, len(TEXTS), size)
    ]
    assert np.concatenate(parts).tolist() == together.tolist()


QUERIES = [QUERY, " ".join(WORDS[20:23])]
EXIT = Exit((0.001, 0.5, 0.999), (-0.4, 0.0, 0.4), 100)


@pytest.fixture(scope="module", params=["late_interaction", "cross_encoder"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that prune, with weights on the first stage and on feedback."""
    made = tmp_path_factory.mktemp("model")
    if request.param == "late_interaction":
        return make_split_artifact(made, exits=(EXIT,), fusion_weight=0.4, feedback_weight=3.0)
    return make_exits_artifact(made)


@dataclass(frozen=True)
class Ways:
    """The same model with every kind of cache."""

    plain: Reranker
    pairs: Reranker
    file: Reranker
    states: Reranker


@pytest.fixture(scope="module")
def ways(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ways:
    file = tmp_path_factory.mktemp("cache") / "pairs.db"
    memories: list[dict[str, Any]] = [
        {},
        {"cache_mb": 5},
        {"cache_mb": 5, "cache_file": str(file)},
        {"state_cache_mb": 5},
    ]
    return Ways(*(Reranker(folder, settings=Settings(**options)) for options in memories))


def answer(ranking: Ranking) -> list[tuple[Any, ...]]:
    return [(hit.index, hit.score, hit.logit, hit.stages, hit.status) for hit in ranking]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_cached_precomputed_and_new_documents_give_one_ranking(
    ways: Ways, data: st.DataObject
) -> None:
    """Lists with equal texts, other calls before, any part of it known already."""
    indices = data.draw(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=30))
    query = data.draw(st.sampled_from(QUERIES))
    top_n = data.draw(st.sampled_from([1, 3, 10, None]))
    scored = data.draw(st.booleans())
    known = data.draw(st.lists(st.sampled_from(indices), max_size=8))
    candidates = [
        Candidate(str(n), TEXTS[index], score=float(index % 7) if scored else None)
        for n, index in enumerate(indices)
    ]
    expected = answer(ways.plain.rank(query, candidates, top_n))
    for reranker in (ways.pairs, ways.file, ways.states):
        reranker.rank(query, [TEXTS[index] for index in known])
        reranker.rank(query, candidates[: len(candidates) // 2], top_n, exact=True)
        for _ in range(2):
            assert answer(reranker.rank(query, candidates, top_n)) == expected
    precomputed = ways.plain.precompute(candidates)
    held = [
        replace(candidate, precomputed=document if n % 3 else None)
        for n, (candidate, document) in enumerate(zip(candidates, precomputed, strict=True))
    ]
    assert answer(ways.plain.rank(query, held, top_n)) == expected


def test_a_cached_ranking_needs_no_time(ways: Ways) -> None:
    ways.pairs.rank(QUERY, TEXTS, None)
    ranking = ways.pairs.rank(QUERY, TEXTS, 3, budget_ms=0)
    assert ranking.receipt.cached == ranking.receipt.scored == len(TEXTS)
    assert [hit.logit for hit in ranking] == [
        hit.logit for hit in ways.plain.rank(QUERY, TEXTS, 3, exact=True)
    ]


def test_a_warm_early_exit_runs_nothing_that_is_known(ways: Ways) -> None:
    ways.pairs.rank(QUERY, TEXTS, None)
    receipt = ways.pairs.rank(QUERY, TEXTS, 3).receipt
    assert receipt.cached == len(TEXTS) and receipt.tokens == 0 and not receipt.partial
    assert receipt.pruned == ways.plain.rank(QUERY, TEXTS, 3).receipt.pruned > 0
