"""Run a graph on padded rows, in few shapes; the types in which token states are stored."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.rerank.batching import padded_rows
from resift.rerank.runtimes import Session
from resift.rerank.tokenization import TokenRow, pad

TokenStates = NDArray[Any]
"""Token states, ``(..., tokens, layers * dim)``, int8 (the scales are in the model's files) or
float16. Fresh states have the same type as precomputed ones, so both give the same logits."""


def stored(states: TokenStates) -> TokenStates:
    """States in their stored type: int8, or float16 for float32."""
    return states if states.dtype == np.int8 else states.astype(np.float16)


def readable(states: TokenStates) -> TokenStates:
    """States in the type that a graph reads: int8, or float32 for float16."""
    return states if states.dtype == np.int8 else states.astype(np.float32)


def run_pairs(session: Session, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Run a graph that reads query and document; a single row runs as two equal ones.

    ONNX Runtime sums a single row in another order, which changes the last bit of its logit.
    """
    return run(session, feeds, least_rows=2)


def run_rows(session: Session, rows: Sequence[TokenRow]) -> dict[str, NDArray[Any]]:
    """Pad rows and run them."""
    return run(session, pad(rows))


def run(
    session: Session,
    feeds: Mapping[str, NDArray[Any]],
    outputs: Sequence[str] | None = None,
    least_rows: int = 1,
    shared: Collection[str] = (),
) -> dict[str, NDArray[Any]]:
    """Run a batch with those of `feeds` that the model reads; `outputs` None gives all outputs.

    Rows are added, and left out again, so that a process sees few shapes (`padded_rows`) and a
    batch has `least_rows`. Inputs in `shared` have no rows.
    """
    inputs = {name: feeds[name] for name in session.inputs}
    rows = next(len(values) for name, values in inputs.items() if name not in shared)
    if not (more := padded_rows(max(rows, least_rows)) - rows):
        return session.run(inputs, outputs)
    inputs = {
        name: values if name in shared else _extended(values, more)
        for name, values in inputs.items()
    }
    return {name: values[:rows] for name, values in session.run(inputs, outputs).items()}


def _extended(values: NDArray[Any], more: int) -> NDArray[Any]:
    """The rows, with the last one `more` times again."""
    return np.concatenate([values, np.repeat(values[-1:], more, axis=0)])
