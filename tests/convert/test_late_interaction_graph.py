"""The graph of late interaction gives what its definition in numpy gives, int8 states or float."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from resift.convert.late_interaction_graph import late_graph
from resift.convert.layers import EncoderShape
from resift.convert.quantise import int8_output
from resift.convert.stages import encoder_graph
from resift.rerank.graph_runs import run
from resift.rerank.late_interaction import features, mean_states, query_states
from resift.rerank.models import cross_attention_feeds
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import TokenRow
from split_artifacts import split_weights

LAYERS, DIM = 2, 16
LENGTHS = (3, 5, 16, 17, 40)


def row(length: int) -> TokenRow:
    return TokenRow(np.arange(length), length, length - 2, 0, 0)


@pytest.mark.parametrize("int8", [False, True])
def test_features_and_means_are_those_of_the_definition(
    int8: bool, runtime: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    scales = rng.uniform(0.01, 0.1, (LAYERS, DIM)).astype(np.float32) if int8 else None
    onnx.save(late_graph(LAYERS, DIM, scales), str(tmp_path / "late.onnx"))
    late = open_session(tmp_path / "late.onnx", runtime)

    def drawn(*shape: int) -> NDArray[np.generic]:
        if int8:
            return rng.integers(-127, 128, shape).astype(np.int8)
        return rng.normal(size=shape).astype(np.float32)

    queries = [drawn(length, LAYERS * DIM) for length in (4, 4, 9, 3, 12)]
    states = drawn(len(LENGTHS), 48, LAYERS * DIM)  # padding is noise
    rows = [row(length) for length in LENGTHS]
    result = run(late, cross_attention_feeds(queries, states, rows))
    for index, length in enumerate(LENGTHS):
        step = np.ones(DIM, np.float32) if scales is None else scales[-1]
        query = queries[index].astype(np.float32)[:, -DIM:] * step
        entry = states[index : index + 1, :length].astype(np.float32)[..., -DIM:] * step
        mask = np.ones(entry.shape[:2], np.int64)
        expected = features(query_states(query), entry, mask)[0]
        np.testing.assert_allclose(result["features"][index], expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(result["means"][index], mean_states(entry, mask)[0], atol=1e-5)


def test_an_output_in_int8_is_the_rounded_one_and_saturates(runtime: str, tmp_path: Path) -> None:
    weights = split_weights()
    shape = EncoderShape(2, heads=4, epsilon=1e-12, activation="gelu")
    model = encoder_graph(weights, shape, cross_attention_layers=1)
    onnx.save(model, str(tmp_path / "exact.onnx"))
    width = 64
    scales = np.linspace(0.005, 0.05, width).astype(np.float32)
    int8_output(model, "layers", scales)
    onnx.save(model, str(tmp_path / "int8.onnx"))
    exact, rounded = (open_session(tmp_path / f"{n}.onnx", runtime) for n in ("exact", "int8"))
    ids = np.arange(4, 36)[None]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids * 0}
    expected = np.clip(np.rint(run(exact, feeds)["layers"] / scales), -127, 127)
    result = run(rounded, feeds, ["layers"])
    assert set(result) == {"layers"} and result["layers"].dtype == np.int8
    difference = np.abs(result["layers"].astype(np.float32) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001  # a last bit at a half step
    assert np.abs(expected).max() == 127 and (np.abs(expected) < 100).any()
