"""Quality on held-out lists: nDCG@10 a source, of the early and of the final logit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from resift.training.fit import ndcg
from resift.training.groups import Corpus, pad
from resift.training.mining import NONE
from resift.training.network import Network, TokenBatch

TOKENS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Quality:
    """Mean nDCG@10 a source."""

    early: dict[str, float]
    final: dict[str, float]

    @property
    def mean(self) -> float:
        """Of the final logit, over sources."""
        return float(np.mean(list(self.final.values())))

    @property
    def mean_early(self) -> float:
        """Of the first exit's logit."""
        return float(np.mean(list(self.early.values())))


def measure(network: Network, corpora: Sequence[Corpus], limit: int | None = None) -> Quality:
    """Rank every held-out list that has an answer in it (the first `limit` of each source)."""
    early: dict[str, float] = {}
    final: dict[str, float] = {}
    network.eval()
    for corpus in corpora:
        lists = corpus.mined.dev
        rows = [row for row in range(len(lists.queries)) if lists.relevant[row].any()][:limit]
        if rows:
            found = np.array([_quality(network, corpus, row) for row in rows])
            early[corpus.mined.name], final[corpus.mined.name] = found.mean(0).tolist()
    network.train()
    return Quality(early, final)


def _quality(network: Network, corpus: Corpus, row: int) -> tuple[float, float]:
    early, final = logits(network, corpus, row)
    relevant = corpus.mined.dev.relevant[row][: len(final)]
    return ndcg(early, relevant), ndcg(final, relevant)


def logits(
    network: Network, corpus: Corpus, row: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Early and final logits of one held-out list, ``(documents,)``."""
    lists = corpus.mined.dev
    documents = [corpus.documents[int(own)] for own in lists.documents[row] if own != NONE]
    query = pad([corpus.queries[int(lists.queries[row])]])
    early, final = np.empty(len(documents)), np.empty(len(documents))
    order = np.argsort([len(own) for own in documents], kind="stable")
    step = max(TOKENS_AT_ONCE // max(len(own) for own in documents), 1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        q = network.encode(query)
        for start in range(0, len(order), step):
            places = order[start : start + step]
            rows = pad([documents[place] for place in places])
            same = TokenBatch(
                *(getattr(query, n).expand(len(places), -1) for n in ("ids", "mask", "own"))
            )
            states = tuple(layer.expand(len(places), -1, -1) for layer in q)
            d = network.encode(rows)
            own = network.early(network.features(same, states[-1], rows, d[-1]))
            early[places] = own.double().numpy()
            final[places] = (own + network.residual(same, states, rows, d, own)).double().numpy()
    return early, final
