"""A small embedder's artifact made on the spot: the bundled tokenizer, 2 random layers of 32."""

import shutil
from pathlib import Path

import onnx

from artifacts import DIM, random_weights
from resift.convert.layers import EncoderShape
from resift.convert.stages import encoder_graph
from resift.rerank.artifact import TOKENIZER, Manifest, Pooling, sha256, write_manifest
from resift.rerank.catalogue import BUNDLED

__all__ = ["DIM", "make_embedder_artifact"]


def make_embedder_artifact(
    folder: Path, pooling: Pooling = "mean", query_prompt: str = "", passage_prompt: str = ""
) -> Path:
    """Write it, in float32; reads 32 tokens of a text."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = EncoderShape(layers=2, heads=4, epsilon=1e-12, activation="gelu")
    onnx.save(encoder_graph(random_weights(), shape), str(folder / "encoder.onnx"))
    shutil.copy(BUNDLED / TOKENIZER, folder / TOKENIZER)
    manifest = Manifest(
        name="tiny-embedder",
        kind="embedder",
        base_model="random",
        licence="apache-2.0",
        quantisation="none: float32",
        max_tokens=32,
        stages=("encoder.onnx",),
        tolerance=1e-3,
        reference=(),
        files={name: sha256(folder / name) for name in ("encoder.onnx", TOKENIZER)},
        pooling=pooling,
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
    )
    write_manifest(folder, manifest)
    return folder
