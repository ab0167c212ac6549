"""Layers cut into stages are the whole model, and an exit is its last layers for one token."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from artifacts import DIM, VOCABULARY, random_weights, with_exits
from resift.convert.exits import run_stages
from resift.convert.graph import Weights
from resift.convert.layers import EncoderShape
from resift.convert.stages import encoder_graph, stage_graph
from resift.rerank.graph_runs import run, run_rows
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow

SHAPE = EncoderShape(layers=4, heads=4, epsilon=1e-12, activation="gelu")
WEIGHTS = random_weights(4)
TOLERANCE = 1e-4


def rows(*lengths: int) -> list[TokenRow]:
    """Random sequences whose second half is of type 1."""
    rng = np.random.default_rng(3)
    return [TokenRow(rng.integers(1, VOCABULARY, n), n // 2, n, 0, 0) for n in lengths]


def opened(folder: Path, runtime: str, weights: Weights, *cuts: int) -> list[Session]:
    """The stages of a model that is cut there."""
    sessions = []
    for first, last in pairwise([0, *cuts, SHAPE.layers]):
        file = folder / f"{first}-{last}.onnx"
        onnx.save(stage_graph(weights, SHAPE, range(first, last)), str(file))
        sessions.append(open_session(file, runtime))
    return sessions


@pytest.mark.parametrize("cuts", [(), (1,), (3,), (1, 3), (1, 2, 3)])
def test_the_stages_together_are_the_whole(
    cuts: tuple[int, ...], runtime: str, tmp_path: Path
) -> None:
    file = tmp_path / "whole.onnx"
    onnx.save(stage_graph(WEIGHTS, SHAPE, range(SHAPE.layers)), str(file))
    batch = rows(5, 16, 40)
    expected = run_rows(open_session(file, runtime), batch)["logits"]
    steps = run_stages(opened(tmp_path, runtime, with_exits(WEIGHTS, *cuts), *cuts), batch)
    assert len(steps) == len(cuts) + 1
    np.testing.assert_allclose(steps[-1][1]["logits"], expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE


def test_an_exit_before_the_last_layer_has_the_final_first_token(
    runtime: str, tmp_path: Path
) -> None:
    """One layer is left and its context is there, so that nothing is a guess."""
    file = tmp_path / "whole.onnx"
    onnx.save(encoder_graph(WEIGHTS, SHAPE), str(file))
    batch = rows(7, 30)
    expected = run_rows(open_session(file, runtime), batch)["states"][:, 0]
    unfitted = {
        name: value
        for name, value in with_exits(WEIGHTS, 3).items()
        if name not in ("exit.3.weight", "exit.3.bias")
    }
    result = run_stages(opened(tmp_path, runtime, unfitted, 3), batch)[0][1]["features"]
    assert result.shape == (2, DIM)
    np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)


def test_an_estimate_is_linear_in_what_the_exit_sees(runtime: str, tmp_path: Path) -> None:
    weights = with_exits(WEIGHTS, 2)
    unfitted = {name: entry for name, entry in weights.items() if not name.endswith("t.2.weight")}
    batch = rows(7, 30)
    (tmp_path / "unfitted").mkdir()
    seen = run_stages(opened(tmp_path / "unfitted", runtime, unfitted, 2), batch)[0][1]["features"]
    result = run_stages(opened(tmp_path, runtime, weights, 2), batch)[0][1]["logits"]
    expected = seen @ weights["exit.2.weight"] + weights["exit.2.bias"]
    np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)


def test_only_the_first_stage_reads_ids(runtime: str, tmp_path: Path) -> None:
    first, second = opened(tmp_path, runtime, with_exits(WEIGHTS, 2), 2)
    assert first.inputs == {"input_ids", "attention_mask", "token_type_ids"}
    assert second.inputs == {"attention_mask", "states"}


def test_states_that_come_as_int8_are_widened_by_their_steps(runtime: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    scales = rng.uniform(0.01, 0.1, DIM).astype(np.float32)
    given = rng.integers(-127, 128, (2, 16, DIM)).astype(np.int8)
    weights, mask = with_exits(WEIGHTS, 2), np.ones((2, 16), np.int64)
    result = {}
    for name, steps in {"int8": scales, "float": None}.items():
        graph = stage_graph(weights, SHAPE, range(2, SHAPE.layers), scales=steps)
        onnx.save(graph, str(tmp_path / f"{name}.onnx"))
        states = given if steps is not None else given * scales
        session = open_session(tmp_path / f"{name}.onnx", runtime)
        result[name] = run(session, {"states": states, "attention_mask": mask})["logits"]
    np.testing.assert_allclose(result["int8"], result["float"], atol=TOLERANCE, rtol=0)
