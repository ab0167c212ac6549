"""What to do with the figures: a depth, a weight, and a sentence. Pure.

Of many things tried the best looks better than it is. So what is advised was shown to be better
than what there was, at `SURE`, with p-values corrected for all that was tried (S. Holm: A simple
sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from resift.evaluation.measures import PRIMARY
from resift.evaluation.result import Advice, Evaluation, Row
from resift.evaluation.significance import Paired, holm, paired

SURE = 0.05
ENOUGH = 0.95  # of the greatest gain

Key = TypeVar("Key", int, float)
Values = Mapping[str, float]
"""Query → the main measure."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What was measured, by query: the first stage, each depth at the setting's own weight.

    `by_weight` gives other weights of the first stage's scores at a depth.
    """

    first: Values
    by_depth: Mapping[int, Values]
    by_weight: Callable[[int], Mapping[float, Values]]


def advise(rows: Sequence[Row], tried: Tried, target_ms: float | None) -> Advice:
    """The least depth with most of the gain, and another weight where that is better still.

    Only depths within the target count, where one is given. Depth 0 where nothing was shown to be
    better than the first stage, or where nothing is quick enough.
    """
    in_time = [row for row in rows if _within(row, target_ms)]
    before = _mean(tried.first)
    if not in_time:
        why = f"do not rerank: no depth's p95 is known to be below {target_ms:g} ms"
        return Advice(0, None, before, None, None, None, why)
    shown = _shown_depths(tried, [row.depth for row in in_time])
    row = _least(in_time, before, shown)
    reference = tried.first if row is None else tried.by_depth[row.depth]
    at = in_time[-1] if row is None else row
    weight, values, p = _shown_weight(reference, tried.by_weight(at.depth))
    if row is None and weight is None:
        return Advice(0, None, before, None, None, None, _nothing(tried, in_time))
    if row is None:
        why = "at the model's own weight no depth is shown to be better than the first stage"
    else:
        why = f"the least depth with {ENOUGH:.0%} of the greatest gain"
        why += f" below {target_ms:g} ms" if target_ms is not None else ""
        p = max(p, shown[row.depth])
    most = max(own.measures[PRIMARY] for own in rows) - before
    return Advice(
        at.depth,
        weight,
        at.measures[PRIMARY] if weight is None else _mean(values),
        (at.measures[PRIMARY] - before) / most if row is not None else None,
        _time(at, rows[-1]),
        at.latency,
        why,
        p,
    )


def _shown_depths(tried: Tried, depths: Sequence[int]) -> dict[int, float]:
    """Depths that are better than the first stage, with their corrected p-values.

    The deepest is asked about first, as the verdict asks, and alone; where it is better the others
    are corrected among themselves, and where it is not among all.
    """
    deepest = depths[-1]
    p = _p(tried.first, tried.by_depth[deepest])
    if p < SURE:
        others = {depth: tried.by_depth[depth] for depth in depths[:-1]}
        return {**_better(tried.first, others), deepest: p}
    return _better(tried.first, {depth: tried.by_depth[depth] for depth in depths})


def _shown_weight(
    reference: Values, by_weight: Mapping[float, Values]
) -> tuple[float | None, Values, float]:
    """The best weight of those that are better than the reference; None where none is."""
    shown = _better(reference, by_weight)
    if not shown:
        return None, reference, 0.0
    best = max(shown, key=lambda weight: _mean(by_weight[weight]))
    return best, by_weight[best], shown[best]


def _better(reference: Values, tried: Mapping[Key, Values]) -> dict[Key, float]:
    """What is better than the reference, with p-values corrected for all that was tried."""
    corrected = holm([_p(reference, values) for values in tried.values()])
    return {key: p for key, p in zip(tried, corrected, strict=True) if p < SURE}


def _p(before: Values, after: Values) -> float:
    """By chance alone; 1 where it is no better."""
    if not sum(after.values()) > sum(before.values()):
        return 1.0
    compared = paired(list(before.values()), [after[query_id] for query_id in before])
    return max(compared.p_bootstrap, compared.p_randomisation)


def _least(rows: Sequence[Row], before: float, shown: Mapping[int, float]) -> Row | None:
    """The least shown depth with `ENOUGH` of the gain of the best of them."""
    better = [row for row in rows if row.depth in shown]
    most = max((row.measures[PRIMARY] - before for row in better), default=0.0)
    return next((row for row in better if row.measures[PRIMARY] - before >= ENOUGH * most), None)


def _nothing(tried: Tried, rows: Sequence[Row]) -> str:
    """Why nothing is advised."""
    deepest = rows[-1].depth
    if _p(tried.by_depth[deepest], tried.first) < SURE:
        return f"do not rerank: depth {deepest} is worse than the first stage"
    what = "depth and no weight" if tried.by_weight(deepest) else "depth"
    return (
        f"no {what} is shown to be better than the first stage by {len(tried.first)} queries; "
        "keep what you have, or judge more"
    )


def _time(row: Row, deepest: Row) -> float | None:
    """The part of the deepest's milliseconds; None where that is not known, or is no saving."""
    if not (row.latency and deepest.latency and row.latency.p50 < deepest.latency.p50):
        return None
    return row.latency.p50 / deepest.latency.p50


def verdict(compared: Paired | None, rows: Sequence[Row], advice: Advice | None) -> str:
    """One sentence: does it help, how sure is that, what gives a lesser depth, whom it hurts."""
    if compared is None or advice is None:
        return "cannot tell: there are no judgments"
    p = max(compared.p_bootstrap, compared.p_randomisation)
    if not compared.difference:
        word = "changes nothing"
    elif p >= SURE:
        word = "no difference shown"
    else:
        word = "helps" if compared.difference > 0 else "hurts"
    parts = [
        f"{word}: {PRIMARY} {short(compared.before)} → {short(compared.after)}, {chance(p)}",
        *_more(word, advice, rows[-1].depth),
    ]
    judged = compared.better + compared.worse + compared.equal
    listed = ", list below" if compared.worse else ""
    parts.append(f"hurts {compared.worse} of {judged} queries{listed}")
    return "; ".join(parts)


def _more(word: str, advice: Advice, deepest: int) -> list[str]:
    """What the advice adds to the verdict on the greatest depth."""
    if not advice.depth:
        return [advice.why] if advice.why.startswith("do not rerank") else []
    if word != "helps":
        how = f"depth {advice.depth}"
        if advice.fusion_weight is not None:
            how += f" with fusion_weight={advice.fusion_weight:g}"
        return [f"{how} is better, {short(advice.quality)}"]
    if advice.depth < deepest and advice.share is not None:
        at = f" at {_part(advice.time)} the time" if advice.time is not None else ""
        return [f"depth {advice.depth} gives {advice.share:.0%} of the gain{at}"]
    return []


def in_words(advice: Advice) -> str:
    """What to set, and why."""
    if not advice.depth:
        return advice.why
    weight = "the model's own weight of the first stage"
    if advice.fusion_weight is not None:
        weight = f"fusion_weight={advice.fusion_weight:g} (the best of those shown to be better)"
    sure = f", {chance(advice.p)} corrected for all that was tried" if advice.p is not None else ""
    return f"depth={advice.depth} ({advice.why}), {weight}{sure}"


def first_cost(found: Evaluation) -> str:
    """What the first stage takes a query; empty where that is not known."""
    parts = []
    if found.first_latency:
        parts.append(f"p50 {found.first_latency.p50:.0f} ms")
        parts.append(f"p95 {found.first_latency.p95:.0f} ms")
    if found.requests:
        parts.append(f"{found.requests:.1f} requests a query")
    return ", ".join(parts)


def short(value: float) -> str:
    """A measure as papers write it: .66."""
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else f"{value:.3f}"


def chance(p: float) -> str:
    """A p-value as far as resampling knows it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def chance_alone(p: float) -> str:
    """The same for a column of them."""
    return chance(p).removeprefix("p ").removeprefix("= ")


def _mean(values: Values) -> float:
    return sum(values.values()) / len(values)


def _within(row: Row, target_ms: float | None) -> bool:
    return target_ms is None or (row.latency is not None and row.latency.p95 <= target_ms)


def _part(share: float) -> str:
    names = {0.5: "half", 0.33: "a third of", 0.25: "a quarter of", 0.2: "a fifth of"}
    near = min(names, key=lambda each: abs(each - share))
    return names[near] if abs(near - share) <= 0.04 else f"{share:.0%} of"
