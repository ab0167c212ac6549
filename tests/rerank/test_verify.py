"""A model that is not what it was is found out, and the error says in a line what it looks like."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from artifacts import make_exits_artifact, make_joint_artifact, random_weights, with_exits
from broken_artifacts import (
    PAIRS,
    SHAPE,
    STAGE,
    TEXTS,
    bundled_with,
    edited,
    fails,
    load_manifest,
    opened,
    raises,
    referenced,
    refused,
    with_ending,
    with_weights,
)
from embedder_artifacts import make_embedder_artifact
from resift import Reranker
from resift.convert.exits import measure_exits
from resift.convert.layers import EncoderShape
from resift.convert.stages import encoder_graph, stage_graph
from resift.errors import ParityError
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import (
    ReferencePair,
    load_artifact,
)
from resift.rerank.loading import load_model
from resift.settings import Settings
from texts import QUESTIONS


@pytest.fixture
def joint_copy(tmp_path: Path) -> Path:
    """A joint artifact that is sound, to be spoilt."""
    return referenced(make_joint_artifact(tmp_path))


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
    before = [reranker.score(query, [text])[0] for query, text in PAIRS]
    manifest = load_manifest(joint_copy)
    off = [replace(pair, logit=pair.logit + 1) for pair in manifest.reference]
    reranker._manifest = replace(manifest, reference=tuple(off))
    assert np.isfinite(before).all()
    raises(ParityError, reranker.verify, "from its reference")


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
    folder = with_ending(joint_copy, "Softmax", "Squeeze", dims=["rows"])
    fails(folder, "wrong head: 1 for every pair, as softmax over one label", runtime=runtime)


def test_a_sigmoid_on_the_logit_is_named(joint_copy: Path, runtime: str) -> None:
    folder = with_ending(joint_copy, "Sigmoid", "Squeeze", dims=["rows"])
    fails(folder, "wrong head: it applies a sigmoid", runtime=runtime)


def test_a_head_that_is_constant_reversed_or_scaled_is_named(joint_copy: Path) -> None:
    weights = random_weights()
    name = "head.projection.weight"
    for factor, message in (
        (0.0, "wrong head or broken weights: the same number for every pair"),
        (-1.0, "wrong head: the order is reversed"),
        (3.0, "wrong head: only its scale or bias differs"),
    ):
        changed = {**weights, name: weights[name] * np.float32(factor)}
        fails(with_weights(joint_copy, changed), message, "reference: furthest logit")
    moved = {**weights, "head.projection.bias": weights["head.projection.bias"] + np.float32(2)}
    fails(with_weights(joint_copy, moved), "wrong head: only its scale or bias differs")


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
    for off, message in ((1.5, "on this processor or runtime"), (4.0, "its scale or bias differs")):
        moved = [replace(pair, logit=pair.logit + off * 1e-3) for pair in reference]
        edited(joint_copy, reference=tuple(moved))
        fails(joint_copy, message)


@pytest.mark.parametrize(
    ("file", "name", "factor"),
    [
        ("encoder.onnx", "scale_encoder.layer.5.output.dense.kernel", 0.0),
        ("encoder.onnx", "scale_encoder.layer.0.attention.self.value.kernel", 2.0),
        ("cross_attention.onnx", "scale_cross_attention.layer.1.output.dense.kernel", 3.0),
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
    pairs = load_manifest(folder).reference
    logits = [float(model.score(pair.query, [pair.text])[0]) for pair in pairs]
    made = (replace(pair, logit=logit) for pair, logit in zip(pairs, logits, strict=True))
    edited(folder, reference=tuple(made))
    fails(folder, "broken quantisation since it was converted", "from float32's")


def test_scores_that_depend_on_their_neighbours_are_named(joint_copy: Path) -> None:
    graph = onnx.load(joint_copy / STAGE)
    (squeeze,) = (node for node in graph.graph.node if list(node.output) == ["logits"])
    squeeze.output[0] = "own"
    most = helper.make_node("ReduceMax", ["own"], ["most"], keepdims=1)
    graph.graph.node.extend([most, helper.make_node("Add", ["own", "most"], ["logits"])])
    onnx.save(graph, str(joint_copy / STAGE))
    edited(joint_copy)
    fails(referenced(joint_copy), "depends on the rest of its batch", "alone and among others")


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
    shape = EncoderShape(layers=4, heads=4, epsilon=1e-12, activation="gelu")
    weights = with_exits(random_weights(4), 2, 3)
    weights["exit.3.weight"] = weights["exit.3.weight"] * np.float32(factor)
    graph = stage_graph(weights, shape, range(2, 3))
    onnx.save(graph, str(folder / "stage-1.onnx"))
    edited(folder)


def test_exits_that_are_what_was_measured_pass(exits_copy: Path, runtime: str) -> None:
    names = [check.name for check in opened(exits_copy, runtime).verify().checks]
    assert names.count("exit 1") == 2 and names.count("exit 2") == 3


def test_an_exit_that_says_less_than_the_one_before_is_named(exits_copy: Path) -> None:
    with_exit_of(exits_copy, -4.0)
    fails(exits_copy, "its exits differ from the measured ones", "error of exit 2")


def test_exits_that_are_swapped_are_named(exits_copy: Path) -> None:
    first, second = load_manifest(exits_copy).exits
    edited(exits_copy, exits=(second, first))
    fails(exits_copy, "its exits differ", "width of the bounds of exit 2")


def test_bounds_that_gains_leave_are_named(exits_copy: Path) -> None:
    first, second = load_manifest(exits_copy).exits
    narrow = replace(second, gains=tuple(gain / 10 for gain in second.gains))
    edited(exits_copy, exits=(first, narrow))
    fails(exits_copy, "its exits differ", "share outside the bounds of exit 2")


# --- embedders ---


def test_an_embedder_of_other_weights_is_named(tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "m")
    embedder = ArtifactEmbedder(folder, Settings())
    cosines = [float(embedder.embed_query(q) @ embedder.embed([t])[0]) for q, t in PAIRS]
    pairs = (ReferencePair(*pair, v, v) for pair, v in zip(PAIRS, cosines, strict=True))
    edited(folder, reference=tuple(pairs))
    assert all(check.passed for check in ArtifactEmbedder(folder, Settings()).verify().checks)
    onnx.save(encoder_graph(random_weights(seed=1), SHAPE), str(folder / "encoder.onnx"))
    edited(folder)
    raises(ParityError, ArtifactEmbedder(folder, Settings()).verify, "furthest cosine from its")
