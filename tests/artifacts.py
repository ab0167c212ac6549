"""A small joint artifact made on the spot, and a model that is plain Python."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.convert.layers import EncoderShape
from resift.convert.stages import stage_graph
from resift.rerank.artifact import (
    TOKENIZER,
    Exit,
    Manifest,
    ReferencePair,
    sha256,
    write_manifest,
)
from resift.rerank.catalogue import BUNDLED
from resift.rerank.models import Batch, Model
from resift.rerank.text_tokens import TextTokens
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer

DIM, WIDE, VOCABULARY, POSITIONS = 32, 64, 30522, 512


def random_weights(layers: int = 2, seed: int = 7) -> dict[str, NDArray[np.float32]]:
    """A BERT of `layers` x 32 with a one-logit head, in canonical names."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}

    def dense(name: str, out: int, into: int) -> None:
        weights[f"{name}.weight"] = rng.normal(0, into**-0.5, (out, into)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, out).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = rng.normal(1, 0.1, DIM).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, DIM).astype(np.float32)

    for table, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
        values = rng.normal(0, 1, (rows, DIM)).astype(np.float32)
        weights[f"embeddings.{table}_embeddings.weight"] = values
    norm("embeddings.LayerNorm")
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{name}.attention.self.{part}", DIM, DIM)
        dense(f"{name}.attention.output.dense", DIM, DIM)
        norm(f"{name}.attention.output.LayerNorm")
        dense(f"{name}.intermediate.dense", WIDE, DIM)
        dense(f"{name}.output.dense", DIM, WIDE)
        norm(f"{name}.output.LayerNorm")
    dense("head.dense", DIM, DIM)
    dense("head.projection", 1, DIM)
    return weights


def with_exits(
    weights: dict[str, NDArray[np.float32]], *cuts: int
) -> dict[str, NDArray[np.float32]]:
    """Exits too: contexts are taken as they are, heads are those of the model, so far linear."""
    layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.")})
    with_heads = dict(weights)
    for cut in cuts:
        for layer in range(cut, layers):
            prefix = f"encoder.layer.{layer}."
            with_heads |= {
                f"exit.{cut}.layer.{layer}.{name.removeprefix(prefix)}": value
                for name, value in weights.items()
                if name.startswith(prefix)
            }
        slope = weights["head.projection.weight"] @ weights["head.dense.weight"]
        with_heads[f"exit.{cut}.weight"] = slope[0] / 2
        with_heads[f"exit.{cut}.bias"] = weights["head.projection.bias"]
    return with_heads


def make_exits_artifact(folder: Path) -> Path:
    """A joint artifact of three stages, cut after 2 and 3 of 4 layers."""
    shape = EncoderShape(layers=4, heads=4, epsilon=1e-12, activation="gelu")
    weights = with_exits(random_weights(4), 2, 3)
    names = [f"stage-{index}.onnx" for index in range(3)]
    for name, layers in zip(names, (range(2), range(2, 3), range(3, 4)), strict=True):
        onnx.save(stage_graph(weights, shape, layers), str(folder / name))
    shutil.copy(BUNDLED / TOKENIZER, folder / TOKENIZER)
    manifest = Manifest(
        name="tiny-exits",
        kind="cross_encoder",
        base_model="random",
        licence="apache-2.0",
        quantisation="none: float32",
        max_tokens=128,
        stages=tuple(names),
        tolerance=1e-3,
        reference=(),
        files={name: sha256(folder / name) for name in (*names, TOKENIZER)},
        exits=(
            Exit((0.001, 0.5, 0.999), (-0.5, 0.0, 0.5), 100),
            Exit((0.001, 0.5, 0.999), (-0.2, 0.0, 0.2), 100),
        ),
    )
    write_manifest(folder, manifest)
    return folder


def make_joint_artifact(folder: Path, reference: tuple[ReferencePair, ...] = ()) -> Path:
    """Write the artifact: the bundled tokenizer, random weights, float32."""
    shape = EncoderShape(layers=2, heads=4, epsilon=1e-12, activation="gelu")
    onnx.save(
        stage_graph(random_weights(), shape, range(shape.layers)), str(folder / "stage-0.onnx")
    )
    shutil.copy(BUNDLED / TOKENIZER, folder / TOKENIZER)
    manifest = Manifest(
        name="tiny-joint",
        kind="cross_encoder",
        base_model="random",
        licence="apache-2.0",
        quantisation="none: float32",
        max_tokens=128,
        stages=("stage-0.onnx",),
        tolerance=1e-3,
        reference=reference,
        files={name: sha256(folder / name) for name in ("stage-0.onnx", TOKENIZER)},
    )
    write_manifest(folder, manifest)
    return folder


class WordCountModel(Model):
    """A model in plain Python: two stages, and a logit that counts the query's words.

    The second stage reads the states that the first left and adds half a point, so that a lost
    or misplaced state is a wrong logit. `calls` keeps the size of every batch of every stage.
    """

    runtime = "python"
    state_bytes = 2

    def __init__(self) -> None:
        super().__init__(Tokens(load_tokenizer(BUNDLED / TOKENIZER), 64))
        self.calls: list[tuple[int, int]] = []
        self.stages = [self._first, self._second]

    def query_row(self, query: str) -> TokenRow:
        return self._tokens.head(query)

    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        return self._tokens.pairs(query, texts, tokens)

    def _first(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
        self.calls.append((1, len(batch.rows)))
        counts = np.array([_matches(row) for row in batch.rows], np.float32)
        longest = max(len(row.ids) for row in batch.rows)
        states = np.repeat(counts[:, None, None], longest, axis=1).astype(np.float16)
        return replace(batch, states=states), counts

    def _second(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
        self.calls.append((2, len(batch.rows)))
        if batch.states is None:
            raise ValueError("the first stage's states are lost")
        return batch, batch.states[:, 0, 0] + np.float32(0.5)


def _matches(row: TokenRow) -> int:
    """How many of the document's tokens are the query's too."""
    query, document = row.ids[1 : row.second - 1], row.ids[row.second : -1]
    return int(np.isin(document, query).sum())
