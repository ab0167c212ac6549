"""A network's logits for groups and for held-out lists: the loss of a step, and quality.

Both parts of the loss are listwise, over a query's own candidates (Cao et al. 2007, ListNet):
cross-entropy of the softmax with the relevant document, and the Kullback-Leibler divergence from
the teacher's softmax. Both are computed for the early logit too, so that the first exit ranks well.
First-stage scores are added where a group has them, as in use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from resift.training.fit import Scores, mean_ndcg
from resift.training.groups import Corpus, Groups, pad
from resift.training.mining import NONE
from resift.training.network import Network
from resift.training.recipe import LossSpec

FAR = -1e4
TOKEN_BUDGET = 4096  # per batch of held-out documents


@dataclass(frozen=True, slots=True)
class GroupLogits:
    """Logits ``(queries, documents)`` of a batch, after the last stage and at the first exit."""

    final: Tensor
    early: Tensor


def score(network: Network, groups: Groups) -> GroupLogits:
    """Encode queries and documents once, and score each group's pairs."""
    shape = groups.labels.shape
    q = network.encode(groups.queries)
    flat = [torch.full((shape.numel(),), FAR) for _ in range(2)]
    for chunk in groups.chunks:
        queries = groups.queries.select(chunk.query)
        states = tuple(layer[chunk.query] for layer in q)
        early, final = network.logits(queries, states, chunk.rows, network.encode(chunk.rows))
        for index, values in enumerate((final, early)):
            flat[index] = flat[index].index_put((chunk.indices,), values.float())
    return GroupLogits(*(values.view(shape) + groups.terms for values in flat))


def loss(scored: GroupLogits, groups: Groups, spec: LossSpec) -> Tensor:
    """The weighted sum of the parts, averaged over queries."""
    fusion = spec.first_stage * groups.first_stage
    final, early = scored.final + fusion, scored.early + fusion
    total = spec.labels * _labels(final, groups) + spec.labels_early * _labels(early, groups)
    has_teacher = groups.present & ~torch.isnan(groups.teacher)
    if has_teacher.any():
        teacher = groups.teacher + fusion
        total = total + spec.teacher * _divergence(final, teacher, has_teacher)
        total = total + spec.teacher_early * _divergence(early, teacher, has_teacher)
    return total


def accuracy(scored: GroupLogits, groups: Groups) -> float:
    """The share of groups in which a relevant document has the highest final logit."""
    best = scored.final.masked_fill(~groups.present, FAR).argmax(1)
    return float(groups.labels.gather(1, best[:, None]).float().mean())


def _labels(logits: Tensor, groups: Groups) -> Tensor:
    """Cross-entropy of the first relevant document; other relevant documents are masked."""
    chosen = groups.labels.float().argmax(1)
    others = groups.labels.clone()
    others[torch.arange(len(chosen)), chosen] = False
    return F.cross_entropy(logits.masked_fill(others | ~groups.present, FAR), chosen)


def _divergence(logits: Tensor, teacher: Tensor, has_teacher: Tensor) -> Tensor:
    student = F.log_softmax(logits.masked_fill(~has_teacher, FAR), 1)
    target = F.softmax(teacher.masked_fill(~has_teacher, FAR), 1)
    return F.kl_div(student, target, reduction="batchmean")


@dataclass(frozen=True, slots=True)
class Quality:
    """nDCG@10 on held-out lists, averaged over sources, by early and by final logit."""

    early: float
    final: float


def measure(network: Network, corpora: Sequence[Corpus], limit: int | None = None) -> Quality:
    """Rank every held-out list that has a relevant document (the first `limit` of each source)."""
    network.eval()
    scores = []
    for corpus in corpora:
        lists = corpus.mined.dev
        for row in np.flatnonzero(lists.relevant.any(axis=1))[:limit]:
            early, final = dev_logits(network, corpus, int(row))
            present = lists.documents[row] != NONE
            relevant, lexical = lists.relevant[row][present], lists.lexical[row][present]
            scores.append(Scores(corpus.mined.name, early, final, lexical, relevant))
    network.train()
    return Quality(*(mean_ndcg(scores, attrgetter(name)) for name in ("early", "final")))


def dev_logits(
    network: Network, corpus: Corpus, row: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Early and final logits of a held-out list, ``(documents,)`` each."""
    lists = corpus.mined.dev
    documents = [corpus.documents[int(index)] for index in lists.documents[row] if index != NONE]
    query = pad([corpus.queries[int(lists.queries[row])]])
    early, final = np.empty(len(documents)), np.empty(len(documents))
    order = np.argsort([len(ids) for ids in documents], kind="stable")
    step = max(TOKEN_BUDGET // max(len(ids) for ids in documents), 1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        q = network.encode(query)
        for start in range(0, len(order), step):
            indices = order[start : start + step]
            rows = pad([documents[index] for index in indices])
            repeated = torch.zeros(len(indices), dtype=torch.int64)
            states = tuple(layer[repeated] for layer in q)
            logits = network.logits(query.select(repeated), states, rows, network.encode(rows))
            early[indices], final[indices] = (values.double().numpy() for values in logits)
    terms = corpus.terms[1][row][lists.documents[row] != NONE]
    return early + terms, final + terms
