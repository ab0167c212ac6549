"""A model with several threads gives the scores of a model with one, to all who use it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from resift import Reranker
from resift.settings import Settings
from texts import QUESTIONS, passages

TEXTS = passages(9)


@pytest.fixture(scope="module", params=["late_interaction", "cross_encoder"])
def models(
    request: pytest.FixtureRequest, runtime: str, joint_folder: Path
) -> Iterator[list[Reranker]]:
    """A model with one thread, with two, and with as many as the runtime starts."""
    folder = joint_folder if request.param == "cross_encoder" else None
    settings = [Settings(runtime=runtime, threads=threads) for threads in (1, 2, 0)]
    opened = [Reranker(folder, settings=each) for each in settings]
    yield opened
    for model in opened:
        model.close()


def test_scores_do_not_depend_on_the_number_of_threads(models: list[Reranker]) -> None:
    expected, *others = [model.score(QUESTIONS[0], TEXTS) for model in models]
    for logits in others:
        assert np.abs(logits - expected).max() <= 1e-4


def test_a_score_is_the_same_alone_and_among_others(models: list[Reranker]) -> None:
    for model in models:
        together = model.score(QUESTIONS[0], TEXTS)
        alone = np.concatenate([model.score(QUESTIONS[0], [text]) for text in TEXTS])
        backwards = model.score(QUESTIONS[0], TEXTS[::-1])[::-1]
        assert np.abs(together - alone).max() <= 1e-5
        assert np.abs(together - backwards).max() <= 1e-5


def test_callers_at_once_get_what_each_gets_alone(models: list[Reranker]) -> None:
    for model in models:
        expected = [model.score(question, TEXTS) for question in QUESTIONS]
        with ThreadPoolExecutor(len(QUESTIONS)) as callers:
            calls = [callers.submit(model.score, question, TEXTS) for question in QUESTIONS]
        for call, logits in zip(calls, expected, strict=True):
            assert np.abs(call.result() - logits).max() <= 1e-5
