"""Models that are really broken: their graphs are others, their hashes are right."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from resift import Reranker
from resift.convert.layers import EncoderShape
from resift.convert.stages import stage_graph
from resift.errors import ArtifactError, ModelError, ParityError
from resift.rerank.artifact import (
    Manifest,
    ReferencePair,
    read_manifest,
    sha256,
    write_manifest,
)
from resift.rerank.catalogue import BUNDLED
from resift.settings import Settings
from texts import QUESTIONS, passages

STAGE = "stage-0.onnx"
SHAPE = EncoderShape(layers=2, heads=4, epsilon=1e-12, activation="gelu")
TEXTS = passages(60)
PAIRS = list(zip(QUESTIONS[:2] * 4, TEXTS[:8], strict=True))

Weights = dict[str, NDArray[np.float32]]


def opened(folder: Path, runtime: str = "openvino") -> Reranker:
    return Reranker(folder, settings=Settings(runtime=runtime))


def edited(folder: Path, **changes: Any) -> None:
    """Change the manifest, hashes to those of the files that are there."""
    manifest = load_manifest(folder)
    files = {name: sha256(folder / name) for name in manifest.files}
    write_manifest(folder, replace(manifest, files=files, **changes))


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a folder whose files may not be what it says."""
    return read_manifest(folder)


def referenced(folder: Path) -> Path:
    """With reference pairs: what the model gives now."""
    model = opened(folder)
    logits = [float(model.score(query, [text])[0]) for query, text in PAIRS]
    pairs = (ReferencePair(*pair, v, v) for pair, v in zip(PAIRS, logits, strict=True))
    edited(folder, reference=tuple(pairs))
    return folder


def with_weights(folder: Path, weights: Weights) -> Path:
    onnx.save(stage_graph(weights, SHAPE, range(SHAPE.layers)), str(folder / STAGE))
    edited(folder)
    return folder


def with_ending(folder: Path, *ops: str, dims: list[str | int]) -> Path:
    """The same model with other operators between its head's labels and its output."""
    graph = onnx.load(folder / STAGE)
    (squeeze,) = (node for node in graph.graph.node if list(node.output) == ["logits"])
    graph.graph.node.remove(squeeze)
    labels, axes = squeeze.input
    for number, op in enumerate(ops):
        output = "logits" if number + 1 == len(ops) else f"between.{number}"
        given = [labels, axes] if op == "Squeeze" else [labels]
        graph.graph.node.append(helper.make_node(op, given, [output]))
        labels = output
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, dims))
    onnx.save(graph, str(folder / STAGE))
    edited(folder)
    return folder


def bundled_with(folder: Path, file: str, name: str, change: Callable[[NDArray[Any]], Any]) -> Path:
    """The bundled model with one array of one of its graphs changed."""
    shutil.copytree(BUNDLED, folder)
    graph = onnx.load(folder / file)
    (tensor,) = (tensor for tensor in graph.graph.initializer if tensor.name.startswith(name))
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), tensor.name))
    onnx.save(graph, str(folder / file))
    edited(folder)
    return folder


def refused(folder: Path, *messages: str, runtime: str = "openvino") -> None:
    raises(ArtifactError, lambda: opened(folder, runtime), *messages)


def fails(folder: Path, *messages: str, runtime: str = "openvino") -> None:
    raises(ParityError, opened(folder, runtime).verify, *messages)


def raises(kind: type[ModelError], call: Callable[[], object], *messages: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    for message in messages:
        assert message in str(caught.value)
