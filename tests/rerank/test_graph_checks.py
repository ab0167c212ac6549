"""A model whose graphs cannot give one logit a pair is refused where it is loaded, by name."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from artifacts import make_joint_artifact, random_weights
from broken_artifacts import (
    SHAPE,
    STAGE,
    edited,
    raises,
    referenced,
    refused,
    with_ending,
    with_weights,
)
from embedder_artifacts import make_embedder_artifact
from resift.convert.stages import encoder_graph, stage_graph
from resift.errors import ArtifactError
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.settings import Settings
from split_artifacts import make_split_artifact


@pytest.fixture
def joint_copy(tmp_path: Path) -> Path:
    """A joint artifact that is sound, to be spoilt."""
    return referenced(make_joint_artifact(tmp_path))


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
    for initializer in twice.graph.initializer:
        if initializer.name.startswith("head.projection"):
            values = numpy_helper.to_array(initializer)
            axis = next(index for index, size in enumerate(values.shape) if size == 1)
            initializer.CopyFrom(
                numpy_helper.from_array(np.repeat(values, 2, axis), initializer.name)
            )
    onnx.save(twice, str(folder / STAGE))
    with_ending(folder, "Identity", dims=dims)
    refused(folder, STAGE, "2 labels a pair, expected 1", "resift convert", runtime=runtime)


def test_a_head_of_one_label_in_a_second_axis_is_refused(joint_copy: Path, runtime: str) -> None:
    refused(with_ending(joint_copy, "Identity", dims=["rows", 1]), "(any, 1)", runtime=runtime)


def test_a_graph_without_its_head_is_refused(joint_copy: Path, runtime: str) -> None:
    onnx.save(encoder_graph(random_weights(), SHAPE), str(joint_copy / STAGE))
    edited(joint_copy)
    refused(joint_copy, STAGE, "no head", "states, expected logits", runtime=runtime)


def test_an_unknown_input_is_named(joint_copy: Path, runtime: str) -> None:
    graph = onnx.load(joint_copy / STAGE)
    for node in graph.graph.node:
        node.input[:] = ["segments" if name == "token_type_ids" else name for name in node.input]
    for graph_input in graph.graph.input:
        graph_input.name = "segments" if graph_input.name == "token_type_ids" else graph_input.name
    onnx.save(graph, str(joint_copy / STAGE))
    edited(joint_copy)
    refused(joint_copy, "reads segments", runtime=runtime)


def test_a_split_model_that_ends_in_no_residual_is_refused(tmp_path: Path) -> None:
    folder = make_split_artifact(tmp_path / "m")
    cross_attention = (folder / "cross_attention.onnx").read_bytes()
    shutil.copy(folder / "late.onnx", folder / "cross_attention.onnx")
    edited(folder)
    refused(folder, "cross_attention.onnx", "no head", "expected residual")
    (folder / "late.onnx").write_bytes(cross_attention)
    edited(folder)
    refused(folder, "late.onnx", "gives no means")


def test_an_embedder_whose_graph_has_a_head_is_refused(tmp_path: Path) -> None:
    folder = make_embedder_artifact(tmp_path / "m")
    onnx.save(
        stage_graph(random_weights(), SHAPE, range(SHAPE.layers)), str(folder / "encoder.onnx")
    )
    edited(folder)
    raises(ArtifactError, lambda: ArtifactEmbedder(folder, Settings()), "gives no states but")


def test_more_exits_than_stages_are_refused(joint_copy: Path, tmp_path: Path) -> None:
    exits = load_artifact(BUNDLED).manifest.exits
    edited(joint_copy, exits=exits)
    refused(joint_copy, "has 1 exits, its 1 files have 0")
    split = tmp_path / "split"
    shutil.copytree(BUNDLED, split)
    edited(split, exits=exits * 2)
    refused(split, "has 2 exits, its 3 files have 1")
