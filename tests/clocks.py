"""Time that is up when a test says so."""

import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.models import Batch, Model, Stage
from resift.rerank.state import CallState


def step_until(model: Model, batches: int, query: str, texts: Sequence[object]) -> CallState:
    """The state of a call whose time is up after so many batches, before the next is done."""
    deadline = Deadline(budget_ms=600_000)
    left = threading.Event()
    run = 0

    def until(stage: Stage) -> Stage:
        def timed(batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            nonlocal run
            run += 1
            if run > batches:
                deadline.at = time.perf_counter()
                deadline.finish()
                left.wait(60)
            return stage(batch)

        return timed

    stages, model.stages = model.stages, [until(stage) for stage in model.stages]
    try:
        return Engine(model).score(query, texts, deadline)
    finally:
        left.set()
        model.stages = stages
