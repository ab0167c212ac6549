"""A learned-sparse checkpoint → the graphs and the table of term matching (`rerank.terms`).

The checkpoint is a BERT for masked language modelling whose output layer shares the word table.
Both graphs read that table, which is stored once, in 4 bits.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from resift.convert.graph import GraphBuilder, Weights, additive_mask, checked_model, quantise_rows
from resift.convert.late_interaction_graph import TermColumns
from resift.convert.layers import EncoderShape, layer
from resift.convert.quantise import int8_output, int8_scales, quantise
from resift.convert.safetensors_files import read_weights
from resift.errors import ModelError
from resift.rerank.artifact import (
    QUERY_TERM_GRAPH,
    TERM_FILES,
    TERM_GRAPH,
    TERM_TABLE,
    TOKENIZER,
)
from resift.rerank.graph_runs import run
from resift.rerank.runtimes import open_session
from resift.rerank.terms import TERMS, TermTable, pack, unpack
from resift.rerank.tokenization import TokenRow, load_tokenizer, pad

Floats = NDArray[np.float32]

SHAPE = EncoderShape(layers=2, heads=2, epsilon=1e-12, activation="gelu")
"""Of the small model that the bundled one was made with; other checkpoints are refused."""

BIAS_STEPS = 64  # in a bias of 1

_ROWS = ("input_ids", "attention_mask")
_WORDS = "embeddings.word_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_BIASES = "cls.predictions.bias"
_TRANSFORM = "cls.predictions.transform"


@dataclass(frozen=True, slots=True)
class TermModel:
    """A checkpoint's weights, with the word table rounded to 4 bits, and the packed table."""

    weights: Weights
    packed: NDArray[np.uint8]
    scales: NDArray[np.float16]

    @classmethod
    def of(cls, weights: Weights) -> "TermModel":
        """Round the word table of a checkpoint's weights."""
        packed, scales = pack(weights[_WORDS])
        rounded = unpack(packed) * scales.astype(np.float32)[:, None]
        return cls({**weights, _WORDS: rounded}, packed, scales)

    @property
    def dim(self) -> int:
        return int(self.weights[_WORDS].shape[1])

    def write_float32(self, folder: Path) -> TermColumns:
        """Write the graphs in float32, and the table."""
        onnx.save(term_graph(self.weights), str(folder / TERM_GRAPH))
        self._write_query_terms(folder)
        return TermColumns(self.dim)

    def write_int8(self, float32: Path, folder: Path, rows: Sequence[TokenRow]) -> TermColumns:
        """Write the graphs, that of term states in int8, and the table.

        `float32` is a folder of `write_float32`; activation ranges are measured on `rows`.
        """
        exact = open_session(float32 / TERM_GRAPH)
        samples = [self._feeds(row) for row in rows]
        steps = int8_scales([run(exact, sample, ["states"])["states"][0] for sample in samples])
        graph = quantise(term_graph(self.weights, int8_positions=True), samples)
        int8_output(graph, "states", steps)
        onnx.save(graph, str(folder / TERM_GRAPH))
        self._write_query_terms(folder, steps=steps)
        return TermColumns(self.dim, steps)

    def _feeds(self, row: TokenRow) -> dict[str, NDArray[Any]]:
        feeds = pad([row])
        return {name: feeds[name] for name in _ROWS} | {"table": self.weights[_WORDS]}

    def _write_query_terms(self, folder: Path, **steps: Any) -> None:
        onnx.save(query_term_graph(self.dim), str(folder / QUERY_TERM_GRAPH))
        # Columns one after another, and few different biases, compress better.
        biases = (np.rint(self.weights[_BIASES] * BIAS_STEPS) / BIAS_STEPS).astype(np.float16)
        columns = np.ascontiguousarray(self.packed.T)
        arrays: dict[str, Any] = {"columns": columns, "scales": self.scales, "biases": biases}
        np.savez_compressed(folder / TERM_TABLE, **arrays, **steps)


def _positions(g: GraphBuilder, table: Floats, int8: bool) -> str:
    """The first rows of the table, one for each token."""
    tokens = g.node("Shape", "tokens", "input_ids", start=1, end=2)
    start, axis = g.constant("zero", np.array([0], np.int64)), g.integers(0)

    def used(name: str, values: NDArray[Any]) -> str:
        rows = g.constant(f"{name}.table", values)
        return g.node("Slice", f"{name}.used", rows, start, tokens, axis)

    if not int8:
        return used("positions", table)
    rounded, scales = quantise_rows(table)
    wide = g.node("Cast", "positions.float", used("positions", rounded), to=TensorProto.FLOAT)
    return g.node("Mul", "positions.exact", wide, used("positions.steps", scales))


@dataclass(frozen=True, slots=True)
class StoredTerms:
    """The files of an artifact, which another artifact takes over as they are."""

    stored: Path

    def write_float32(self, folder: Path) -> TermColumns:
        """Copy the files."""
        for name in TERM_FILES:
            shutil.copy(self.stored / name, folder / name)
        table = TermTable.read(folder / TERM_TABLE)
        return TermColumns(table.vectors.shape[1], table.steps)

    def write_int8(self, float32: Path, folder: Path, rows: Sequence[TokenRow]) -> TermColumns:
        """Copy the files of `float32`."""
        return StoredTerms(float32).write_float32(folder)


def read_term_model(checkpoint: Path, tokenizer: Path, max_tokens: int) -> TermModel:
    """Read a transformers folder, for a model with this tokenizer and limit.

    Raises `ModelError` for a checkpoint of another form or vocabulary, or with fewer positions.
    """
    weights = read_weights(checkpoint, _canonical)
    last, more = (
        f"encoder.layer.{index}.output.dense.weight" for index in (SHAPE.layers - 1, SHAPE.layers)
    )
    parts = (_WORDS, _POSITIONS, _BIASES, f"{_TRANSFORM}.dense.weight", last)
    missing = [name for name in parts if name not in weights]
    if missing or more in weights:
        raise ModelError(
            f"{checkpoint}: {'lacks ' + missing[0] if missing else 'has ' + more}; expected a BERT "
            f"of {SHAPE.layers} layers for masked language modelling"
        )
    vocabulary, positions = load_tokenizer(tokenizer), len(weights[_POSITIONS])
    if (
        load_tokenizer(checkpoint / TOKENIZER).get_vocab() != vocabulary.get_vocab()
        or len(weights[_WORDS]) != vocabulary.get_vocab_size()
    ):
        raise ModelError(
            f"{checkpoint}: has another vocabulary than {tokenizer}; expected the same"
        )
    if positions < max_tokens:
        raise ModelError(
            f"{checkpoint}: reads {positions} tokens, expected {max_tokens} or more as the base"
        )
    used = _is_english(len(weights[_WORDS]), vocabulary)
    weights[_WORDS] = weights[_WORDS] * used[:, None]
    weights[_BIASES] = weights[_BIASES] * used
    return TermModel.of(weights)


def _is_english(count: int, tokenizer: Tokenizer) -> Floats:
    """1 for terms that an English text may have, 0 for others, which take no space then."""
    terms = (tokenizer.id_to_token(index) or "" for index in range(count))
    used = [term.isascii() and not term.startswith("[unused") for term in terms]
    return np.array(used, np.float32)


def _canonical(name: str) -> str:
    return name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias")


def term_graph(weights: Weights, *, int8_positions: bool = False) -> onnx.ModelProto:
    """Token ids ``(rows, tokens)`` and the word table → term states ``(rows, tokens, dim)``."""
    g = GraphBuilder()
    words = g.node("Gather", "words", "table", "input_ids")
    dim = weights[_WORDS].shape[1]
    # The only token type is part of every position.
    positions = weights[_POSITIONS]
    positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
    x = g.node("Add", "words.positions", words, _positions(g, positions, int8_positions))
    x = g.layer_norm("embeddings.LayerNorm", x, weights, SHAPE.epsilon)
    mask = additive_mask(g)
    for index in range(SHAPE.layers):
        name = f"encoder.layer.{index}"
        x = layer(g, name, x, x, mask, weights, SHAPE, index=index)
    x = g.linear(f"{_TRANSFORM}.dense", x, weights)
    x = g.activation(f"{_TRANSFORM}.active", x, SHAPE.activation)
    g.node("Identity", "states", g.layer_norm(f"{_TRANSFORM}.LayerNorm", x, weights, SHAPE.epsilon))
    info = helper.make_tensor_value_info
    inputs = [info(name, TensorProto.INT64, ["rows", "tokens"]) for name in _ROWS]
    inputs.append(info("table", TensorProto.FLOAT, ["terms", dim]))
    return checked_model(g, inputs, [info("states", TensorProto.FLOAT, ["rows", "tokens", dim])])


def query_term_graph(dim: int) -> onnx.ModelProto:
    """A query's term states ``(tokens, dim)`` and the word table → `rerank.terms.QueryTerms`."""
    g = GraphBuilder()
    columns = g.node("Transpose", "columns", "states", perm=[1, 0])
    products = g.node("MatMul", "products", "table", columns)
    best = g.node("ReduceMax", "best", products, g.integers(1), keepdims=0)
    logits = g.node("Add", "logits", best, "table_biases")
    g.nodes.append(
        helper.make_node("TopK", [logits, g.integers(TERMS)], ["strongest", "ids"], "strongest")
    )
    g.node("Gather", "vectors", "table", "ids")
    g.node("Gather", "biases", "table_biases", "ids")
    unit = g.constant("one", np.array(1, np.float32))
    active = g.node("Relu", "active", "strongest")
    weights = g.node("Log", "weights", g.node("Add", "more", active, unit))
    total = g.node("ReduceSum", "sum", weights, g.integers(0), keepdims=0)
    least = g.constant("least", np.array(1e-12, np.float32))
    g.node("Div", "shares", weights, g.node("Max", "total", total, least))
    info, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    inputs = [
        info("states", kind, ["tokens", dim]),
        info("table", kind, ["terms", dim]),
        info("table_biases", kind, ["terms"]),
    ]
    outputs = [
        info("vectors", kind, [TERMS, dim]),
        info("biases", kind, [TERMS]),
        info("shares", kind, [TERMS]),
    ]
    return checked_model(g, inputs, outputs)
