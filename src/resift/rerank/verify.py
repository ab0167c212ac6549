"""Does a model give here what it gave where it was made? Its reference pairs tell.

`reference_logits` runs the pairs, the checks compare the numbers with the manifest's, each with a
bound, and `_diagnosis` says what wrong numbers look like: a wrong head, a broken quantisation, this
machine. There are only 6 or 8 reference pairs, so the bounds are far from what any sound model
gives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from resift.errors import ParityError
from resift.rerank.artifact import Exit, Manifest, ReferencePair
from resift.rerank.early_exit import gain
from resift.rerank.models import Batch, Model
from resift.rerank.ordering import Numbers, sigmoid
from resift.rerank.tokenization import TokenRow

FURTHEST, MEAN = 0.15, 0.06
"""How far int8's logits may be from float32's, as a part of their range. Sound models: .11, .05."""

ORDER = 0.8
"""Kendall's tau. One swap among six pairs is .87; unrelated numbers reach .8 in 1 of 120 cases."""

FEWEST = 3  # comparisons; fewer say nothing about an order
FLAT = 0.01  # of float32's range: a smaller range is the same number everywhere
ALONE = 1e-3  # between a pair's logit alone and among others; another order of sums makes 1e-5

WIDER = 1.25
"""How much more an exit may leave open than the one before. Sound exits: .9 at most. An exit that
knows nothing leaves 1.4 times as much open as no exit does, a reversed one twice as much."""

OUTSIDE = 0.2  # of the gains may be outside an exit's bounds. Sound exits: .04
CROSSED = 16  # pairs; with fewer, exits are not checked

SQUASHED = 0.02  # from a sigmoid of float32's logits
STRAIGHT = 5  # pairs; a line through them leaves a tenth of the difference at most
NEAR = 2  # tolerances; two sound runtimes are .2 apart, the slightest broken layer tried 4


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """`value`, which `description` names, must be `bound` at most, or where `is_least` at least."""

    name: str
    description: str
    value: float
    bound: float
    is_least: bool
    passed: bool

    def __str__(self) -> str:
        limit = "at least" if self.is_least else "allowed"
        return f"{self.description} {_written(self.value)}, {limit} {_written(self.bound)}"


@dataclass(frozen=True, slots=True)
class Verification:
    """How far a model is from its reference logits (an embedder: cosines) on this machine.

    `checks` are in the order of their weight; all of them passed.
    """

    model: str
    fingerprint: str
    runtime: str
    pairs: int
    max_difference: float
    tolerance: float
    max_difference_fp32: float
    checks: tuple[ModelCheck, ...]


@dataclass(frozen=True, slots=True)
class ReferenceLogits:
    """Logits, or an embedder's cosines, of a manifest's reference pairs, computed here.

    `alone` has each pair's as a batch of one, ``(pairs,)``. `crossed` has those of every query with
    every text, a query's texts in one batch, after each stage: ``(stages, queries, texts)``;
    `indices` says where in it the pairs are, as (query, text).
    """

    alone: Numbers
    crossed: Numbers
    indices: Sequence[tuple[int, int]]

    @property
    def among_others(self) -> Numbers:
        """The same pairs as `alone`, computed beside other texts."""
        queries, texts = np.array(self.indices).T
        logits: Numbers = self.crossed[-1, queries, texts]
        return logits


def crossing(
    pairs: Sequence[ReferencePair],
) -> tuple[list[str], list[str], list[tuple[int, int]]]:
    """Queries and texts without duplicates, and the indices of each pair's in them."""
    queries = list(dict.fromkeys(pair.query for pair in pairs))
    texts = list(dict.fromkeys(pair.text for pair in pairs))
    return queries, texts, [(queries.index(pair.query), texts.index(pair.text)) for pair in pairs]


def reference_logits(model: Model, pairs: Sequence[ReferencePair]) -> ReferenceLogits:
    """A reranker's logits; no cache is used. Raises `RuntimeFailure`."""
    queries, texts, indices = crossing(pairs)
    alone = [_stage_logits(model, pair.query, [pair.text])[-1, 0] for pair in pairs]
    crossed = np.stack([_stage_logits(model, query, texts) for query in queries], axis=1)
    return ReferenceLogits(np.array(alone), crossed, indices)


def _stage_logits(model: Model, query: str, texts: Sequence[str]) -> Numbers:
    """One query's texts through every stage, as one batch: ``(stages, texts)``."""
    prompt: TokenRow = model.query_row(query)
    rows = model.rows(prompt, texts)
    batch = Batch(rows, [model.query_states(prompt)] * len(rows))
    stages = []
    for stage in model.stages:
        batch, logits = stage(batch)
        batch = replace(batch, logits=logits)
        stages.append(logits)
    return np.array(stages, np.float64)


def references(manifest: Manifest) -> tuple[ReferencePair, ...]:
    """The manifest's reference pairs. Raises `ParityError` where there are none."""
    if not manifest.reference:
        raise ParityError(f"{manifest.name}: no reference pairs in its manifest; convert it again")
    return manifest.reference


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Each reference pair's number, ``(pairs,)``: computed here, where it was made, in float32."""

    measured: Numbers
    expected: Numbers
    exact: Numbers
    tolerance: float
    is_quantised: bool
    is_embedder: bool

    @property
    def name(self) -> str:
        return "cosine" if self.is_embedder else "logit"

    @property
    def head(self) -> str:
        """What is between a model's layers and its number."""
        return "pooling or prompt" if self.is_embedder else "head"

    @property
    def layers(self) -> str:
        """What else could be broken."""
        return "quantisation" if self.is_quantised else "weights"


def verified(manifest: Manifest, runtime: str, logits: ReferenceLogits) -> Verification:
    """Compare the logits with the manifest's.

    Raises `ParityError`: its line has the diagnosis and each check that did not pass.
    """
    numbers = _Numbers(
        logits.alone,
        np.array([pair.logit for pair in manifest.reference]),
        np.array([pair.logit_fp32 for pair in manifest.reference]),
        manifest.tolerance,
        is_quantised=not manifest.quantisation.startswith("none"),
        is_embedder=manifest.kind == "embedder",
    )
    checks = tuple(_checks(numbers, logits, manifest.exits))
    failed = [check for check in checks if not check.passed]
    if failed:
        diagnosis = _diagnosis(numbers, {check.name for check in failed})
        reasons = "; ".join(f"{check.name}: {check}" for check in failed)
        raise ParityError(f"{manifest.name} on {runtime}: {diagnosis} ({reasons})")
    return Verification(
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        runtime=runtime,
        pairs=len(numbers.measured),
        max_difference=float(np.abs(numbers.measured - numbers.expected).max()),
        tolerance=manifest.tolerance,
        max_difference_fp32=float(np.abs(numbers.measured - numbers.exact).max()),
        checks=checks,
    )


def _checks(
    numbers: _Numbers, logits: ReferenceLogits, exits: Sequence[Exit]
) -> Iterator[ModelCheck]:
    """All checks; only the first where not every number is finite."""
    values = np.concatenate([logits.alone, logits.crossed.ravel()])
    odd = int(np.count_nonzero(~np.isfinite(values)))
    yield _check("finite", f"{numbers.name}s that are NaN or infinite", odd, 0)
    if odd:
        return
    span = np.ptp(numbers.exact)
    if span > 2 * numbers.tolerance:  # else the references themselves hardly differ
        floor = FLAT * span
        yield _check(
            "head", "range of all reference pairs", np.ptp(numbers.measured), floor, is_least=True
        )
    off = np.abs(numbers.measured - numbers.expected).max()
    description = f"furthest {numbers.name} from its reference"
    yield _check("reference", description, off, numbers.tolerance)
    yield from _float32(numbers)
    off = np.abs(logits.alone - logits.among_others).max()
    yield _check("alone", "furthest between a pair alone and among others", off, ALONE)
    yield from check_exits(logits.crossed, exits)


def _float32(numbers: _Numbers) -> Iterator[ModelCheck]:
    """Whether quantisation left the model what it was."""
    off, span = np.abs(numbers.measured - numbers.exact), np.ptp(numbers.exact)
    description, floor = f"{numbers.name} from float32's", 2 * numbers.tolerance
    yield _check("float32", f"furthest {description}", off.max(), max(floor, FURTHEST * span))
    yield _check("float32", f"mean {description}", off.mean(), max(floor, MEAN * span))
    tau = agreement(numbers.measured, numbers.exact, floor)
    if tau is not None:
        yield _check("order", "Kendall's tau with float32", tau, ORDER, is_least=True)


def check_exits(crossed: Numbers, exits: Sequence[Exit]) -> Iterator[ModelCheck]:
    """Whether each exit tells more of the last logit than the one before, and keeps its bounds.

    Candidates of one query compete, so what an exit misses of all of them alike does not matter.
    `crossed` is ``(stages, queries, texts)``. An exit that is worse than the one before costs time
    but no quality if its bounds are right, so this is not checked when a model is loaded.
    """
    *early, final = crossed
    if final.size < CROSSED or final.shape[1] < 2:
        return
    gains = [final - logits for logits in early]
    spreads = [_within_query(logits).std() for logits in [final, *gains]]
    for number, (before, after) in enumerate(pairwise(spreads), 1):
        description = f"what exit {number} leaves open, against the step before,"
        yield _check(f"exit {number}", description, _ratio(after, before), WIDER)
    for number, (gained, exit_) in enumerate(zip(gains, exits, strict=False), 1):
        middle = gained - np.median(gained, axis=1, keepdims=True) + gain(exit_, 0.5)
        out = np.mean((middle < exit_.gains[0]) | (middle > exit_.gains[-1]))
        description = f"share outside the bounds of exit {number}"
        yield _check(f"exit {number}", description, float(out), OUTSIDE)
    widths = [gain(exit_, 0.95) - gain(exit_, 0.05) for exit_ in exits]
    for number, (before, after) in enumerate(pairwise(widths), 2):
        description = f"width of the bounds of exit {number}, against the exit before,"
        yield _check(f"exit {number}", description, _ratio(after, before), WIDER)


def agreement(logits: Numbers, exact: Numbers, apart: float) -> float | None:
    """Kendall's tau over pairs of numbers that are more than `apart` in `exact`; None for few."""
    first, second = np.triu_indices(len(exact), 1)
    wanted, actual = exact[first] - exact[second], logits[first] - logits[second]
    distinct = np.abs(wanted) > apart
    if distinct.sum() < FEWEST:
        return None
    return float((np.sign(wanted) * np.sign(actual))[distinct].mean())


def _within_query(values: Numbers) -> Numbers:
    """Less each query's mean."""
    centred: Numbers = values - values.mean(axis=1, keepdims=True)
    return centred


def _ratio(after: float, before: float) -> float:
    return after / before if before else float(after > 0)


def _check(
    name: str, description: str, value: float, bound: float, *, is_least: bool = False
) -> ModelCheck:
    """A check that NaN fails."""
    passed = value >= bound if is_least else value <= bound
    return ModelCheck(name, description, float(value), float(bound), is_least, bool(passed))


def _written(value: float) -> str:
    return f"{value:.4f}" if 0 < abs(value) < 1 else f"{value:.4g}"


def _diagnosis(numbers: _Numbers, failed: set[str]) -> str:
    """The likeliest cause of the `failed` checks, and what to do."""
    if "finite" in failed:
        return f"broken {numbers.layers}: not every number is one; convert it again"
    if failed & {"head", "reference", "float32", "order"}:
        return _cause(numbers, failed)
    if "alone" in failed:
        return "a score depends on what is read beside it; set RESIFT_RUNTIME to another runtime"
    return "its exits are not those that were measured; convert it again"


def _cause(numbers: _Numbers, failed: set[str]) -> str:
    measured, exact = numbers.measured, numbers.exact
    head, layers = numbers.head, numbers.layers
    tau = agreement(measured, exact, 2 * numbers.tolerance)
    if tau is not None and tau >= ORDER and np.abs(measured - sigmoid(exact)).max() <= SQUASHED:
        return f"wrong {head}: a sigmoid stands on top of the logit; convert it again"
    if "head" in failed:
        return _cause_of_one_number(numbers)
    if "reference" not in failed:
        return f"broken {layers}, and so from the day it was converted; convert it again"
    if tau is None:
        return "the model or the runtime is broken here; convert it again, with more pairs"
    if tau <= -ORDER:
        return f"wrong {head}: the order is reversed, as another label's is; convert it again"
    if tau < ORDER:
        # Few pairs cannot tell other weights from weights that are broken beyond recognition.
        broken = ", unless the quantisation is quite broken" if numbers.is_quantised else ""
        return (
            f"wrong {head} or the weights of another model: nothing follows the references{broken};"
            " copy or convert it again"
        )
    if np.abs(measured - numbers.expected).max() <= NEAR * numbers.tolerance:
        return "this processor or runtime computes otherwise; set RESIFT_RUNTIME to another runtime"
    if _is_straight(measured, numbers.expected):
        return f"wrong {head}: another scale or bias, all else as it was; convert it again"
    return f"broken {layers}: in order, and off by more than a runtime is; convert it again"


def _cause_of_one_number(numbers: _Numbers) -> str:
    """Softmax over one label is 1, its logarithm 0; broken layers give another number."""
    head, first = numbers.head, float(numbers.measured[0])
    if not np.ptp(numbers.measured) and first in (0.0, 1.0):
        return f"wrong {head}: {first:g} for every pair, as softmax over one label gives"
    return (
        f"wrong {head} or broken {numbers.layers}: the same number for every pair; convert it again"
    )


def _is_straight(measured: Numbers, expected: Numbers) -> bool:
    """Whether a scale and a bias explain nearly all of the difference."""
    if len(measured) < STRAIGHT:
        return False
    scale, bias = np.polyfit(expected, measured, 1)
    left = np.abs(measured - (scale * expected + bias)).max()
    return bool(left <= min(np.abs(measured - expected).max(), np.ptp(measured)) / 10)
