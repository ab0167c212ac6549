"""Verification of a model: its logits here, compared with the reference logits in its manifest.

`reference_logits` runs the reference pairs. Each check compares a number with a bound. `_diagnosis`
names the likely cause of failed checks: a wrong head, a broken quantisation, this machine. There
are only 6 or 8 reference pairs, so the bounds are far from the numbers of any sound model.
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

MAX_DIFFERENCE, MEAN_DIFFERENCE = 0.15, 0.06
"""Of int8 logits from float32 ones, as a share of their range. Sound models: .11 and .05."""

MIN_TAU = 0.8
"""Of Kendall. One swap among six pairs gives .87; unrelated numbers reach .8 in 1 of 120 cases."""

MIN_COMPARISONS = 3  # fewer show nothing about an order
MIN_RANGE = 0.01  # as a share of float32's; with a smaller range all numbers are the same
MAX_BATCH_EFFECT = 1e-3  # on a logit; another order of summation changes it by 1e-5

MAX_GROWTH = 1.25
"""Of an exit's error (the standard deviation of final logit minus the exit's) over that of the exit
before. Sound exits: .9 at most. Without an exit before, a random exit has 1.4, a reversed one 2."""

MAX_OUTSIDE = 0.2  # share of gains outside an exit's bounds. Sound exits: .04
MIN_CROSSED = 16  # query-text combinations; with fewer, exits are not checked

SIGMOID_DIFFERENCE = 0.02  # of logits from the sigmoid of float32's: a second sigmoid
MIN_FIT_PAIRS = 5  # for a line that explains nine tenths of the difference
RUNTIME_TOLERANCES = (
    2  # two sound runtimes differ by .2 tolerances, the slightest broken layer tried by 4
)


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """The `value` of `description` must be at most `bound`, or at least with `is_least`."""

    name: str
    description: str
    value: float
    bound: float
    is_least: bool
    passed: bool

    def __str__(self) -> str:
        limit = "at least" if self.is_least else "allowed"
        return f"{self.description} {_format(self.value)}, {limit} {_format(self.bound)}"


@dataclass(frozen=True, slots=True)
class Verification:
    """How far a model's logits (an embedder's cosines) are from its references on this machine.

    All `checks` passed; the most important ones come first.
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

    `alone` has the logit of each pair in a batch of one, ``(pairs,)``. `crossed` has the logits of
    every query with every text after each stage, ``(stages, queries, texts)``; a query's texts ran
    in one batch. `indices` are the pairs' (query, text) in it.
    """

    alone: Numbers
    crossed: Numbers
    indices: Sequence[tuple[int, int]]

    @property
    def among_others(self) -> Numbers:
        """The same pairs as `alone`, from batches with other texts."""
        queries, texts = np.array(self.indices).T
        logits: Numbers = self.crossed[-1, queries, texts]
        return logits


def crossing(
    pairs: Sequence[ReferencePair],
) -> tuple[list[str], list[str], list[tuple[int, int]]]:
    """Queries and texts without duplicates, and the indices of each pair in them."""
    queries = list(dict.fromkeys(pair.query for pair in pairs))
    texts = list(dict.fromkeys(pair.text for pair in pairs))
    return queries, texts, [(queries.index(pair.query), texts.index(pair.text)) for pair in pairs]


def reference_logits(model: Model, pairs: Sequence[ReferencePair]) -> ReferenceLogits:
    """A reranker's logits, without a cache. Raises `RuntimeFailure`."""
    queries, texts, indices = crossing(pairs)
    alone = [_stage_logits(model, pair.query, [pair.text])[-1, 0] for pair in pairs]
    crossed = np.stack([_stage_logits(model, query, texts) for query in queries], axis=1)
    return ReferenceLogits(np.array(alone), crossed, indices)


def _stage_logits(model: Model, query: str, texts: Sequence[str]) -> Numbers:
    """The logits of one query's texts in one batch, ``(stages, texts)``."""
    prompt: TokenRow = model.query_row(query)
    rows = model.rows(prompt, texts)
    batch = Batch(rows, [model.query_states(prompt)] * len(rows))
    stages = []
    for stage in model.stages:
        batch, logits = stage(batch)
        batch = replace(batch, logits=logits)
        stages.append(logits)
    return np.array(stages, np.float64)


def reference_pairs(manifest: Manifest) -> tuple[ReferencePair, ...]:
    """The manifest's reference pairs. Raises `ParityError` if it has none."""
    if not manifest.reference:
        raise ParityError(f"{manifest.name}: no reference pairs in its manifest; convert it again")
    return manifest.reference


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Logits or cosines of the reference pairs, ``(pairs,)``.

    `measured` are from here, `expected` from where the model was made, `exact` in float32.
    """

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
        """The part of the model between its layers and the number."""
        return "pooling or prompt" if self.is_embedder else "head"

    @property
    def layers(self) -> str:
        """The other part that may be broken."""
        return "quantisation" if self.is_quantised else "weights"


def compare_with_references(
    manifest: Manifest, runtime: str, logits: ReferenceLogits
) -> Verification:
    """Compare logits with those in the manifest.

    Raises `ParityError` with a diagnosis and each failed check.
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
    """All checks; only the first one if a number is not finite."""
    values = np.concatenate([logits.alone, logits.crossed.ravel()])
    count = int(np.count_nonzero(~np.isfinite(values)))
    yield _check("finite", f"{numbers.name}s that are NaN or infinite", count, 0)
    if count:
        return
    span = np.ptp(numbers.exact)
    if span > 2 * numbers.tolerance:  # else the references hardly differ
        floor = MIN_RANGE * span
        yield _check(
            "head", "range of all reference pairs", np.ptp(numbers.measured), floor, is_least=True
        )
    off = np.abs(numbers.measured - numbers.expected).max()
    description = f"furthest {numbers.name} from its reference"
    yield _check("reference", description, off, numbers.tolerance)
    yield from _float32(numbers)
    off = np.abs(logits.alone - logits.among_others).max()
    yield _check("alone", "furthest between a pair alone and among others", off, MAX_BATCH_EFFECT)
    yield from check_exits(logits.crossed, exits)


def _float32(numbers: _Numbers) -> Iterator[ModelCheck]:
    """Whether the quantised model is close to the one in float32."""
    off, span = np.abs(numbers.measured - numbers.exact), np.ptp(numbers.exact)
    description, floor = f"{numbers.name} from float32's", 2 * numbers.tolerance
    yield _check("float32", f"furthest {description}", off.max(), max(floor, MAX_DIFFERENCE * span))
    yield _check("float32", f"mean {description}", off.mean(), max(floor, MEAN_DIFFERENCE * span))
    tau = agreement(numbers.measured, numbers.exact, floor)
    if tau is not None:
        yield _check("order", "Kendall's tau with float32", tau, MIN_TAU, is_least=True)


def check_exits(crossed: Numbers, exits: Sequence[Exit]) -> Iterator[ModelCheck]:
    """Whether each exit predicts the final logit better than the one before, within its bounds.

    Candidates of one query compete, so an error that all of them share does not matter. `crossed`
    is ``(stages, queries, texts)``. These checks do not run when a model is loaded: a bad exit with
    the right bounds costs time and no quality.
    """
    *early, final = crossed
    if final.size < MIN_CROSSED or final.shape[1] < 2:
        return
    gains = [final - logits for logits in early]
    spreads = [np.sqrt(values.var(axis=1).mean()) for values in [final, *gains]]
    for number, (before, after) in enumerate(pairwise(spreads), 1):
        description = f"error of exit {number} over that of the step before"
        yield _check(f"exit {number}", description, _ratio(after, before), MAX_GROWTH)
    for number, (gained, exit_) in enumerate(zip(gains, exits, strict=False), 1):
        middle = gained - np.median(gained, axis=1, keepdims=True) + gain(exit_, 0.5)
        out = np.mean((middle < exit_.gains[0]) | (middle > exit_.gains[-1]))
        description = f"share outside the bounds of exit {number}"
        yield _check(f"exit {number}", description, float(out), MAX_OUTSIDE)
    widths = [gain(exit_, 0.95) - gain(exit_, 0.05) for exit_ in exits]
    for number, (before, after) in enumerate(pairwise(widths), 2):
        description = f"width of the bounds of exit {number} over that of the exit before"
        yield _check(f"exit {number}", description, _ratio(after, before), MAX_GROWTH)


def agreement(logits: Numbers, exact: Numbers, apart: float) -> float | None:
    """Kendall's tau over pairs that differ by over `apart` in `exact`; None for too few pairs."""
    first, second = np.triu_indices(len(exact), 1)
    wanted, actual = exact[first] - exact[second], logits[first] - logits[second]
    distinct = np.abs(wanted) > apart
    if distinct.sum() < MIN_COMPARISONS:
        return None
    return float((np.sign(wanted) * np.sign(actual))[distinct].mean())


def _ratio(after: float, before: float) -> float:
    return after / before if before else float(after > 0)


def _check(
    name: str, description: str, value: float, bound: float, *, is_least: bool = False
) -> ModelCheck:
    """A check; NaN does not pass."""
    passed = value >= bound if is_least else value <= bound
    return ModelCheck(name, description, float(value), float(bound), is_least, bool(passed))


def _format(value: float) -> str:
    return f"{value:.4f}" if 0 < abs(value) < 1 else f"{value:.4g}"


def _diagnosis(numbers: _Numbers, failed: set[str]) -> str:
    """The likeliest cause of the `failed` checks, and a remedy."""
    if "finite" in failed:
        return f"broken {numbers.layers}: not every {numbers.name} is a number; convert it again"
    if failed & {"head", "reference", "float32", "order"}:
        return _cause(numbers, failed)
    if "alone" in failed:
        return "a score depends on the rest of its batch; set RESIFT_RUNTIME to another runtime"
    return "its exits differ from the measured ones; convert it again"


def _cause(numbers: _Numbers, failed: set[str]) -> str:
    measured, exact = numbers.measured, numbers.exact
    head, layers = numbers.head, numbers.layers
    tau = agreement(measured, exact, 2 * numbers.tolerance)
    if (
        tau is not None
        and tau >= MIN_TAU
        and np.abs(measured - sigmoid(exact)).max() <= SIGMOID_DIFFERENCE
    ):
        return f"wrong {head}: it applies a sigmoid to the logit; convert it again"
    if "head" in failed:
        return _cause_of_one_number(numbers)
    if "reference" not in failed:
        return f"broken {layers} since it was converted; convert it again"
    if tau is None:
        return "the model or the runtime is broken here; convert it again, with more pairs"
    if tau <= -MIN_TAU:
        return f"wrong {head}: the order is reversed, as with another label; convert it again"
    if tau < MIN_TAU:
        # With few pairs, other weights and badly broken weights look the same.
        broken = ", or the quantisation is badly broken" if numbers.is_quantised else ""
        return (
            f"wrong {head} or the weights of another model: the order is unrelated{broken};"
            " copy or convert it again"
        )
    if np.abs(measured - numbers.expected).max() <= RUNTIME_TOLERANCES * numbers.tolerance:
        return "other numbers on this processor or runtime; set RESIFT_RUNTIME to another runtime"
    if _is_linear(measured, numbers.expected):
        return f"wrong {head}: only its scale or bias differs; convert it again"
    return f"broken {layers}: in order, but off by more than runtimes differ; convert it again"


def _cause_of_one_number(numbers: _Numbers) -> str:
    """Softmax over one label gives 1, its logarithm 0; broken layers give another number."""
    head, first = numbers.head, float(numbers.measured[0])
    if not np.ptp(numbers.measured) and first in (0.0, 1.0):
        return f"wrong {head}: {first:g} for every pair, as softmax over one label gives"
    return (
        f"wrong {head} or broken {numbers.layers}: the same number for every pair; convert it again"
    )


def _is_linear(measured: Numbers, expected: Numbers) -> bool:
    """Whether a scale and a bias explain nearly all of the difference."""
    if len(measured) < MIN_FIT_PAIRS:
        return False
    scale, bias = np.polyfit(expected, measured, 1)
    residual = np.abs(measured - (scale * expected + bias)).max()
    return bool(residual <= min(np.abs(measured - expected).max(), np.ptp(measured)) / 10)
