"""What a step minimises: labels say which candidate is right, the teacher how the others lie.

Both are listwise, over a query's own candidates (Cao et al. 2007, ListNet): cross-entropy of the
softmax against the answer, and Kullback-Leibler divergence from the teacher's softmax. Each is
taken of the early logit as well as of the final one, so that the first exit stays a good ranker,
and with the first stage's say added where a group has one: as rankings are fused.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resift.training.groups import Groups
from resift.training.network import Network, TokenBatch
from resift.training.recipe import LossSpec

FAR = -1e4


@dataclass(frozen=True, slots=True)
class Scored:
    """Logits of a batch, ``(queries, documents)``, after the last stage and at the first exit."""

    final: Tensor
    early: Tensor


def score(network: Network, groups: Groups) -> Scored:
    """Encode queries and documents once and let them meet."""
    shape = groups.labels.shape
    q = network.encode(groups.queries)
    flat = [torch.full((shape.numel(),), FAR) for _ in range(2)]
    for chunk in groups.chunks:
        own = TokenBatch(*(getattr(groups.queries, n)[chunk.query] for n in ("ids", "mask", "own")))
        states = tuple(layer[chunk.query] for layer in q)
        documents = network.encode(chunk.rows)
        early = network.early(network.features(own, states[-1], chunk.rows, documents[-1]))
        final = early + network.residual(own, states, chunk.rows, documents, early)
        for place, values in enumerate((final, early)):
            flat[place] = flat[place].index_put((chunk.places,), values.float())
    return Scored(*(values.view(shape) for values in flat))


def loss(scored: Scored, groups: Groups, spec: LossSpec) -> Tensor:
    """The weighted sum of the parts, a mean over queries."""
    said = spec.first_stage * groups.first_stage
    final, early = scored.final + said, scored.early + said
    total = spec.labels * _labels(final, groups) + spec.labels_early * _labels(early, groups)
    taught = groups.known & ~torch.isnan(groups.teacher)
    if taught.any():
        teacher = groups.teacher + said
        total = total + spec.teacher * _divergence(final, teacher, taught)
        total = total + spec.teacher_early * _divergence(early, teacher, taught)
    return total


def accuracy(scored: Scored, groups: Groups) -> float:
    """The share of groups in which the answer has the highest final logit."""
    best = scored.final.masked_fill(~groups.known, FAR).argmax(1)
    return float(groups.labels.gather(1, best[:, None]).float().mean())


def _labels(logits: Tensor, groups: Groups) -> Tensor:
    """Cross-entropy of the answer; other answers of the same query are no competition."""
    chosen = groups.labels.float().argmax(1)
    others = groups.labels.clone()
    others[torch.arange(len(chosen)), chosen] = False
    return F.cross_entropy(logits.masked_fill(others | ~groups.known, FAR), chosen)


def _divergence(logits: Tensor, teacher: Tensor, taught: Tensor) -> Tensor:
    own = F.log_softmax(logits.masked_fill(~taught, FAR), 1)
    target = F.softmax(teacher.masked_fill(~taught, FAR), 1)
    return F.kl_div(own, target, reduction="batchmean")
