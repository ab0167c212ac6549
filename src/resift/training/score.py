"""A model's logits for whole lists, after each stage: what is fitted and compared is read here."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resift.rerank.schedule import schedule
from resift.rerank.stages import Batch, Model

Floats = NDArray[np.float32]


def score_list(model: Model, query: str, texts: Sequence[str]) -> tuple[Floats, Floats]:
    """Logits of the first exit and of the last stage, ``(texts,)`` each; every stage runs whole."""
    rows = model.rows(query, texts)
    half = model.query(query)
    early, final = (np.empty(len(rows), np.float32) for _ in range(2))
    for group in schedule([len(row.ids) for row in rows]):
        batch = Batch([rows[place] for place in group.rows], half)
        for number, stage in enumerate(model.stages):
            batch, logits = stage(batch)
            batch = Batch(batch.rows, half, batch.states, logits)
            if number == 0:
                early[group.rows] = logits
        final[group.rows] = logits
    return early, final
