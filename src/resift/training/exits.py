"""Exits of a cross-encoder: where its layers are cut, and what is fitted to say the most there.

At an exit the first token goes on alone through the layers that are left (`stage_graph.py`). They
expect states that are not computed; a linear map of those that are stands in for them, and a
linear head reads the estimate of the logit that the model itself gives at the end. All of it is
least squares on the model's own numbers: nothing of it is trained, no labels are needed.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.errors import InputError
from resift.rerank.artifact import Exit
from resift.rerank.batching import schedule
from resift.rerank.graph_checks import NEXT_STATES
from resift.rerank.models import Batch, Model, run
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow, Tokens, pad
from resift.training.checkpoint import Checkpoint
from resift.training.fit import exit_of
from resift.training.graph import Weights, encoder_graph
from resift.training.stage_graph import stage_graph

PENALTY = 0.1
"""Of the ridge. Less fits the texts at hand better and others worse (LOG.md)."""

MAPPED = 1_000
"""Pairs that contexts are mapped on: every token of theirs is an example."""

WITHIN = 0.9
"""How much of a head's error counts as it orders one query's texts, the rest as it is."""

Lists = Sequence[tuple[str, Sequence[str]]]
Feeds = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]


def parts(layers: int, exits: Sequence[int]) -> list[range]:
    """Layers `exits` are after → the layers of each stage. Raises `InputError`."""
    edges = [0, *exits, layers]
    if any(after <= before for before, after in pairwise(edges)):
        raise InputError(
            f"--exits {','.join(map(str, exits))}: expected rising numbers of layers from 1 to "
            f"{layers - 1}, this checkpoint has {layers}"
        )
    return [range(*edge) for edge in pairwise(edges)]


def through(sessions: Sequence[Session], rows: Sequence[TokenRow]) -> list[tuple[Feeds, Feeds]]:
    """One batch through all stages, in float32 all the way: what each was given, what it gave."""
    feeds: Feeds = {**pad(rows)}
    steps = []
    for session in sessions:
        found: Feeds = {**run(session, feeds)}
        steps.append(({name: feeds[name] for name in session.inputs}, found))
        if NEXT_STATES in found:
            feeds = feeds | {"states": found[NEXT_STATES]}
    return steps


def fit_exits(
    source: Checkpoint, tokens: Tokens, stages: Sequence[range], lists: Lists, folder: Path
) -> dict[str, NDArray[np.float32]]:
    """Weights of the exit after each stage but the last, in the names that `stage_graph` reads.

    Graphs are written into `folder` and taken away again.
    """
    rows, queries = _rows(tokens, lists)
    cuts = [own.stop for own in stages[:-1]]
    weights = {**source.weights}
    for cut, maps in _fit_contexts(source, cuts, rows[:: len(rows) // MAPPED + 1], folder).items():
        weights |= layers_alone(weights, cut, maps)
    files = [folder / f"features-{own.stop}.onnx" for own in stages]
    for file, own in zip(files, stages, strict=True):
        onnx.save(stage_graph(weights, source.shape, source.head, own), str(file))
    *features, final = _read([open_session(file) for file in files], rows)
    for file in files:
        file.unlink()
    for cut, read in zip(cuts, features, strict=True):
        weight, bias = fit_head(read.astype(np.float64), final.astype(np.float64), queries)
        weights[f"exit.{cut}.weight"] = weight.astype(np.float32)
        weights[f"exit.{cut}.bias"] = np.array([bias], np.float32)
    return {name: own for name, own in weights.items() if name.startswith("exit.")}


def _fit_contexts(
    source: Checkpoint, cuts: Sequence[int], rows: Sequence[TokenRow], folder: Path
) -> dict[int, dict[int, Floats]]:
    """For each cut, and each layer above the one after it, what that layer reads as a map of the
    states at the cut: ``(dim + 1, dim)``, the last row added. Least squares over tokens.
    """
    layers, first = source.shape.layers, cuts[0]
    file = folder / "layers.onnx"
    onnx.save(encoder_graph(source.weights, source.shape, meets=layers - first), str(file))
    session = open_session(file)
    sums: dict[tuple[int, int], Floats] = {}
    for group in schedule([len(row.ids) for row in rows]):
        feeds = pad([rows[place] for place in group.rows])
        own = run(session, feeds)["layers"][feeds["attention_mask"] == 1].astype(np.float64)
        states = np.split(own, layers - first + 1, axis=1)
        for cut in cuts:
            x = np.concatenate([states[cut - first], np.ones((len(own), 1))], axis=1)
            for above in range(cut, layers):  # above == cut: the product with itself
                products = x.T @ (x if above == cut else states[above - first])
                sums[cut, above] = sums.get((cut, above), 0.0) + products
    file.unlink()
    found: dict[int, dict[int, Floats]] = {cut: {} for cut in cuts}
    for cut, above in sums:
        if above > cut:
            square = sums[cut, cut]
            small = 1e-4 * np.diag(square).mean() * np.eye(len(square))
            found[cut][above] = np.linalg.solve(square + small, sums[cut, above])
    return found


def layers_alone(
    weights: Weights, cut: int, maps: Mapping[int, Floats]
) -> dict[str, NDArray[np.float32]]:
    """The layers after a cut, with the maps of their contexts in their keys and values."""
    found: dict[str, NDArray[np.float32]] = {}
    for index in (cut, *maps):
        own = f"encoder.layer.{index}."
        alone = f"exit.{cut}.layer.{index}."
        found |= {
            alone + name.removeprefix(own): value
            for name, value in weights.items()
            if name.startswith(own)
        }
        for part in ("key", "value") if index in maps else ():
            name = f"attention.self.{part}"
            weight = weights[f"{own}{name}.weight"].astype(np.float64)
            *kernel, added = maps[index]
            bias = weights[f"{own}{name}.bias"] + weight @ added
            found[f"{alone}{name}.weight"] = (weight @ np.array(kernel).T).astype(np.float32)
            found[f"{alone}{name}.bias"] = bias.astype(np.float32)
    return found


def fit_head(features: Floats, final: Floats, queries: NDArray[np.int64]) -> tuple[Floats, float]:
    """Ridge regression of `final` ``(n,)`` on `features` ``(n, d)``: a weight each, and the bias.

    Squared errors count by `WITHIN` within queries; features count in their own deviations.
    """
    means, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    x, y = (features - means) / scale, final - final.mean()
    near, wanted = _within(x, queries), _within(y[:, None], queries)[:, 0]
    products = WITHIN * near.T @ near + (1 - WITHIN) * x.T @ x
    products += PENALTY * len(x) * np.eye(x.shape[1])
    weight = np.linalg.solve(products, WITHIN * near.T @ wanted + (1 - WITHIN) * x.T @ y) / scale
    return weight, float(final.mean() - means @ weight)


def measure_exits(model: Model, lists: Lists) -> tuple[list[Exit], list[float]]:
    """What each exit leaves open, and how much of the final logits' variance it foresees.

    Of what differs within a query: texts race with those of their own query only, so that what an
    exit misses of all of them alike decides nothing. The model runs as it will, in int8 and with
    states in 16 bits.
    """
    logits, queries = stage_logits(model, lists)
    *early, final = (_within(own[:, None], queries)[:, 0] for own in logits)
    foreseen = [1 - float((final - own).var() / final.var()) for own in early]
    middle = [float((logits[-1] - own).mean()) for own in logits[:-1]]
    return [exit_of(final - own + by) for own, by in zip(early, middle, strict=True)], foreseen


def stage_logits(model: Model, lists: Lists) -> tuple[list[Floats], NDArray[np.int64]]:
    """Each stage's logits, ``(n,)``, and which query each is of."""
    texts = [model.rows(model.query_row(query), own) for query, own in lists]
    rows = [row for own in texts for row in own]
    queries = np.repeat(np.arange(len(lists)), [len(own) for own in texts])
    logits = np.empty((len(model.stages), len(rows)))
    for group in schedule([len(row.ids) for row in rows]):
        batch = Batch([rows[place] for place in group.rows])
        for place, stage in enumerate(model.stages):
            batch, logits[place, group.rows] = stage(batch)
    return list(logits), queries


def _rows(tokens: Tokens, lists: Lists) -> tuple[list[TokenRow], NDArray[np.int64]]:
    """All pairs, and which query each is of."""
    rows = [tokens.pairs(tokens.head(query), texts) for query, texts in lists]
    queries = np.repeat(np.arange(len(lists)), [len(own) for own in rows])
    return [row for own in rows for row in own], queries


def _read(sessions: Sequence[Session], rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
    """What heads read at each exit, ``(n, d)``, and last the final logits, ``(n,)``."""
    found: list[NDArray[np.float32]] = []
    for group in schedule([len(row.ids) for row in rows]):
        steps = through(sessions, [rows[place] for place in group.rows])
        values = [own["features" if "features" in own else "logits"] for _, own in steps]
        found = found or [np.empty((len(rows), *own.shape[1:]), np.float32) for own in values]
        for own, value in zip(found, values, strict=True):
            own[group.rows] = value
    return found


def _within(values: Floats, queries: NDArray[np.int64]) -> Floats:
    """Values ``(n, d)`` less their query's mean; queries count up from somewhere."""
    _, places, counts = np.unique(queries, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, places, values)
    result: Floats = values - (sums / counts[:, None])[places]
    return result
