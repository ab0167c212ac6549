"""A model's logits for whole lists, after each stage: what is fitted and compared is read here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resift.rerank.batching import schedule
from resift.rerank.models import Batch, Model

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ListScores:
    """Of one list, ``(texts,)``: logits of the first exit and of the last stage.

    `means` are the documents' unit mean vectors, ``(texts, dim)``, None where the model is joint.
    """

    early: Floats
    final: Floats
    means: Floats | None


def score_list(model: Model, query: str, texts: Sequence[str]) -> ListScores:
    """A model's logits for a list; every stage runs whole."""
    prompt = model.query_row(query)
    rows = model.rows(prompt, texts)
    half = model.query_states(prompt)
    early, final = (np.empty(len(rows), np.float32) for _ in range(2))
    means: Floats | None = None
    for group in schedule([len(row.ids) for row in rows]):
        halves = [half] * len(group.rows)
        batch = Batch([rows[place] for place in group.rows], halves)
        for number, stage in enumerate(model.stages):
            batch, logits = stage(batch)
            batch = replace(batch, logits=logits)
            if number == 0:
                early[group.rows] = logits
        final[group.rows] = logits
        if batch.means is not None:
            if means is None:
                means = np.empty((len(rows), batch.means.shape[1]), np.float32)
            means[group.rows] = batch.means
    return ListScores(early, final, means)
