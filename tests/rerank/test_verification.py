"""A model that is not what it was is found out, and the error says in a line what it looks like.

Every artifact is really broken: its graph is another, its hashes are right.
"""

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

from artifacts import make_exits_artifact, make_joint_artifact, random_weights
from embedder_artifacts import make_embedder_artifact
from resift import Reranker
from resift.errors import ArtifactError, ModelError, ParityError
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import (
    Manifest,
    ReferencePair,
    load_artifact,
    sha256,
    write_manifest,
)
from resift.rerank.catalogue import BUNDLED
from resift.rerank.stages import load_model
from resift.settings import Settings
from resift.training.exits import measure_exits
from resift.training.graph import EncoderShape, Head, encoder_graph
from resift.training.stage_graph import stage_graph
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
    from resift.rerank.artifact import _read_manifest

    return _read_manifest(folder)


def referenced(folder: Path) -> Path:
    """With reference pairs: what the model gives now."""
    model = opened(folder)
    logits = [float(model.score(query, [text])[0]) for query, text in PAIRS]
    own = (ReferencePair(*pair, v, v) for pair, v in zip(PAIRS, logits, strict=True))
    edited(folder, reference=tuple(own))
    return folder


@pytest.fixture
def joint_copy(tmp_path: Path) -> Path:
    """A joint artifact that is sound, to be spoilt."""
    return referenced(make_joint_artifact(tmp_path))


def with_weights(folder: Path, weights: Weights) -> Path:
    onnx.save(encoder_graph(weights, SHAPE, Head("tanh")), str(folder / STAGE))
    edited(folder)
    return folder


def with_ending(folder: Path, *nodes: onnx.NodeProto, dims: list[str | int]) -> Path:
    """The same model with other nodes between its head's labels and its output."""
    graph = onnx.load(folder / STAGE)
    (squeeze,) = (node for node in graph.graph.node if list(node.output) == ["logits"])
    graph.graph.node.remove(squeeze)
    for node in nodes:
        node.input.insert(0, squeeze.input[0] if node is nodes[0] else "between")
    graph.graph.node.extend(nodes)
    if len(nodes) > 1:
        nodes[-1].input.append(squeeze.input[1])
        graph.graph.node[-1].CopyFrom(nodes[-1])
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, dims))
    onnx.save(graph, str(folder / STAGE))
    edited(folder)
    return folder


def bundled_with(folder: Path, file: str, name: str, change: Callable[[NDArray[Any]], Any]) -> Path:
    """The bundled model with one array of one of its graphs changed."""
    shutil.copytree(BUNDLED, folder)
    graph = onnx.load(folder / file)
    (own,) = (own for own in graph.graph.initializer if own.name.startswith(name))
    values = numpy_helper.to_array(own)
    own.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), own.name))
    onnx.save(graph, str(folder / file))
    edited(folder)
    return folder


def refused(folder: Path, *messages: str, runtime: str = "openvino") -> None:
    said(ArtifactError, lambda: opened(folder, runtime), *messages)


def fails(folder: Path, *messages: str, runtime: str = "openvino") -> None:
    said(ParityError, opened(folder, runtime).verify, *messages)


def said(kind: type[ModelError], call: Callable[[], object], *messages: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


# --- sound models ---


def test_the_bundled_model_passes_every_check(bundled: Reranker, runtime: str) -> None:
    result = bundled.verify()
    assert all(check.passed for check in result.checks)
    names = {"finite", "head", "reference", "float32", "order", "alone", "exit 1"}
    assert {check.name for check in result.checks} == names
    assert result.pairs >= 5
    assert result.max_difference <= result.tolerance
    assert result.runtime.startswith(runtime)
    assert (result.model, result.fingerprint) == (bundled.name, bundled.fingerprint)


def test_a_small_model_gives_its_own_references(joint_copy: Path, runtime: str) -> None:
    result = opened(joint_copy, runtime).verify()
    assert result.pairs == len(PAIRS) and result.max_difference <= 1e-4


def test_no_cache_speaks_for_the_model(joint_copy: Path, tmp_path: Path) -> None:
    settings = Settings(cache_mb=1)
    reranker = Reranker(joint_copy, settings=settings)
    before = [reranker.score(*(query, [text]))[0] for query, text in PAIRS]
    manifest = load_manifest(joint_copy)
    off = [replace(own, logit=own.logit + 1) for own in manifest.reference]
    reranker._manifest = replace(manifest, reference=tuple(off))
    assert np.isfinite(before).all()
    said(ParityError, reranker.verify, "from its reference")


# --- refused where they are loaded ---


def test_a_changed_file_is_refused(joint_copy: Path) -> None:
    graph = onnx.load(joint_copy / STAGE)
    graph.producer_name = "another"
    onnx.save(graph, str(joint_copy / STAGE))
    refused(joint_copy, STAGE, "SHA-256")


@pytest.mark.parametrize("dims", [["rows", 2], ["rows", "labels"], ["rows"]])
def test_a_head_of_two_labels_is_refused_whatever_it_declares(
    dims: list[str | int], joint_copy: Path, runtime: str
) -> None:
    weights = random_weights()
    folder = with_weights(joint_copy, weights)
    twice = onnx.load(folder / STAGE)
    for own in twice.graph.initializer:
        if own.name.startswith("head.projection"):
            values = numpy_helper.to_array(own)
            axis = next(place for place, size in enumerate(values.shape) if size == 1)
            own.CopyFrom(numpy_helper.from_array(np.repeat(values, 2, axis), own.name))
    onnx.save(twice, str(folder / STAGE))
    with_ending(folder, helper.make_node("Identity", [], ["logits"]), dims=dims)
    refused(folder, STAGE, "2 labels a pair, expected 1", "resift convert", runtime=runtime)


def test_a_head_of_one_label_in_a_second_axis_is_refused(joint_copy: Path, runtime: str) -> None:
    node = helper.make_node("Identity", [], ["logits"])
    refused(with_ending(joint_copy, node, dims=["rows", 1]), "(any, 1)", runtime=runtime)


def test_a_graph_without_its_head_is_refused(joint_copy: Path, runtime: str) -> None:
    onnx.save(encoder_graph(random_weights(), SHAPE), str(joint_copy / STAGE))
    edited(joint_copy)
    refused(joint_copy, STAGE, "no head", "states, expected logits", runtime=runtime)


def test_an_input_that_nobody_gives_is_named(joint_copy: Path, runtime: str) -> None:
    graph = onnx.load(joint_copy / STAGE)
    for node in graph.graph.node:
        node.input[:] = ["segments" if own == "token_type_ids" else own for own in node.input]
    for own in graph.graph.input:
        own.name = "segments" if own.name == "token_type_ids" else own.name
    onnx.save(graph, str(joint_copy / STAGE))
    edited(joint_copy)
    refused(joint_copy, "reads segments", runtime=runtime)


def test_a_split_model_that_ends_in_no_residual_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(BUNDLED, folder)
    shutil.copy(folder / "late.onnx", folder / "meeting.onnx")
    edited(folder)
    refused(folder, "meeting.onnx", "no head", "expected residual")
    shutil.copy(BUNDLED / "meeting.onnx", folder / "late.onnx")
    edited(folder)
    refused(folder, "late.onnx", "gives no means")


def test_an_embedder_whose_graph_has_a_head_is_refused(tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "m")
    onnx.save(encoder_graph(random_weights(), SHAPE, Head("tanh")), str(folder / "encoder.onnx"))
    edited(folder)
    said(ArtifactError, lambda: ArtifactEmbedder(folder, Settings()), "gives no states but")


def test_more_exits_than_stages_are_refused(joint_copy: Path, tmp_path: Path) -> None:
    exits = load_artifact(BUNDLED).manifest.exits
    edited(joint_copy, exits=exits)
    refused(joint_copy, "knows 1 exits, its 1 files have 0")
    split = tmp_path / "split"
    shutil.copytree(BUNDLED, split)
    edited(split, exits=exits * 2)
    refused(split, "knows 2 exits, its 3 files have 1")


# --- found out on demand ---


def test_without_reference_pairs_nothing_is_verified(joint_folder: Path) -> None:
    fails(joint_folder, "no reference pairs")


def test_one_wrong_reference_logit_fails(joint_copy: Path) -> None:
    first, *rest = load_manifest(joint_copy).reference
    edited(joint_copy, reference=(replace(first, logit=first.logit + 0.01), *rest))
    fails(joint_copy, "furthest logit from its reference 0.0100, allowed 0.0010")


@pytest.mark.parametrize(("logit", "exact"), [(float("nan"), 0.0), (0.0, float("inf"))])
def test_a_reference_that_is_no_number_is_refused(
    logit: float, exact: float, joint_copy: Path
) -> None:
    edited(joint_copy, reference=(ReferencePair("query", "text", logit, exact),))
    refused(joint_copy, "reference logits must be numbers")


def test_softmax_over_one_label_is_a_wrong_head(joint_copy: Path, runtime: str) -> None:
    nodes = (
        helper.make_node("Softmax", [], ["between"], axis=1),
        helper.make_node("Squeeze", [], ["logits"]),
    )
    folder = with_ending(joint_copy, *nodes, dims=["rows"])
    fails(folder, "wrong head: 1 for every pair, as softmax over one label", runtime=runtime)


def test_a_sigmoid_on_the_logit_is_named(joint_copy: Path, runtime: str) -> None:
    nodes = (
        helper.make_node("Sigmoid", [], ["between"]),
        helper.make_node("Squeeze", [], ["logits"]),
    )
    folder = with_ending(joint_copy, *nodes, dims=["rows"])
    fails(folder, "wrong head: a sigmoid stands on top", runtime=runtime)


def test_a_head_that_is_constant_reversed_or_scaled_is_named(joint_copy: Path) -> None:
    weights = random_weights()
    name = "head.projection.weight"
    for factor, message in (
        (0.0, "wrong head or broken weights: the same number for every pair"),
        (-1.0, "wrong head: the order is reversed"),
        (3.0, "wrong head: another scale or bias"),
    ):
        changed = {**weights, name: weights[name] * np.float32(factor)}
        fails(with_weights(joint_copy, changed), message, "reference: furthest logit")
    moved = {**weights, "head.projection.bias": weights["head.projection.bias"] + np.float32(2)}
    fails(with_weights(joint_copy, moved), "wrong head: another scale or bias")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_weights_of_another_model_are_named(seed: int, joint_copy: Path) -> None:
    fails(with_weights(joint_copy, random_weights(seed=seed)), "weights of another model")


def test_nan_is_named(joint_copy: Path, runtime: str) -> None:
    weights = random_weights()
    weights["head.dense.bias"][3] = np.nan
    folder = with_weights(joint_copy, weights)
    fails(folder, "broken weights", "NaN or infinite", runtime=runtime)


def test_a_runtime_that_is_a_little_off_is_not_called_a_broken_model(joint_copy: Path) -> None:
    reference = load_manifest(joint_copy).reference
    for off, message in ((1.5, "this processor or runtime"), (4.0, "another scale or bias")):
        moved = [replace(own, logit=own.logit + off * 1e-3) for own in reference]
        edited(joint_copy, reference=tuple(moved))
        fails(joint_copy, message)


@pytest.mark.parametrize(
    ("file", "name", "factor"),
    [
        ("encoder.onnx", "scale_encoder.layer.5.output.dense.kernel", 0.0),
        ("encoder.onnx", "scale_encoder.layer.0.attention.self.value.kernel", 2.0),
        ("meeting.onnx", "scale_meeting.layer.1.output.dense.kernel", 3.0),
    ],
)
def test_one_broken_scale_of_int8_is_a_broken_quantisation(
    file: str, name: str, factor: float, tmp_path: Path, runtime: str
) -> None:
    folder = bundled_with(tmp_path / "m", file, name, lambda values: values * factor)
    fails(folder, "broken quantisation", "furthest logit from its reference", runtime=runtime)


def test_a_quantisation_that_was_broken_when_it_was_made_is_named(tmp_path: Path) -> None:
    name = "scale_encoder.layer.2.intermediate.dense.kernel"
    folder = bundled_with(tmp_path / "m", "encoder.onnx", name, lambda values: values * 8)
    model = opened(folder)
    own = load_manifest(folder).reference
    found = [float(model.score(pair.query, [pair.text])[0]) for pair in own]
    made = (replace(pair, logit=logit) for pair, logit in zip(own, found, strict=True))
    edited(folder, reference=tuple(made))
    fails(folder, "broken quantisation, and so from the day", "from float32's")


# --- exits ---


@pytest.fixture(scope="module")
def exits_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stages; what the exits leave open is measured on the texts of the references."""
    folder = make_exits_artifact(tmp_path_factory.mktemp("exits"))
    lists = [(query, TEXTS) for query in QUESTIONS[:2]]
    measured, _ = measure_exits(load_model(load_artifact(folder)), lists)
    edited(folder, exits=tuple(measured))
    return referenced(folder)


@pytest.fixture
def exits_copy(exits_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exits_model, tmp_path / "exits"))


def with_exit_of(folder: Path, factor: float) -> None:
    """The second exit's estimate, times `factor`; the last stage stays as it was."""
    from artifacts import with_exits

    shape = EncoderShape(layers=4, heads=4, epsilon=1e-12, activation="gelu")
    weights = with_exits(random_weights(4), 2, 3)
    weights["exit.3.weight"] = weights["exit.3.weight"] * np.float32(factor)
    graph = stage_graph(weights, shape, Head("tanh"), range(2, 3))
    onnx.save(graph, str(folder / "stage-1.onnx"))
    edited(folder)


def test_exits_that_are_what_was_measured_pass(exits_copy: Path, runtime: str) -> None:
    names = [check.name for check in opened(exits_copy, runtime).verify().checks]
    assert names.count("exit 1") == 2 and names.count("exit 2") == 3


def test_an_exit_that_says_less_than_the_one_before_is_named(exits_copy: Path) -> None:
    with_exit_of(exits_copy, -4.0)
    fails(exits_copy, "its exits are not those that were measured", "what exit 2 leaves open")


def test_exits_that_are_swapped_are_named(exits_copy: Path) -> None:
    first, second = load_manifest(exits_copy).exits
    edited(exits_copy, exits=(second, first))
    fails(exits_copy, "its exits are not those", "width of the bounds of exit 2")


# --- embedders ---


def test_an_embedder_of_other_weights_is_named(tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "m")
    embedder = ArtifactEmbedder(folder, Settings())
    cosines = [float(embedder.embed_query(q) @ embedder.embed([t])[0]) for q, t in PAIRS]
    own = (ReferencePair(*pair, v, v) for pair, v in zip(PAIRS, cosines, strict=True))
    edited(folder, reference=tuple(own))
    assert all(check.passed for check in ArtifactEmbedder(folder, Settings()).verify().checks)
    onnx.save(encoder_graph(random_weights(seed=1), SHAPE), str(folder / "encoder.onnx"))
    edited(folder)
    said(ParityError, ArtifactEmbedder(folder, Settings()).verify, "furthest cosine from its")
