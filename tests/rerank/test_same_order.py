"""However a pair comes to its logit, alone or among others, it is the same to the last bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from artifacts import make_exits_artifact, make_joint_artifact
from resift import Reranker
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
