"""The late-interaction model in torch: the encoder, and the layers in which query and document meet.

Parameters carry the names that `graph.py` and `meeting.py` read, so that weights go from a
checkpoint to the network and from the network to ONNX without a table of names. They must agree on
the arithmetic; a test holds them together.

A meeting reads the query again, over a document: the encoder's last layers once more, whose rows
are the query's tokens and whose attention goes to them and to the document's, as that layer of
the encoder left them. The document's states never see the query and can be kept (MacAvaney et al.
2020, https://arxiv.org/abs/2004.14255; Gao et al. 2020, https://arxiv.org/abs/2001.06452).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resift.convert.graph import MASKED, EncoderShape, Weights
from resift.errors import ModelError
from resift.rerank.late_interaction import LateInteractionWeights

FRESH = ("late", "bias", "meeting.share")  # what an encoder alone does not have
SHARE = 0.5  # at the start: what of a changed mind counts before anything is learned (LOG.md)
States = tuple[Tensor, ...]
"""One side's states, ``(rows, tokens, dim)`` each: what each meeting layer reads, then the last."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Padded token rows: `ids` and `mask` ``(rows, tokens)``; `own` leaves special tokens out."""

    ids: Tensor
    mask: Tensor
    own: Tensor


class Attention(nn.Module):
    """Multi-head attention of `x` over `context`, and the projection back."""

    def __init__(self, dim: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.self = nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict(
            {"dense": nn.Linear(dim, dim), "LayerNorm": nn.LayerNorm(dim, epsilon)}
        )

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        query = self._parted("query", x)
        key, value = self._parted("key", context), self._parted("value", context)
        # Written out: torch's fused one is slow backwards on a CPU at these lengths (LOG.md).
        similar = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        with torch.autocast("cpu", enabled=False):
            missing = (~mask[:, None, None, :]).to(similar.dtype) * MASKED
            weights = (similar + missing).softmax(-1)
        mixed = weights @ value
        flat = mixed.transpose(1, 2).flatten(2)
        return self.output["LayerNorm"](x + self.output["dense"](flat))

    def _parted(self, name: str, x: Tensor) -> Tensor:
        rows, tokens, dim = x.shape
        parted: Tensor = self.self[name](x).view(rows, tokens, self.heads, dim // self.heads)
        return parted.transpose(1, 2)


class Layer(nn.Module):
    """Attention, then the feed-forward part; normalised after each, as BERT does it."""

    def __init__(self, dim: int, wide: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, epsilon)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(dim, wide)})
        self.output = nn.ModuleDict(
            {"dense": nn.Linear(wide, dim), "LayerNorm": nn.LayerNorm(dim, epsilon)}
        )

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, context, mask)
        wide = F.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](wide))


class Network(nn.Module):
    """Encoder, late interaction and meeting layers, started from an encoder's weights.

    Meeting layers start as copies of the encoder's last ones, on the very states that those read:
    untrained, the meeting is late interaction of a query read again.
    """

    def __init__(
        self,
        weights: Weights,
        shape: EncoderShape,
        late: LateInteractionWeights,
        cross_attention_layers: int,
    ) -> None:
        super().__init__()
        if (shape.activation, shape.first_position, shape.token_types) != ("gelu", 0, True):
            raise ModelError(f"{shape}: only BERT's own form can be trained; expected gelu, from 0")
        words, dim = weights["embeddings.word_embeddings.weight"].shape
        wide = weights["encoder.layer.0.intermediate.dense.weight"].shape[0]
        positions = weights["embeddings.position_embeddings.weight"].shape[0]
        types = weights["embeddings.token_type_embeddings.weight"].shape[0]
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(words, dim),
                "position_embeddings": nn.Embedding(positions, dim),
                "token_type_embeddings": nn.Embedding(types, dim),
                "LayerNorm": nn.LayerNorm(dim, shape.epsilon),
            }
        )
        size = (dim, wide, shape.heads, shape.epsilon)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(Layer(*size) for _ in range(shape.layers))}
        )
        self.meeting = nn.ModuleDict(
            {"layer": nn.ModuleList(Layer(*size) for _ in range(cross_attention_layers))}
        )
        self.meeting.register_parameter("share", nn.Parameter(torch.tensor(SHARE)))
        self.late = nn.Parameter(
            torch.tensor([late.query_maxsim, late.document_maxsim, late.cosine])
        )
        self.bias = nn.Parameter(torch.tensor(float(late.bias)))
        self._start(weights, shape.layers, cross_attention_layers)

    def _start(self, weights: Weights, layers: int, cross_attention_layers: int) -> None:
        own = self.state_dict()
        for name in own:
            source = name
            if name.startswith("meeting.layer.") and name not in weights:
                index, rest = name.removeprefix("meeting.layer.").split(".", 1)
                source = f"encoder.layer.{layers - cross_attention_layers + int(index)}.{rest}"
            if source in weights:
                own[name] = torch.from_numpy(np.array(weights[source]))
            elif not source.startswith(FRESH):
                raise ModelError(f"weights: no {source} in them; expected a BERT-type encoder's")
        self.load_state_dict(own)

    def encode(self, rows: TokenBatch) -> States:
        """Token states as the meeting's layers read them and, last, as the last layer gave them."""
        tokens = rows.ids.shape[1]
        x = self.embeddings["word_embeddings"](rows.ids)
        x = x + self.embeddings["position_embeddings"].weight[:tokens]
        x = x + self.embeddings["token_type_embeddings"].weight[0]
        x = self.embeddings["LayerNorm"](x)
        through = [x]
        for layer in self.encoder["layer"]:
            x = layer(x, x, rows.mask)
            through.append(x)
        return tuple(through[-len(self.meeting["layer"]) - 1 :])

    def features(self, query: TokenBatch, q: Tensor, documents: TokenBatch, d: Tensor) -> Tensor:
        """Late interaction, ``(rows, 3)``, as `rerank.late_interaction.features` computes it."""
        similar = _similar(query, q, documents, d)
        from_query = _mean(similar.amax(2), query.own)
        best = similar.masked_fill(~query.own[:, :, None], -1.0).amax(1)
        from_document = _mean(best, documents.own)
        cosine = (_pooled(q, query.mask) * _pooled(d, documents.mask)).sum(1)
        return torch.stack([from_query, from_document, cosine], 1)

    def early(self, features: Tensor) -> Tensor:
        """The first exit's logit, ``(rows,)``."""
        return (features * self.late).sum(1) + self.bias

    def residual(
        self, query: TokenBatch, q: States, documents: TokenBatch, d: States, early: Tensor
    ) -> Tensor:
        """What the meeting adds to the early logit, ``(rows,)``."""
        mask = torch.cat([query.mask, documents.mask], 1)
        x = q[0]
        for layer, below in zip(self.meeting["layer"], d[:-1], strict=True):
            x = layer(x, torch.cat([x, below], 1), mask)
        again = self.early(self.features(query, x, documents, d[-1]))
        return self.meeting.share * (again - early)


def _similar(query: TokenBatch, q: Tensor, documents: TokenBatch, d: Tensor) -> Tensor:
    """Cosines of query tokens with document tokens ``(rows, query, document)``; -1 for none."""
    with torch.autocast("cpu", enabled=False):  # bfloat16 would tie half of the candidates
        similar = F.normalize(q.float(), dim=2) @ F.normalize(d.float(), dim=2).transpose(1, 2)
    return similar.masked_fill(~documents.own[:, None, :], -1.0)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values.float() * mask).sum(1) / mask.sum(1)


def _pooled(states: Tensor, mask: Tensor) -> Tensor:
    total = (states.float() * mask[:, :, None]).sum(1)
    return F.normalize(total, dim=1)
