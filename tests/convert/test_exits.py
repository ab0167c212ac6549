"""Exits are fitted to the model's own logits; what they leave open is measured on other pairs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts import DIM, random_weights
from convert.plain_checkpoints import FAMILIES, TRAINED, pairs, write_checkpoint
from resift import Reranker
from resift.convert.convert import convert_folder
from resift.convert.exits import first_token_layers, fit_head, stage_layers
from resift.convert.layers import EncoderShape
from resift.convert.positions import Rotary, RotaryLayer
from resift.errors import InputError
from resift.rerank.artifact import load_artifact
from resift.settings import Settings


def shape(layers: int, **changes: Any) -> EncoderShape:
    """BERT's shape with a number of layers."""
    return replace(EncoderShape(layers, heads=4, epsilon=1e-12, activation="gelu"), **changes)


def test_layers_are_split_at_exits() -> None:
    assert stage_layers(shape(6), []) == [range(6)]
    assert stage_layers(shape(6), [2, 4]) == [range(2), range(2, 4), range(4, 6)]
    assert stage_layers(shape(2), [1]) == [range(1), range(1, 2)]


def test_exits_of_other_layers_than_berts_are_refused() -> None:
    turned = Rotary([RotaryLayer((1.0, 0.1))] * 6, tokens=64)
    for other in (shape(6, pooling="mean"), shape(6, positions=turned)):
        with pytest.raises(InputError, match="--exits 2: an exit reads the first token through"):
            stage_layers(other, [2])
        assert stage_layers(other, []) == [range(6)]


@pytest.mark.parametrize("exits", [[0], [6], [7], [-1], [4, 2], [3, 3], [2, 6]])
def test_impossible_exits_are_refused(exits: list[int]) -> None:
    with pytest.raises(InputError) as caught:
        stage_layers(shape(6), exits)
    given = ",".join(map(str, exits))
    assert str(caught.value).startswith(
        f"--exits {given}: expected rising numbers of layers from 1 to 5"
    )


def test_a_head_fits_linear_features_and_ignores_noise() -> None:
    rng = np.random.default_rng(5)
    features = rng.normal(2, [1.0, 3.0, 1.0], (400, 3))
    queries = np.arange(400) // 10
    final = features @ [1.0, 0.5, 0.0] + 4 + rng.normal(0, 0.05, 400)
    weight, bias = fit_head(features, final, queries)
    assert np.corrcoef(features @ weight + bias, final)[0, 1] > 0.99
    assert abs(weight[2]) < 0.05
    assert (features @ weight + bias).mean() == pytest.approx(final.mean())


def test_differences_within_a_query_outweigh_those_between_queries() -> None:
    """One feature says both, with opposite signs: the order within a query decides."""
    queries = np.arange(200) // 10
    within = np.tile(np.linspace(-1, 1, 10), 20)
    between = np.repeat(np.linspace(-1, 1, 20), 10)
    weight, _ = fit_head((within + between)[:, None], within - between, queries)
    assert weight[0] > 0.5


def test_layers_read_states_at_a_cut_as_the_maps_say() -> None:
    weights = random_weights(3)
    rng = np.random.default_rng(4)
    mapping = rng.normal(0, 1, (DIM + 1, DIM))
    states = rng.normal(0, 1, (5, DIM))
    result = first_token_layers(weights, 1, {2: mapping})
    context = states @ mapping[:-1] + mapping[-1]
    for part in ("key", "value"):
        name = f"layer.2.attention.self.{part}"
        kernel, bias = (weights[f"encoder.{name}.{entry}"] for entry in ("weight", "bias"))
        folded, moved = (result[f"exit.1.{name}.{entry}"] for entry in ("weight", "bias"))
        expected = context @ kernel.T + bias
        np.testing.assert_allclose(states @ folded.T + moved, expected, atol=1e-3, rtol=0)
    for name, value in weights.items():
        if name.startswith("encoder.layer.1."):  # its context is there as it is
            np.testing.assert_array_equal(result[f"exit.1.{name.removeprefix('encoder.')}"], value)


@pytest.mark.parametrize(("int8", "exits"), [(False, (1, 2)), (True, (1,))])
def test_a_checkpoint_gets_exits(int8: bool, exits: tuple[int, ...], tmp_path: Path) -> None:
    stages = len(exits) + 1
    checkpoint = write_checkpoint(
        tmp_path / "made", "roberta", spread=TRAINED, num_hidden_layers=stages
    )
    file, lines = tmp_path / "texts.jsonl", pairs(80)
    file.write_text("".join(json.dumps({"query": q, "text": t}) + "\n" for q, t in lines))
    made = convert_folder(
        checkpoint, tmp_path / "out", name="made", texts=file, int8=int8, exits=exits
    )
    assert (made.report is not None and made.report.is_int8) is int8
    assert made.max_difference < 0.05  # states between float32 stages have 16 bits
    manifest = load_artifact(tmp_path / "out").manifest
    assert manifest.stages == tuple(f"stage-{number}.onnx" for number in range(stages))
    assert len(manifest.exits) == len(made.explained) == len(exits)
    assert made.explained[-1] > 0.5
    assert all(measured.pairs == manifest.exits[0].pairs > 50 for measured in manifest.exits)
    query, texts = lines[0][0], [text for _, text in lines[:30]]
    for runtime in ("openvino", "onnxruntime"):
        reranker = Reranker(tmp_path / "out", settings=Settings(runtime=runtime))
        for pair in manifest.reference:
            logit = reranker.score(pair.query, [pair.text])[0]
            assert logit == pytest.approx(pair.logit, abs=manifest.tolerance)
        ranking = reranker.rank(query, texts, top_n=3, exact=True)
        assert {hit.stages for hit in ranking} == {stages}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exit_before_the_last_layer_is_nearly_exact(family: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "made", family)
    file = tmp_path / "texts.jsonl"
    lines = [json.dumps({"query": query, "text": text}) for query, text in pairs(80)]
    file.write_text("\n".join(lines))
    made = convert_folder(
        checkpoint, tmp_path / "out", name="made", texts=file, int8=False, exits=(1,)
    )
    assert made.max_difference < 0.05
    assert made.explained[0] > 0.5


def test_too_few_texts_for_exits_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "made")
    file = tmp_path / "texts.jsonl"
    file.write_text(json.dumps({"query": "ba", "text": "be"}) + "\n")
    with pytest.raises(InputError, match="different queries"):
        convert_folder(checkpoint, tmp_path / "out", name="made", texts=file, exits=(1,))
    assert not (tmp_path / "out").exists()
