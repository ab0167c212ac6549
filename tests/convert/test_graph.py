"""The graph is BERT's forward pass, whatever a row is padded to and whichever runtime runs it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from artifacts import DIM, POSITIONS, VOCABULARY, random_weights
from convert.reference import Bert
from resift.convert.graph import Activation, Weights, quantise_rows
from resift.convert.layers import EncoderShape
from resift.convert.stages import encoder_graph, stage_graph
from resift.errors import RuntimeFailure
from resift.rerank.runtimes import Session, open_session

SHAPE = EncoderShape(layers=2, heads=4, epsilon=1e-12, activation="gelu")
WEIGHTS = random_weights()
TOLERANCE = 1e-4  # float32 against float64

Feeds = dict[str, NDArray[np.int64]]


def opened(
    folder: Path,
    runtime: str,
    weights: Weights = WEIGHTS,
    shape: EncoderShape = SHAPE,
    head: Activation | None = None,
    int8: bool = False,
) -> Session:
    """The graph of these weights, written to disk and loaded."""
    file = folder / "model.onnx"
    graph = encoder_graph(weights, shape, int8_embeddings=int8)
    if head is not None:
        shape = replace(shape, head_activation=head)
        graph = stage_graph(weights, shape, range(shape.layers), int8_embeddings=int8)
    onnx.save(graph, str(file))
    return open_session(file, runtime)


def sequences(*lengths: int) -> list[NDArray[np.int64]]:
    """Random token ids of these lengths."""
    rng = np.random.default_rng(3)
    return [rng.integers(1, VOCABULARY, length) for length in lengths]


def types_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The second half is of type 1."""
    return (np.arange(len(ids)) >= len(ids) // 2).astype(np.int64)


def padded(rows: list[NDArray[np.int64]], length: int) -> Feeds:
    """Rows of ids, padded with zeros to `length` positions."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    feeds = {name: np.zeros((len(rows), length), np.int64) for name in names}
    for index, ids in enumerate(rows):
        feeds["input_ids"][index, : len(ids)] = ids
        feeds["attention_mask"][index, : len(ids)] = 1
        feeds["token_type_ids"][index, : len(ids)] = types_of(ids)
    return feeds


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
@pytest.mark.parametrize("head", ["tanh", "gelu", "relu"])
def test_logits_are_those_of_a_plain_forward_pass(
    activation: Activation, head: Activation, runtime: str, tmp_path: Path
) -> None:
    shape = replace(SHAPE, activation=activation)
    session = opened(tmp_path, runtime, shape=shape, head=head)
    bert = Bert(WEIGHTS, SHAPE.heads, activation, head)
    rows = sequences(3, 16, 29, 64)
    result = session.run(padded(rows, 64))["logits"]
    expected = [bert.logit(ids, types_of(ids)) for ids in rows]
    assert result.shape == (4,)
    np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE


def test_the_last_layer_below_a_head_is_computed_for_the_first_token_only() -> None:
    model = onnx.shape_inference.infer_shapes(stage_graph(WEIGHTS, SHAPE, range(SHAPE.layers)))
    shapes = {entry.name: entry.type.tensor_type.shape.dim for entry in model.graph.value_info}
    wide = "intermediate.dense.matmul"
    assert shapes[f"encoder.layer.1.{wide}"][1].dim_value == 1
    assert shapes[f"encoder.layer.0.{wide}"][1].dim_value == 0  # as many as there are tokens


def test_without_a_head_states_are_those_of_a_plain_forward_pass(
    runtime: str, tmp_path: Path
) -> None:
    session = opened(tmp_path, runtime)
    bert = Bert(WEIGHTS, SHAPE.heads, "gelu", "tanh")
    rows = sequences(5, 32, 20)
    result = session.run(padded(rows, 32))["states"]
    assert result.shape == (3, 32, DIM)
    for ids, states in zip(rows, result, strict=True):
        expected = bert.states(ids, types_of(ids))
        np.testing.assert_allclose(states[: len(ids)], expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("cross_attention_layers", [1, 2])
def test_layers_are_what_the_last_layers_read_and_then_the_states(
    cross_attention_layers: int, runtime: str, tmp_path: Path
) -> None:
    feeds = padded(sequences(5, 9), 16)
    for name, model in {
        "whole": encoder_graph(WEIGHTS, SHAPE, cross_attention_layers=cross_attention_layers),
        **{f"of {n}": encoder_graph(WEIGHTS, replace(SHAPE, layers=n)) for n in range(3)},
    }.items():
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
    result = open_session(tmp_path / "whole.onnx", runtime).run(feeds)
    assert {"states", "layers"} <= set(result)
    parts = np.split(result["layers"], cross_attention_layers + 1, axis=2)
    np.testing.assert_array_equal(parts[-1], result["states"])
    for layers, part in zip(range(2 - cross_attention_layers, 3), parts, strict=True):
        below = open_session(tmp_path / f"of {layers}.onnx", runtime)
        expected = below.run({name: feeds[name] for name in below.inputs})["states"]
        np.testing.assert_allclose(part, expected, atol=TOLERANCE, rtol=0)


def test_a_row_is_the_same_bit_for_bit_whatever_it_is_padded_to(
    runtime: str, tmp_path: Path
) -> None:
    session = opened(tmp_path, runtime, head="tanh")
    for ids in sequences(3, 16, 17, 40):
        shortest = -(-len(ids) // 16) * 16
        alone = session.run(padded([ids], shortest))["logits"]
        for length in (shortest + 16, 96, POSITIONS):
            assert session.run(padded([ids], length))["logits"] == alone


def test_a_row_is_the_same_bit_for_bit_among_others(runtime: str, tmp_path: Path) -> None:
    session = opened(tmp_path, runtime, head="tanh")
    rows = sequences(7, 80, 33, 12, 64, 50)
    together = session.run(padded(rows, 80))["logits"]
    for ids, logit in zip(rows, together, strict=True):
        assert session.run(padded([ids], -(-len(ids) // 16) * 16))["logits"] == logit


def test_roberta_counts_positions_from_its_offset(runtime: str, tmp_path: Path) -> None:
    name = "embeddings.position_embeddings.weight"
    unused = np.full((2, DIM), 1e3, np.float32)  # would spoil every logit if it were read
    moved = WEIGHTS | {name: np.concatenate([unused, WEIGHTS[name]])}
    shape = replace(SHAPE, first_position=2)
    feeds = padded(sequences(POSITIONS), POSITIONS)
    (tmp_path / "moved").mkdir()
    result = opened(tmp_path / "moved", runtime, moved, shape, "tanh").run(feeds)
    expected = opened(tmp_path, runtime, head="tanh").run(feeds)
    assert result["logits"] == expected["logits"]


def test_a_single_token_type_is_added_and_not_asked_for(runtime: str, tmp_path: Path) -> None:
    name = "embeddings.token_type_embeddings.weight"
    session = opened(tmp_path, runtime, WEIGHTS | {name: WEIGHTS[name][:1]}, head="tanh")
    assert session.inputs == {"input_ids", "attention_mask"}
    (ids,) = sequences(20)
    feeds = {key: value for key, value in padded([ids], 32).items() if key in session.inputs}
    expected = Bert(WEIGHTS, SHAPE.heads, "gelu", "tanh").logit(ids, np.zeros_like(ids))
    assert session.run(feeds)["logits"][0] == pytest.approx(expected, abs=TOLERANCE)


def test_a_table_narrower_than_the_layers_is_projected(runtime: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    narrow = {name: values for name, values in WEIGHTS.items() if "embeddings" not in name}
    for name in (name for name in WEIGHTS if name.startswith("embeddings.")):
        narrow[name] = np.ascontiguousarray(WEIGHTS[name][..., : DIM // 2])
    kernel = rng.normal(0, 0.2, (DIM, DIM // 2)).astype(np.float32)
    projected = narrow | {
        "embeddings_project.weight": kernel,
        "embeddings_project.bias": np.ones(DIM, np.float32),
    }
    (ids,) = sequences(16)
    embeddings = Bert(narrow, SHAPE.heads, "gelu", "tanh")
    start = {name: value for name, value in narrow.items() if name.startswith("embeddings.")}
    wide = Bert(start, SHAPE.heads, "gelu", "tanh").states(ids, types_of(ids)) @ kernel.T + 1
    expected = embeddings.layers(wide)
    result = opened(tmp_path, runtime, projected).run(padded([ids], 16))["states"][0]
    np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)


def test_int8_rows_are_within_half_a_step_of_the_table() -> None:
    table = WEIGHTS["embeddings.word_embeddings.weight"]
    rows, scale = quantise_rows(table)
    assert rows.dtype == np.int8
    assert rows.shape == table.shape
    assert scale.shape == (len(table), 1)
    assert np.all(np.abs(rows * scale - table) <= scale * 0.5001)
    assert np.all(np.abs(rows).max(axis=1) == 127)


def test_a_row_of_zeros_stays_zeros() -> None:
    rows, scale = quantise_rows(np.zeros((2, 4), np.float32))
    assert not rows.any()
    assert np.isfinite(scale).all()


def test_int8_embeddings_are_the_rounded_table_and_nothing_else(
    runtime: str, tmp_path: Path
) -> None:
    name = "embeddings.word_embeddings.weight"
    rows, scale = quantise_rows(WEIGHTS[name])
    bert = Bert(WEIGHTS | {name: rows * scale}, SHAPE.heads, "gelu", "tanh")
    session = opened(tmp_path, runtime, head="tanh", int8=True)
    for ids in sequences(9, 30):
        result = session.run(padded([ids], 32))["logits"][0]
        assert result == pytest.approx(bert.logit(ids, types_of(ids)), abs=TOLERANCE)


def test_the_int8_table_stays_int8_in_the_file() -> None:
    graph = stage_graph(WEIGHTS, SHAPE, range(SHAPE.layers), int8_embeddings=True).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    large = {name for name, values in tensors.items() if len(values.shape) == 2}
    assert tensors["words.table"].dtype == np.int8
    assert not any(tensors[name].size == VOCABULARY * DIM for name in large - {"words.table"})


@pytest.mark.parametrize(
    "fault", ["more tokens than positions", "a mask of another length", "an input it does not have"]
)
def test_wrong_inputs_are_an_error_in_one_line_that_says_what(
    fault: str, runtime: str, tmp_path: Path
) -> None:
    session = opened(tmp_path, runtime, head="tanh")
    feeds = padded(sequences(16), 16)
    if fault == "more tokens than positions":
        feeds = padded(sequences(POSITIONS + 16), POSITIONS + 16)
    elif fault == "a mask of another length":
        feeds["attention_mask"] = np.ones((1, 32), np.int64)
    else:
        feeds["position_ids"] = np.zeros((1, 16), np.int64)
    with pytest.raises(RuntimeFailure, match=f"^{runtime}: ") as caught:
        session.run(feeds)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).startswith(f"{runtime}: Exception from")  # no source location


def test_weights_that_are_not_there_are_named() -> None:
    with pytest.raises(KeyError, match=r"encoder\.layer\.2\.attention\.self\.query\.weight"):
        encoder_graph(WEIGHTS, replace(SHAPE, layers=3))
