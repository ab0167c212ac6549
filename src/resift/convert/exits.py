"""Exits of a cross-encoder: split its layers into stages, and fit an exit after each.

At an exit only the first token passes through the remaining layers (`graph.py`). Instead of their
context, which is not computed, it attends to a linear map of the states at the exit; a linear head
then estimates the model's final logit. Both are fitted to the model's outputs by least squares,
without labels.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.convert.checkpoint import Checkpoint
from resift.convert.graph import Weights, save_graph
from resift.convert.layers import EncoderShape
from resift.convert.stages import encoder_graph, stage_graph
from resift.errors import InputError
from resift.rerank.artifact import Exit
from resift.rerank.batching import schedule
from resift.rerank.graph_checks import NEXT_STATES
from resift.rerank.graph_runs import run
from resift.rerank.models import Batch, Model
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow, Tokens, pad

RIDGE = 0.1
"""Penalty of the head. A smaller one fits other texts worse (LOG.md)."""

CONTEXT_PAIRS = 1_000
"""Pairs on which the maps are fitted; each of their tokens is an example."""

WITHIN_QUERY = 0.9
"""Weight of a head's squared error within queries; the rest is the weight of its total error."""

LEVELS = (0.001, 0.005, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.995, 0.999)

CandidateLists = Sequence[tuple[str, Sequence[str]]]
Feeds = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
QueryIndices = NDArray[np.int64]


def stage_layers(shape: EncoderShape, exits: Sequence[int]) -> list[range]:
    """The layers of each stage, for exits after these numbers of layers. Raises `InputError`."""
    edges = [0, *exits, shape.layers]
    if any(after <= before for before, after in pairwise(edges)):
        raise InputError(
            f"--exits {','.join(map(str, exits))}: expected rising numbers of layers from 1 to "
            f"{shape.layers - 1}; this checkpoint has {shape.layers}"
        )
    if exits and not (shape.positions.folds_first_token and shape.pooling == "cls"):
        raise InputError(
            f"--exits {','.join(map(str, exits))}: an exit reads the first token through the "
            "layers of BERT, and this checkpoint has others; leave --exits out"
        )
    return [range(*edge) for edge in pairwise(edges)]


def run_stages(sessions: Sequence[Session], rows: Sequence[TokenRow]) -> list[tuple[Feeds, Feeds]]:
    """Run a batch through all float32 stages; returns the inputs and outputs of each."""
    feeds: Feeds = {**pad(rows)}
    steps = []
    for session in sessions:
        outputs: Feeds = {**run(session, feeds)}
        steps.append(({name: feeds[name] for name in session.inputs}, outputs))
        if NEXT_STATES in outputs:
            feeds = feeds | {"states": outputs[NEXT_STATES]}
    return steps


def fit_exits(
    source: Checkpoint, tokens: Tokens, stages: Sequence[range], lists: CandidateLists, folder: Path
) -> dict[str, NDArray[np.float32]]:
    """Fit an exit after each stage but the last; returns weights with `stage_graph`'s names.

    Temporary graphs are written to `folder` and removed.
    """
    rows_by_query = [tokens.pairs(tokens.head(query), texts) for query, texts in lists]
    rows = [row for rows in rows_by_query for row in rows]
    queries = _query_indices(rows_by_query)
    cuts = [layers.stop for layers in stages[:-1]]
    weights = {**source.weights}
    sample = rows[:: len(rows) // CONTEXT_PAIRS + 1]
    for cut, maps in _fit_contexts(source, cuts, sample, folder).items():
        weights |= first_token_layers(weights, cut, maps)
    files = [folder / f"features-{layers.stop}.onnx" for layers in stages]
    for file, layers in zip(files, stages, strict=True):
        save_graph(stage_graph(weights, source.shape, layers), file)
    *features, final = _exit_inputs([open_session(file) for file in files], rows)
    for file in files:
        file.unlink()
    for cut, values in zip(cuts, features, strict=True):
        weight, bias = fit_head(values.astype(np.float64), final.astype(np.float64), queries)
        weights[f"exit.{cut}.weight"] = weight.astype(np.float32)
        weights[f"exit.{cut}.bias"] = np.array([bias], np.float32)
    return {name: value for name, value in weights.items() if name.startswith("exit.")}


def _fit_contexts(
    source: Checkpoint, cuts: Sequence[int], rows: Sequence[TokenRow], folder: Path
) -> dict[int, dict[int, Floats]]:
    """Fit a map from the states at each cut to the input of each later layer but the next.

    Returns cut → layer → map, ``(dim + 1, dim)`` with the bias last; least squares over tokens.
    """
    layers, first = source.shape.layers, cuts[0]
    file = folder / "layers.onnx"
    graph = encoder_graph(source.weights, source.shape, cross_attention_layers=layers - first)
    save_graph(graph, file)
    session = open_session(file)
    sums: dict[tuple[int, int], Floats] = {}
    for group in schedule([len(row.ids) for row in rows]):
        feeds = pad([rows[index] for index in group.rows])
        outputs = run(session, feeds)["layers"]
        tokens = outputs[feeds["attention_mask"] == 1].astype(np.float64)
        states = np.split(tokens, layers - first + 1, axis=1)
        for cut in cuts:
            x = np.concatenate([states[cut - first], np.ones((len(tokens), 1))], axis=1)
            for later in range(cut, layers):  # later == cut: the product of x with itself
                products = x.T @ (x if later == cut else states[later - first])
                sums[cut, later] = sums.get((cut, later), 0.0) + products
    file.unlink()
    maps: dict[int, dict[int, Floats]] = {cut: {} for cut in cuts}
    for cut, later in sums:
        if later > cut:
            square = sums[cut, cut]
            ridge = 1e-4 * np.diag(square).mean() * np.eye(len(square))
            maps[cut][later] = np.linalg.solve(square + ridge, sums[cut, later])
    return maps


def first_token_layers(
    weights: Weights, cut: int, maps: Mapping[int, Floats]
) -> dict[str, NDArray[np.float32]]:
    """The layers after a cut, with the maps of their context folded into keys and values."""
    folded: dict[str, NDArray[np.float32]] = {}
    for index in (cut, *maps):
        prefix, exit_prefix = f"encoder.layer.{index}.", f"exit.{cut}.layer.{index}."
        folded |= {
            exit_prefix + name.removeprefix(prefix): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        for part in ("key", "value") if index in maps else ():
            name = f"attention.self.{part}"
            weight = weights[f"{prefix}{name}.weight"].astype(np.float64)
            *kernel, offset = maps[index]
            bias = weights[f"{prefix}{name}.bias"] + weight @ offset
            folded[f"{exit_prefix}{name}.weight"] = (weight @ np.array(kernel).T).astype(np.float32)
            folded[f"{exit_prefix}{name}.bias"] = bias.astype(np.float32)
    return folded


def fit_head(features: Floats, final: Floats, queries: QueryIndices) -> tuple[Floats, float]:
    """Ridge regression of `final` ``(n,)`` on `features` ``(n, d)``: weights ``(d,)`` and bias.

    Features are standardised; `WITHIN_QUERY` of the squared error counts within queries.
    """
    means, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    x, y = (features - means) / scale, final - final.mean()
    x_within, y_within = _centred(x, queries), _centred(y[:, None], queries)[:, 0]
    products = WITHIN_QUERY * x_within.T @ x_within + (1 - WITHIN_QUERY) * x.T @ x
    products += RIDGE * len(x) * np.eye(x.shape[1])
    targets = WITHIN_QUERY * x_within.T @ y_within + (1 - WITHIN_QUERY) * x.T @ y
    weight = np.linalg.solve(products, targets) / scale
    return weight, float(final.mean() - means @ weight)


def measure_exits(model: Model, lists: CandidateLists) -> tuple[list[Exit], list[float]]:
    """Bounds of each exit's error, and the share of the final logits' variance that it explains.

    Both are within queries: an error that all texts of a query share does not change their order.
    The model runs as in use, with int8 and 16-bit states.
    """
    logits, queries = stage_logits(model, lists)
    *early, final = (_centred(values[:, None], queries)[:, 0] for values in logits)
    explained = [1 - float((final - values).var() / final.var()) for values in early]
    offsets = [float((logits[-1] - values).mean()) for values in logits[:-1]]
    exits = [
        exit_bounds(final - values + offset) for values, offset in zip(early, offsets, strict=True)
    ]
    return exits, explained


def exit_bounds(gains: Floats) -> Exit:
    """Quantiles of the gains: a pair's final logit minus the exit's."""
    quantiles = np.quantile(gains, LEVELS)
    return Exit(LEVELS, tuple(round(float(gain), 4) for gain in quantiles), len(gains))


def stage_logits(model: Model, lists: CandidateLists) -> tuple[list[Floats], QueryIndices]:
    """Each stage's logits ``(n,)`` for all pairs, and the index of each pair's query."""
    rows_by_query = [model.rows(model.query_row(query), texts) for query, texts in lists]
    rows = [row for rows in rows_by_query for row in rows]
    logits = np.empty((len(model.stages), len(rows)))
    for group in schedule([len(row.ids) for row in rows]):
        batch = Batch([rows[index] for index in group.rows])
        for number, stage in enumerate(model.stages):
            batch, logits[number, group.rows] = stage(batch)
    return list(logits), _query_indices(rows_by_query)


def _query_indices(rows_by_query: Sequence[Sequence[TokenRow]]) -> QueryIndices:
    return np.repeat(np.arange(len(rows_by_query)), [len(rows) for rows in rows_by_query])


def _exit_inputs(
    sessions: Sequence[Session], rows: Sequence[TokenRow]
) -> list[NDArray[np.float32]]:
    """The features ``(n, d)`` at each exit, and last the final logits ``(n,)``."""
    values: list[NDArray[np.float32]] = []
    for group in schedule([len(row.ids) for row in rows]):
        steps = run_stages(sessions, [rows[index] for index in group.rows])
        outputs = [step["features" if "features" in step else "logits"] for _, step in steps]
        values = values or [np.empty((len(rows), *o.shape[1:]), np.float32) for o in outputs]
        for target, output in zip(values, outputs, strict=True):
            target[group.rows] = output
    return values


def _centred(values: Floats, queries: QueryIndices) -> Floats:
    """Values ``(n, d)`` minus their query's mean."""
    _, indices, counts = np.unique(queries, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, indices, values)
    result: Floats = values - (sums / counts[:, None])[indices]
    return result
