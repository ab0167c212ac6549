"""Holds a checkpoint's float32 graph to transformers, tiny or in the shape of a real model."""

from pathlib import Path
from typing import Any

import numpy as np

from convert.agreement import graph_logits, transformers_logits
from convert.checkpoints import POSITIONS, make_checkpoint, pairs

TOLERANCE = 1e-4
PAIRS = pairs(40)
LONG_LENGTHS = (3, 10, 25, 60, 120, 250, 600)
RUNTIMES = ("openvino", "onnxruntime")


def check_tiny(folder: Path, family: str, **changes: Any) -> None:
    """40 pairs of mixed lengths, alone and four at a time, in both runtimes."""
    checkpoint = make_checkpoint(folder / "checkpoint", family, **changes)
    expected = transformers_logits(checkpoint, PAIRS, POSITIONS)
    assert np.ptp(expected) > 1000 * TOLERANCE
    for runtime in RUNTIMES:
        for batch in (1, 4):
            actual = graph_logits(checkpoint, PAIRS, folder, runtime, batch)
            np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)


def check_real_shape(
    folder: Path,
    family: str,
    tokens: int,
    lengths: tuple[int, ...] = LONG_LENGTHS,
    count: int = 200,
    **shape: Any,
) -> None:
    """Pairs from short to longer than the model reads, in both runtimes."""
    checkpoint = make_checkpoint(folder / "checkpoint", family, spread=0.04, tokens=tokens, **shape)
    rows = pairs(count, lengths=lengths)
    expected = transformers_logits(checkpoint, rows, tokens)
    assert np.ptp(expected) > 1000 * TOLERANCE
    for runtime in RUNTIMES:
        actual = graph_logits(checkpoint, rows, folder, runtime, batch=4)
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)
