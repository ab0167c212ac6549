"""Disentangled attention is the sum of its three products, for rows of any length.

The reference is a loop over queries and keys in float64. A row's logit does not depend on padding.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resift.convert.disentangled import Disentangled, DistanceTables
from resift.convert.graph import GraphBuilder, additive_mask, checked_model
from resift.convert.heads import Heads
from resift.rerank.runtimes import Session, open_session

ROWS, COUNT, SIZE, TOKENS, BUCKETS = 2, 3, 4, 40, 12
RNG = np.random.default_rng(4)
COLUMNS = np.clip(np.arange(1 - TOKENS, TOKENS) + BUCKETS // 2, 0, BUCKETS - 1)
PARTS = {
    "both": (True, True),
    "queries": (True, False),
    "keys": (False, True),
    "none": (False,) * 2,
}


def normal(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


TABLES = DistanceTables(normal(COUNT, SIZE, BUCKETS), normal(COUNT, SIZE, BUCKETS))


def positions(parts: tuple[bool, ...]) -> Disentangled:
    queries, keys = parts
    tables = DistanceTables(
        TABLES.for_queries if queries else None, TABLES.for_keys if keys else None
    )
    return Disentangled([tables], COLUMNS, 0.3)


def opened(folder: Path, runtime: str, kind: Disentangled, first_only: bool) -> Session:
    """A session of one layer's attention: queries, keys, values and mask in."""
    g = GraphBuilder()
    heads = Heads("x", 0, "query", "key", "value", additive_mask(g), COUNT, SIZE, first_only)
    kind.mix(g, heads)
    info = helper.make_tensor_value_info
    inputs = [
        info(name, TensorProto.FLOAT, ["rows", f"{name}s", COUNT, SIZE])
        for name in ("query", "key", "value")
    ]
    inputs.append(info("attention_mask", TensorProto.INT64, ["rows", "tokens"]))
    outputs = [info("x.flat", TensorProto.FLOAT, ["rows", "queries", COUNT * SIZE])]
    onnx.save(checked_model(g, inputs, outputs), str(folder / "x.onnx"))
    return open_session(folder / "x.onnx", runtime)


def expected(
    kind: Disentangled,
    query: NDArray[np.float32],
    key: NDArray[np.float32],
    value: NDArray[np.float32],
) -> NDArray[np.float64]:
    """The mixed values of rows without padding."""
    tables = kind.layers[0]
    logits = np.einsum("riax,rjax->raij", query, key).astype(np.float64) * kind.scale
    for i in range(query.shape[1]):
        for j in range(key.shape[1]):
            column = kind.buckets[i - j + kind.tokens - 1]
            if tables.for_queries is not None:
                logits[:, :, i, j] += np.einsum(
                    "rax,ax->ra", query[:, i], tables.for_queries[..., column]
                )
            if tables.for_keys is not None:
                logits[:, :, i, j] += np.einsum(
                    "rax,ax->ra", key[:, j], tables.for_keys[..., column]
                )
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = np.einsum("raij,rjax->riax", weights, value)
    result: NDArray[np.float64] = mixed.reshape(*query.shape[:2], -1)
    return result


@pytest.mark.parametrize("first_only", [False, True], ids=["all tokens", "first token"])
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_mixed_values_are_those_of_a_loop(
    parts: tuple[bool, ...], first_only: bool, runtime: str, tmp_path: Path
) -> None:
    kind = positions(parts)
    session = opened(tmp_path, runtime, kind, first_only)
    for tokens in (1, 2, 7, 16, TOKENS):
        query, key, value = (normal(ROWS, tokens, COUNT, SIZE) for _ in range(3))
        query = query[:, :1] if first_only else query
        mask = np.ones((ROWS, tokens), np.int64)
        feeds: dict[str, NDArray[Any]] = {"query": query, "key": key, "value": value}
        actual = session.run(feeds | {"attention_mask": mask})["x.flat"]
        np.testing.assert_allclose(actual, expected(kind, query, key, value), atol=1e-5)


@pytest.mark.parametrize("first_only", [False, True], ids=["all tokens", "first token"])
def test_padding_changes_nothing(first_only: bool, runtime: str, tmp_path: Path) -> None:
    session = opened(tmp_path, runtime, positions((True, True)), first_only)
    states = [normal(ROWS, 9, COUNT, SIZE) for _ in range(3)]
    results = []
    for tokens in (9, 16, TOKENS):
        padded = [np.pad(state, ((0, 0), (0, tokens - 9), (0, 0), (0, 0))) for state in states]
        feeds: dict[str, Any] = dict(zip(("query", "key", "value"), padded, strict=True))
        feeds["query"] = feeds["query"][:, :1] if first_only else feeds["query"]
        feeds["attention_mask"] = np.array([[1] * 9 + [0] * (tokens - 9)] * ROWS)
        results.append(session.run(feeds)["x.flat"][:, :9])
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-6)
