"""The late-interaction model in torch: an encoder, and the cross-attention layers above it.

Parameters have the names that `graph.py` and `late_interaction_graph.py` read, so that weights go
from a checkpoint to the network and on to ONNX without renaming; tests compare the arithmetic.

The cross-attention layers run the encoder's last layers again for the query's tokens, which attend
to each other and to the document's states at the same depth of the encoder. These states do not
depend on the query, so they can be precomputed (MacAvaney et al. 2020,
https://arxiv.org/abs/2004.14255; Gao et al. 2020, https://arxiv.org/abs/2001.06452).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from resift.convert.graph import MASKED, Weights
from resift.convert.layers import EncoderShape
from resift.errors import ModelError

NEW = "cross_attention.share"  # the only parameter that an encoder does not have
SHARE = 0.5  # its initial value: the share of the residual that counts (LOG.md)
States = tuple[Tensor, ...]
"""Token states ``(rows, tokens, dim)`` each: the input of each cross-attention layer, then the
encoder's output."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Padded rows ``(rows, tokens)``: ids, mask of all tokens, and mask without special tokens."""

    ids: Tensor
    mask: Tensor
    content: Tensor

    def select(self, rows: Tensor) -> "TokenBatch":
        """The rows at these indices, which may repeat."""
        return TokenBatch(self.ids[rows], self.mask[rows], self.content[rows])


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
        query = self._heads("query", x)
        key, value = self._heads("key", context), self._heads("value", context)
        # torch's fused attention is slower backwards on a CPU at these lengths (LOG.md)
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        with torch.autocast("cpu", enabled=False):
            missing = (~mask[:, None, None, :]).to(logits.dtype) * MASKED
            weights = (logits + missing).softmax(-1)
        mixed = weights @ value
        flat = mixed.transpose(1, 2).flatten(2)
        return self.output["LayerNorm"](x + self.output["dense"](flat))

    def _heads(self, name: str, x: Tensor) -> Tensor:
        rows, tokens, dim = x.shape
        projected: Tensor = self.self[name](x).view(rows, tokens, self.heads, dim // self.heads)
        return projected.transpose(1, 2)


class Layer(nn.Module):
    """BERT's layer: attention, then the feed-forward network, each with its layer norm."""

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
    """Encoder, late interaction and cross-attention layers.

    Cross-attention layers that `weights` lack are initialised with the encoder's last layers.
    """

    def __init__(self, weights: Weights, shape: EncoderShape, cross_attention_layers: int) -> None:
        super().__init__()
        if (shape.activation, shape.first_position, shape.token_types) != ("gelu", 0, True):
            raise ModelError(
                f"{shape}: only BERT's form can be trained; expected gelu, positions from 0 "
                "and token types"
            )
        wide, dim = weights["encoder.layer.0.intermediate.dense.weight"].shape
        tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
        sizes = {name: weights[f"embeddings.{name}.weight"].shape for name in tables}
        self.embeddings = nn.ModuleDict({name: nn.Embedding(*sizes[name]) for name in tables})
        self.embeddings["LayerNorm"] = nn.LayerNorm(dim, shape.epsilon)
        size = (dim, wide, shape.heads, shape.epsilon)
        self.encoder, self.cross_attention = (
            nn.ModuleDict({"layer": nn.ModuleList(Layer(*size) for _ in range(layers))})
            for layers in (shape.layers, cross_attention_layers)
        )
        self.cross_attention.register_parameter("share", nn.Parameter(torch.tensor(SHARE)))
        self.late = nn.Parameter(torch.zeros(3))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self._load(weights, shape.layers - cross_attention_layers)

    def _load(self, weights: Weights, first_copied: int) -> None:
        state = self.state_dict()
        prefix = "cross_attention.layer."
        for name in state:
            source = name
            if name.startswith(prefix) and name not in weights:
                index, rest = name.removeprefix(prefix).split(".", 1)
                source = f"encoder.layer.{first_copied + int(index)}.{rest}"
            if source in weights:
                state[name] = torch.from_numpy(np.array(weights[source]))
            elif source != NEW:
                raise ModelError(
                    f"weights: {source} is missing; expected those of a BERT-type encoder"
                )
        self.load_state_dict(state)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights as numpy arrays."""
        return {name: value.numpy() for name, value in self.state_dict().items()}

    def encode(self, rows: TokenBatch) -> States:
        """The states that the cross-attention layers read, then the encoder's output."""
        tokens = rows.ids.shape[1]
        x = self.embeddings["word_embeddings"](rows.ids)
        x = x + self.embeddings["position_embeddings"].weight[:tokens]
        x = x + self.embeddings["token_type_embeddings"].weight[0]
        x = self.embeddings["LayerNorm"](x)
        by_layer = [x]
        for layer in self.encoder["layer"]:
            x = layer(x, x, rows.mask)
            by_layer.append(x)
        return tuple(by_layer[-len(self.cross_attention["layer"]) - 1 :])

    def logits(
        self, query: TokenBatch, q: States, documents: TokenBatch, d: States
    ) -> tuple[Tensor, Tensor]:
        """The first exit's and the final logit, ``(rows,)`` each, of a query and a document."""
        early = self.early(self.features(query, q[-1], documents, d[-1]))
        return early, early + self.residual(query, q, documents, d, early)

    def features(self, query: TokenBatch, q: Tensor, documents: TokenBatch, d: Tensor) -> Tensor:
        """Late interaction, ``(rows, 3)``, as `rerank.late_interaction.features` computes it."""
        cosines = _cosines(q, documents, d)
        from_query = _mean(cosines.amax(2), query.content)
        best = cosines.masked_fill(~query.content[:, :, None], -1.0).amax(1)
        from_document = _mean(best, documents.content)
        cosine = (_pooled(q, query.mask) * _pooled(d, documents.mask)).sum(1)
        return torch.stack([from_query, from_document, cosine], 1)

    def early(self, features: Tensor) -> Tensor:
        """The first exit's logit, ``(rows,)``."""
        return (features * self.late).sum(1) + self.bias

    def residual(
        self, query: TokenBatch, q: States, documents: TokenBatch, d: States, early: Tensor
    ) -> Tensor:
        """The cross-attention layers' change of the early logit, ``(rows,)``."""
        mask = torch.cat([query.mask, documents.mask], 1)
        x = q[0]
        for layer, document in zip(self.cross_attention["layer"], d[:-1], strict=True):
            x = layer(x, torch.cat([x, document], 1), mask)
        new_logit = self.early(self.features(query, x, documents, d[-1]))
        return self.cross_attention.share * (new_logit - early)


def _cosines(q: Tensor, documents: TokenBatch, d: Tensor) -> Tensor:
    """Cosines of query and document tokens ``(rows, query, document)``; -1 outside of content."""
    with torch.autocast("cpu", enabled=False):  # bfloat16 would tie many candidates
        cosines = F.normalize(q.float(), dim=2) @ F.normalize(d.float(), dim=2).transpose(1, 2)
    return cosines.masked_fill(~documents.content[:, None, :], -1.0)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values.float() * mask).sum(1) / mask.sum(1)


def _pooled(states: Tensor, mask: Tensor) -> Tensor:
    total = (states.float() * mask[:, :, None]).sum(1)
    return F.normalize(total, dim=1)
