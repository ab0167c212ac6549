"""Time that is up when a test says so."""

import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resift.rerank.engine import Engine
from resift.rerank.outcome import Outcome
from resift.rerank.patience import Patience
from resift.rerank.stages import Batch, Model, Stage


def step_until(model: Model, batches: int, query: str, texts: Sequence[object]) -> Outcome:
    """What an engine has to say when time is up after so many batches, before the next is done."""
    patience = Patience(budget_ms=600_000)
    left = threading.Event()
    run = 0

    def until(stage: Stage) -> Stage:
        def timed(batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            nonlocal run
            run += 1
            if run > batches:
                patience.at = time.perf_counter()
                patience.done()
                left.wait(60)
            return stage(batch)

        return timed

    stages, model.stages = model.stages, [until(stage) for stage in model.stages]  # type: ignore[misc]
    try:
        return Engine(model).step(query, texts, patience)
    finally:
        left.set()
        model.stages = stages  # type: ignore[misc]
