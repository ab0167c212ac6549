"""Weights read back off a graph are those that it was written from; off int8 ones, nearly."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from resift.convert.graph import Activation, quantise_rows
from resift.convert.late_interaction import read_shape, read_weights
from resift.convert.late_interaction_graph import cross_attention_graph
from resift.convert.layers import EncoderShape
from resift.convert.quantise import quantise
from resift.convert.stages import encoder_graph
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.late_interaction import features, query_states
from resift.rerank.models import cross_attention_feeds
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer, pad
from split_artifacts import (
    CROSS_ATTENTION_LAYERS,
    LATE,
    SHAPE,
    WORDS,
    split_weights,
    write_tokenizer,
)
from texts import passages

WEIGHTS = split_weights()

Feeds = dict[str, NDArray[np.int64]]
Floats = NDArray[np.float32]


def saved(folder: Path, model: onnx.ModelProto, name: str = "model.onnx") -> Path:
    onnx.save(model, str(folder / name))
    return folder / name


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 24))) for _ in range(count)]


def states(model: Path, feeds: Feeds) -> Floats:
    """What an encoder gives the tokens of rows, padding left out, ``(tokens, dim)``."""
    session = open_session(model)
    everything = session.run({name: feeds[name] for name in session.inputs})["states"]
    result: Floats = everything[feeds["attention_mask"].astype(bool)]
    return result


def test_weights_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    encoder = saved(tmp_path, encoder_graph(WEIGHTS, SHAPE), "encoder.onnx")
    cross_attention = saved(tmp_path, cross_attention_graph(WEIGHTS, SHAPE), "cross_attention.onnx")
    result = read_weights([encoder, cross_attention])
    assert set(result) == set(WEIGHTS)
    for name, value in result.items():
        np.testing.assert_array_equal(value, WEIGHTS[name], err_msg=name)
        assert value.dtype == np.float32
    cross_names = {entry for entry in result if entry.startswith("cross_attention.")} | {
        "late",
        "bias",
    }
    assert set(read_weights([cross_attention])) == cross_names
    assert set(read_weights([encoder])) == set(result) - cross_names


def test_graphs_of_weights_read_back_are_the_same_to_the_byte(tmp_path: Path) -> None:
    models = [encoder_graph(WEIGHTS, SHAPE), cross_attention_graph(WEIGHTS, SHAPE)]
    files = [saved(tmp_path, model, f"{index}.onnx") for index, model in enumerate(models)]
    result, shape = read_weights(files), replace(read_shape(files[0]), epsilon=SHAPE.epsilon)
    assert encoder_graph(result, shape).SerializeToString() == models[0].SerializeToString()
    assert cross_attention_graph(result, shape).SerializeToString() == models[1].SerializeToString()


def test_an_int8_table_is_read_back_as_its_rounded_values(tmp_path: Path) -> None:
    name = "embeddings.word_embeddings.weight"
    result = read_weights([saved(tmp_path, encoder_graph(WEIGHTS, SHAPE, int8_embeddings=True))])
    rows, scale = quantise_rows(WEIGHTS[name])
    np.testing.assert_array_equal(result[name], rows * scale)
    for other in set(result) - {name}:
        np.testing.assert_array_equal(result[other], WEIGHTS[other], err_msg=other)
    again, _ = quantise_rows(result[name])
    np.testing.assert_array_equal(again, rows)  # what is written next is rounded no further


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
@pytest.mark.parametrize(("layers", "heads", "epsilon"), [(2, 4, 1e-12), (1, 2, 1e-5)])
def test_a_shape_is_read_back_as_it_was_given(
    layers: int, heads: int, epsilon: float, activation: Activation, tmp_path: Path
) -> None:
    shape = EncoderShape(layers, heads, epsilon, activation)
    result = read_shape(saved(tmp_path, encoder_graph(WEIGHTS, shape)))
    assert result == replace(shape, epsilon=result.epsilon)
    assert result.epsilon == pytest.approx(epsilon, rel=1e-6)  # float32 in the file


@dataclass(frozen=True, slots=True)
class Int8:
    """An int8 encoder and cross-attention graph with their inputs."""

    encoder: Path
    cross_attention: Path
    rows: Feeds
    pairs: dict[str, NDArray[np.generic]]


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Int8:
    folder = tmp_path_factory.mktemp("int8")
    tokens = Tokens(load_tokenizer(write_tokenizer(folder / "tokenizer.json")), 64)
    rows = tokens.single(texts(24, seed=1))
    model = encoder_graph(
        WEIGHTS, SHAPE, int8_embeddings=True, cross_attention_layers=CROSS_ATTENTION_LAYERS
    )
    exact = open_session(saved(folder, model, "float32.onnx"))
    result = [exact.run(pad([row])) for row in rows]
    feeds = []
    for index, (row, read) in enumerate(zip(rows, result, strict=True)):
        size, requested = len(rows[index - 1].ids), result[index - 1]
        query_half = query_states(requested["states"][0][:size])
        early = LATE.logits(features(query_half, read["states"], pad([row])["attention_mask"]))
        given = cross_attention_feeds([requested["layers"][0][:size]], read["layers"], [row])
        feeds.append(given | {"logits": early})
    return Int8(
        saved(folder, quantise(model, [pad([row]) for row in rows]), "encoder.onnx"),
        saved(
            folder, quantise(cross_attention_graph(WEIGHTS, SHAPE), feeds), "cross_attention.onnx"
        ),
        pad(tokens.single(texts(12, seed=2))),
        feeds[3],
    )


@pytest.mark.torch
def test_int8_weights_are_near_those_that_were_rounded(int8: Int8) -> None:
    result = read_weights([int8.encoder, int8.cross_attention])
    assert set(result) == set(WEIGHTS)
    for name, value in result.items():
        entry = WEIGHTS[name]
        assert value.shape == entry.shape, name
        if value.size == 1:
            np.testing.assert_array_equal(value, entry)
            continue
        assert np.corrcoef(value.ravel(), entry.ravel())[0, 1] > 0.99, name
        scale = (value * entry).sum() / (entry * entry).sum()
        assert scale == pytest.approx(1, abs=0.03), name  # smoothing is folded back in


@pytest.mark.torch
def test_an_int8_models_shape_is_that_of_its_float32_graph(int8: Int8) -> None:
    assert read_shape(int8.encoder) == replace(SHAPE, epsilon=read_shape(int8.encoder).epsilon)


@pytest.mark.torch
def test_an_encoder_of_the_weights_read_back_gives_nearly_what_int8_gives(
    int8: Int8, tmp_path: Path
) -> None:
    result = read_weights([int8.encoder])
    again = states(saved(tmp_path, encoder_graph(result, SHAPE)), int8.rows)
    rounded = states(int8.encoder, int8.rows)
    difference = np.abs(again - rounded)
    print(f"{difference.mean():.4f} on average, {difference.max():.4f} at most")
    assert difference.mean() < 0.05 * rounded.std()
    assert np.corrcoef(again.ravel(), rounded.ravel())[0, 1] > 0.99


@pytest.mark.torch
def test_cross_attention_of_the_weights_read_back_gives_nearly_what_int8_gives(
    int8: Int8, tmp_path: Path
) -> None:
    graph = cross_attention_graph(read_weights([int8.cross_attention]), SHAPE)
    again, rounded = (
        open_session(file).run(int8.pairs)["residual"]
        for file in (saved(tmp_path, graph), int8.cross_attention)
    )
    np.testing.assert_allclose(again, rounded, atol=0.05, rtol=0)


def test_the_bundled_model_is_a_base_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from resift.training.base import open_base\n"
        "base = open_base('bundled'); print(base.shape.layers, base.shape.heads, len(base.weights))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    layers, heads, weights = map(int, done.stdout.split())
    assert (layers, heads) == (6, 12)
    assert weights >= 5 + 16 * layers


def test_the_bundled_encoders_weights_give_nearly_what_it_gives(tmp_path: Path) -> None:
    artifact = load_artifact(BUNDLED)
    encoder = artifact.stages[0]
    graph = encoder_graph(read_weights([encoder]), read_shape(encoder))
    feeds = pad(Tokens(load_tokenizer(artifact.tokenizer), 64).single(passages(4)))
    again, rounded = states(saved(tmp_path, graph), feeds), states(encoder, feeds)
    norms = np.linalg.norm(again, axis=1) * np.linalg.norm(rounded, axis=1)
    cosines = (again * rounded).sum(axis=1) / norms
    print(f"cosines of token states from {cosines.min():.4f}")
    assert cosines.min() > 0.9 and cosines.mean() > 0.98
