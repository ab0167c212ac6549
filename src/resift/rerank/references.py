"""What a model gives for its reference pairs, alone and among others. No cache is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import ReferencePair
from resift.rerank.models import Batch, Model
from resift.rerank.tokenization import TokenRow

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReferenceLogits:
    """Logits, or an embedder's cosines, of a manifest's reference pairs here.

    `alone` has each pair's, read as a batch of its own, ``(pairs,)``. `crossed` has those of every
    query with every text, a query's texts in one batch, after each stage:
    ``(stages, queries, texts)``; `places` says where in it the pairs are, as (query, text).
    """

    alone: Numbers
    crossed: Numbers
    places: Sequence[tuple[int, int]]

    @property
    def among_others(self) -> Numbers:
        """The same pairs as `alone`, the last stage's too, read with other texts."""
        queries, texts = np.array(self.places).T
        found: Numbers = self.crossed[-1, queries, texts]
        return found


def crossing(
    pairs: Sequence[ReferencePair],
) -> tuple[list[str], list[str], list[tuple[int, int]]]:
    """Queries and texts, each once, and where the pairs are among them."""
    queries = list(dict.fromkeys(pair.query for pair in pairs))
    texts = list(dict.fromkeys(pair.text for pair in pairs))
    return queries, texts, [(queries.index(own.query), texts.index(own.text)) for own in pairs]


def reference_logits(model: Model, pairs: Sequence[ReferencePair]) -> ReferenceLogits:
    """A reranker's logits. Raises `RuntimeFailure`."""
    queries, texts, places = crossing(pairs)
    alone = [_stage_logits(model, pair.query, [pair.text])[-1, 0] for pair in pairs]
    crossed = np.stack([_stage_logits(model, query, texts) for query in queries], axis=1)
    return ReferenceLogits(np.array(alone), crossed, places)


def _stage_logits(model: Model, query: str, texts: Sequence[str]) -> Numbers:
    """One query's texts through every stage, as one batch: ``(stages, texts)``."""
    prompt: TokenRow = model.query_row(query)
    rows = model.rows(prompt, texts)
    batch = Batch(rows, [model.query_states(prompt)] * len(rows))
    found = []
    for stage in model.stages:
        batch, logits = stage(batch)
        batch = replace(batch, logits=logits)
        found.append(logits)
    return np.array(found, np.float64)
