"""Write a late-interaction model's artifact from float32 weights, and read weights back from one.

`read_weights` makes the bundled int8 model a base for training: it dequantises the layers and folds
SmoothQuant's scales into them. The rounding of int8 remains.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from resift.convert.graph import Activation, Weights
from resift.convert.late_interaction_graph import (
    count_cross_attention_layers,
    cross_attention_graph,
    late_graph,
)
from resift.convert.layers import EncoderShape
from resift.convert.output import QUANTISATION
from resift.convert.quantise import int8_output, int8_scales, quantise
from resift.convert.stages import encoder_graph
from resift.convert.terms import StoredTerms, TermModel
from resift.rerank.artifact import (
    TERM_FILES,
    TOKENIZER,
    Manifest,
    sha256,
    write_manifest,
)
from resift.rerank.graph_runs import run_rows
from resift.rerank.late_interaction import FEATURES, LateInteractionWeights
from resift.rerank.models import Batch, LateInteractionStage, cross_attention_feeds, encode
from resift.rerank.runtimes import open_session
from resift.rerank.terms import TermEncoder
from resift.rerank.tokenization import Tokens, load_tokenizer, pad

ENCODER, LATE, CROSS_ATTENTION = STAGES = ("encoder.onnx", "late.onnx", "cross_attention.onnx")
MAX_TOKENS = 512
EMBEDDING_TOKENS = 256  # the length that the bundled encoder was trained to pool
TOLERANCE = 0.1
MAKERS = ("onnx", "onnxruntime", "openvino", "torch")

Floats = NDArray[np.float32]

_TABLES = {
    "positions.table": "embeddings.position_embeddings.weight",
    "types.table": "embeddings.token_type_embeddings.weight",
    "types.only": "embeddings.token_type_embeddings.weight",
}


@dataclass(frozen=True, slots=True)
class Float32Model:
    """A late-interaction model's float32 weights, under `graph.py`'s names, and its description."""

    name: str
    weights: Weights
    shape: EncoderShape
    tokenizer: Path
    base_model: str
    licence: str
    max_tokens: int = MAX_TOKENS
    terms: TermModel | StoredTerms | None = None
    term_weight: float = 0.0

    @property
    def late(self) -> LateInteractionWeights:
        """The weights of late interaction."""
        query, document, cosine = (float(weight) for weight in self.weights["late"])
        bias = float(self.weights["bias"])
        return LateInteractionWeights(query, document, cosine, bias, self.term_weight)

    @property
    def cross_attention_layers(self) -> int:
        """The number of cross-attention layers; 0 for an encoder alone."""
        return count_cross_attention_layers(self.weights)

    def tokens(self) -> Tokens:
        """Open the tokenizer."""
        return Tokens(load_tokenizer(self.tokenizer), self.max_tokens)


def late_arrays(late: LateInteractionWeights) -> dict[str, Floats]:
    """Late interaction's weights as entries of a model's weights."""
    values = [getattr(late, name) for name in FEATURES]
    return {"late": np.array(values, np.float32), "bias": np.array(late.bias, np.float32)}


def write_float32(model: Float32Model, folder: Path) -> Manifest:
    """Write the artifact without quantisation; returns its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(model.tokenizer, folder / TOKENIZER)
    layers = model.cross_attention_layers
    encoder = encoder_graph(model.weights, model.shape, cross_attention_layers=layers)
    onnx.save(encoder, str(folder / ENCODER))
    dim = model.weights["encoder.layer.0.output.dense.weight"].shape[0]
    terms = model.terms.write_float32(folder) if model.terms else None
    onnx.save(late_graph(layers + 1, dim, terms=terms), str(folder / LATE))
    graph = cross_attention_graph(model.weights, model.shape, terms=terms)
    onnx.save(graph, str(folder / CROSS_ATTENTION))
    return _write_manifest(model, folder, "none (float32)")


def write_int8(
    model: Float32Model,
    float32: Path,
    folder: Path,
    texts: Sequence[str],
    pairs: Sequence[tuple[str, str]],
) -> Manifest:
    """Write the artifact in static int8; returns its manifest.

    `float32` is a folder of `write_float32`. Activation ranges are measured on `texts` for the
    encoder, and on `pairs` of a query and a text for the cross-attention layers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(model.tokenizer, folder / TOKENIZER)
    weights, shape, tokens = model.weights, model.shape, model.tokens()
    rows = tokens.single(texts)
    layers = model.cross_attention_layers
    exact = open_session(float32 / ENCODER)
    scales = int8_scales([run_rows(exact, [row])["layers"][0] for row in rows])
    graph = encoder_graph(weights, shape, int8_embeddings=True, cross_attention_layers=layers)
    encoder = quantise(graph, [pad([row]) for row in rows])
    int8_output(encoder, "layers", scales)
    onnx.save(encoder, str(folder / ENCODER))
    by_layer = scales.reshape(layers + 1, -1)
    terms = model.terms.write_int8(float32, folder, rows) if model.terms else None
    onnx.save(late_graph(layers + 1, by_layer.shape[1], by_layer, terms), str(folder / LATE))
    graph = cross_attention_graph(weights, shape, by_layer, terms)
    feeds = list(_cross_attention_samples(folder, model, tokens, pairs))
    onnx.save(quantise(graph, feeds), str(folder / CROSS_ATTENTION))
    return _write_manifest(model, folder, QUANTISATION)


def file_names(model: Float32Model) -> tuple[str, ...]:
    """The files of a model's artifact but the manifest."""
    return (*STAGES, TOKENIZER, *(TERM_FILES if model.terms else ()))


def _write_manifest(model: Float32Model, folder: Path, quantisation: str) -> Manifest:
    manifest = Manifest(
        name=model.name,
        kind="late_interaction",
        base_model=model.base_model,
        licence=model.licence,
        quantisation=quantisation,
        max_tokens=model.max_tokens,
        stages=STAGES,
        tolerance=TOLERANCE,
        reference=(),
        files={name: sha256(folder / name) for name in file_names(model)},
        late_interaction=model.late,
        embedding_tokens=min(EMBEDDING_TOKENS, model.max_tokens),
        made_with={name: version(name) for name in MAKERS if find_spec(name)},
    )
    write_manifest(folder, manifest)
    return manifest


def _cross_attention_samples(
    folder: Path, model: Float32Model, tokens: Tokens, pairs: Sequence[tuple[str, str]]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield inputs of the cross-attention graph for pairs, from the int8 stages before it."""
    terms = TermEncoder.open([folder / name for name in TERM_FILES]) if model.terms else None
    stage = LateInteractionStage(
        open_session(folder / ENCODER), open_session(folder / LATE), model.late, terms
    )
    for pair in pairs:
        query, document = (tokens.single([text])[0] for text in pair)
        query_states = encode(stage.encoder, [query], terms)[0][: len(query.ids)]
        batch, logits = stage(Batch([document], [query_states]))
        if batch.states is not None:
            feeds = cross_attention_feeds([query_states], batch.states, [document])
            yield feeds if terms else feeds | {"logits": logits}


def read_weights(files: Sequence[Path]) -> dict[str, Floats]:
    """Read weights under `graph.py`'s names from all ONNX files of a model."""
    weights: dict[str, Floats] = {}
    for file in files:
        weights |= _StoredGraph(file).weights()
    return weights


def read_shape(encoder: Path) -> EncoderShape:
    """Read the shape of an encoder from its ONNX file."""
    graph = _StoredGraph(encoder)
    names = [node.name for node in graph.nodes]
    norm = next(node for node in graph.nodes if node.op_type == "LayerNormalization")
    activated = next(node for node in graph.nodes if node.name.endswith("intermediate.activated"))
    return EncoderShape(
        layers=len({name.split(".")[2] for name in names if name.startswith("encoder.layer.")}),
        heads=int(graph.constants["heads.split"][2]),
        epsilon=float(next(item.f for item in norm.attribute if item.name == "epsilon")),
        activation=_activation(activated),
    )


def _activation(node: onnx.NodeProto) -> Activation:
    if node.op_type == "Gelu":
        return "gelu_tanh" if any(item.s == b"tanh" for item in node.attribute) else "gelu"
    return "relu" if node.op_type == "Relu" else "tanh"


class _StoredGraph:
    """A graph that resift wrote: nodes in order, constants by name, and the node of each tensor."""

    def __init__(self, file: Path) -> None:
        graph = onnx.load(str(file)).graph
        self.nodes = list(graph.node)
        self.makers = {output: node for node in graph.node for output in node.output}
        self.constants: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }

    def weights(self) -> dict[str, Floats]:
        weights = dict(self._linear_layers())
        for name, value in self.constants.items():
            if name.endswith(".shift"):
                norm = name.removesuffix(".shift")
                weights[f"{norm}.weight"] = self.constants[f"{norm}.scale"]
                weights[f"{norm}.bias"] = value
            if name in _TABLES:
                weights[_TABLES[name]] = value.reshape(-1, value.shape[-1])
        if "words.table" in self.constants:
            words = self.constants["words.table"].astype(np.float32)
            scale = self.constants.get("words.scale", np.float32(1))
            weights["embeddings.word_embeddings.weight"] = words * scale
        if "cross_attention.share" in self.constants:
            late = [self.constants[f"cross_attention.{name}.weight"] for name in FEATURES]
            weights["late"] = np.array(late, np.float32)
            weights["bias"] = self.constants["cross_attention.bias"]
            weights["cross_attention.share"] = self.constants["cross_attention.share"]
        return weights

    def _linear_layers(self) -> Iterator[tuple[str, Floats]]:
        for node in self.nodes:
            name = node.name.removesuffix(".matmul")
            if node.op_type == "MatMul" and name != node.name:
                kernel = self._smoothing(node.input[0]) * self._constant(node.input[1])
                yield f"{name}.weight", np.ascontiguousarray(kernel.T, np.float32)
                yield f"{name}.bias", self.constants[f"{name}.bias"]

    def _constant(self, name: str) -> Floats:
        """A constant, dequantised if it is int8."""
        if name in self.constants:
            return self.constants[name].astype(np.float32)
        values, scale, zero = (self.constants[part] for part in self.makers[name].input)
        dequantised: Floats = (values.astype(np.float32) - zero.astype(np.float32)) * scale
        return dequantised

    def _smoothing(self, name: str) -> Floats:
        """SmoothQuant's scale on the input of a matrix product, ``(in, 1)``; 1 without one."""
        node = self.makers.get(name)
        while node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear"):
            node = self.makers.get(node.input[0])
        if node is None or node.op_type != "Mul" or "smooth_quant" not in node.name:
            return np.ones((1, 1), np.float32)
        return self.constants[node.input[1]].reshape(-1, 1).astype(np.float32)
