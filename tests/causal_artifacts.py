"""Small causal artifacts made on the spot, float32 or int8, without torch."""

from pathlib import Path
from typing import Any

from convert.causal_checkpoints import write_causal, write_logit_score
from resift.convert.causal_checkpoint import read_causal
from resift.convert.causal_graph import write_graph
from resift.convert.causal_products import Float32, Products
from resift.rerank.artifact import TOKENIZER, Manifest, sha256, write_manifest

STAGE = "stage-0.onnx"
YES, NO = 262, 261
"""Ids of the tiny checkpoints' tokens that answer."""


def make_causal_artifact(
    folder: Path,
    family: str = "qwen3",
    products: Products | None = None,
    max_tokens: int = 256,
    **changes: Any,
) -> Path:
    """Write an artifact beside its checkpoint; `changes` are those of ``config.json``."""
    checkpoint = write_causal(folder / "checkpoint", family, **changes)
    write_logit_score(checkpoint, YES, NO)
    source = read_causal(checkpoint)
    target = folder / "artifact"
    target.mkdir()
    source.tokenizer.tokenizer.save(str(target / TOKENIZER))
    write_graph(target / STAGE, source.weights, source.shape, max_tokens, products or Float32())
    manifest = Manifest(
        name="tiny-causal",
        kind="causal",
        base_model="random",
        licence="apache-2.0",
        quantisation="none: float32",
        max_tokens=max_tokens,
        stages=(STAGE,),
        tolerance=1e-3,
        reference=(),
        files={file.name: sha256(file) for file in sorted(target.iterdir())},
        causal=source.prompt,
    )
    write_manifest(target, manifest)
    return target
