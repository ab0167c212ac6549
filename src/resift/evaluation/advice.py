"""Which depth and weight to use, and a verdict in a sentence.

The best of many settings looks better than it is. So advice is limited to settings that are
significantly better at level `ALPHA`, with p-values corrected for all tried settings (S. Holm: A
simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from resift.evaluation.measures import PRIMARY, QueryValues, mean
from resift.evaluation.result import Advice, Evaluation, Row
from resift.evaluation.significance import PairedTest, holm, paired_test_by_query

ALPHA = 0.05
ENOUGH = 0.95  # of the greatest gain

Option = TypeVar("Option", int, float)


@dataclass(frozen=True, slots=True)
class Trials:
    """Values of the primary measure, by query, for each setting that was tried.

    `by_depth` are at the system's own fusion weight; `by_weight` maps a depth to other weights.
    """

    first_stage: QueryValues
    by_depth: Mapping[int, QueryValues]
    by_weight: Callable[[int], Mapping[float, QueryValues]]


def advise(rows: Sequence[Row], trials: Trials, target_ms: float | None) -> Advice:
    """Advise the smallest depth with most of the gain, and a weight if it is better still.

    Considers only depths within the target. The advised depth is 0 if none is fast enough, or if
    none is significantly better than the first stage.
    """
    in_time = [row for row in rows if _is_within(row, target_ms)]
    before = mean(trials.first_stage)
    if not in_time:
        reason = f"do not rerank: no depth's p95 is known to be below {target_ms:g} ms"
        return Advice(reason, before)
    p_by_depth = _better_depths(trials, [row.depth for row in in_time])
    best = _smallest_sufficient(in_time, before, p_by_depth)
    reference = trials.by_depth[best.depth] if best else trials.first_stage
    row = best or in_time[-1]
    weight, values, p = _best_weight(reference, trials.by_weight(row.depth))
    if best is None and weight is None:
        return Advice(_nothing_better(trials, in_time), before)
    if best is None:
        reason = "at the model's own weight no depth is significantly better than the first stage"
    else:
        reason = f"the smallest depth with {ENOUGH:.0%} of the greatest gain"
        reason += f" below {target_ms:g} ms" if target_ms is not None else ""
        p = max(p, p_by_depth[best.depth])
    greatest_gain = max(row.measures[PRIMARY] for row in rows) - before
    return Advice(
        reason=reason,
        quality=row.measures[PRIMARY] if weight is None else mean(values),
        depth=row.depth,
        fusion_weight=weight,
        gain_share=(row.measures[PRIMARY] - before) / greatest_gain if best else None,
        time_share=_time_share(row, rows[-1]),
        latency=row.latency,
        p=p,
    )


def _better_depths(trials: Trials, depths: Sequence[int]) -> dict[int, float]:
    """Depths significantly better than the first stage, with their corrected p-values.

    The greatest depth is tested first and alone, as for the verdict. If it is better, the others
    are corrected for their own number; otherwise for the number of all.
    """
    greatest = depths[-1]
    p = _p_value(trials.first_stage, trials.by_depth[greatest])
    if p < ALPHA:
        others = {depth: trials.by_depth[depth] for depth in depths[:-1]}
        return {**_better(trials.first_stage, others), greatest: p}
    return _better(trials.first_stage, {depth: trials.by_depth[depth] for depth in depths})


def _best_weight(
    reference: QueryValues, by_weight: Mapping[float, QueryValues]
) -> tuple[float | None, QueryValues, float]:
    """The best weight that is significantly better than the reference, its values and p-value."""
    better = _better(reference, by_weight)
    if not better:
        return None, reference, 0.0
    best = max(better, key=lambda weight: mean(by_weight[weight]))
    return best, by_weight[best], better[best]


def _better(reference: QueryValues, trials: Mapping[Option, QueryValues]) -> dict[Option, float]:
    """Settings significantly better than the reference, with corrected p-values."""
    corrected = holm([_p_value(reference, values) for values in trials.values()])
    return {option: p for option, p in zip(trials, corrected, strict=True) if p < ALPHA}


def _p_value(before: QueryValues, after: QueryValues) -> float:
    """The p-value of an improvement; 1 if `after` is no better."""
    if not sum(after.values()) > sum(before.values()):
        return 1.0
    return paired_test_by_query(before, {query_id: after[query_id] for query_id in before}).p


def _smallest_sufficient(
    rows: Sequence[Row], before: float, better: Mapping[int, float]
) -> Row | None:
    """The smallest better depth with `ENOUGH` of the gain of the best depth."""
    gains = {row.depth: row.measures[PRIMARY] - before for row in rows if row.depth in better}
    greatest = max(gains.values(), default=0.0)
    return next((row for row in rows if gains.get(row.depth, -1.0) >= ENOUGH * greatest), None)


def _nothing_better(trials: Trials, rows: Sequence[Row]) -> str:
    greatest = rows[-1].depth
    if _p_value(trials.by_depth[greatest], trials.first_stage) < ALPHA:
        return f"do not rerank: depth {greatest} is worse than the first stage"
    settings = "depth and no weight" if trials.by_weight(greatest) else "depth"
    return (
        f"no {settings} is significantly better than the first stage on {len(trials.first_stage)} "
        "queries; keep your current settings, or judge more"
    )


def _is_within(row: Row, target_ms: float | None) -> bool:
    return target_ms is None or (row.latency is not None and row.latency.p95 <= target_ms)


def _time_share(row: Row, greatest: Row) -> float | None:
    """The share of the greatest depth's time; None if unknown or not smaller."""
    if not (row.latency and greatest.latency and row.latency.p50 < greatest.latency.p50):
        return None
    return row.latency.p50 / greatest.latency.p50


def verdict(compared: PairedTest | None, rows: Sequence[Row], advice: Advice | None) -> str:
    """A sentence: does reranking help, how significantly, and how many queries does it hurt?"""
    if compared is None or advice is None:
        return "cannot tell: there are no judgments"
    if not compared.difference:
        effect = "changes nothing"
    elif compared.p >= ALPHA:
        effect = "no difference shown"
    else:
        effect = "helps" if compared.difference > 0 else "hurts"
    before, after = format_measure(compared.before), format_measure(compared.after)
    judged = compared.better + compared.worse + compared.equal
    listed = ", list below" if compared.worse else ""
    parts = [
        f"{effect}: {PRIMARY} {before} → {after}, {format_p(compared.p)}",
        *_alternatives(effect, advice, rows[-1].depth),
        f"hurts {compared.worse} of {judged} queries{listed}",
    ]
    return "; ".join(parts)


def _alternatives(effect: str, advice: Advice, greatest: int) -> list[str]:
    """Parts of the verdict that recommend another setting than the greatest depth."""
    if not advice.depth:
        return [advice.reason] if advice.reason.startswith("do not rerank") else []
    if effect != "helps":
        settings = f"depth {advice.depth}"
        if advice.fusion_weight is not None:
            settings += f" with fusion_weight={advice.fusion_weight:g}"
        return [f"{settings} is better, {format_measure(advice.quality)}"]
    if advice.depth < greatest and advice.gain_share is not None:
        time = f" at {advice.time_share:.0%} of the time" if advice.time_share is not None else ""
        return [f"depth {advice.depth} gives {advice.gain_share:.0%} of the gain{time}"]
    return []


def format_advice(advice: Advice) -> str:
    """The advised settings and the reason."""
    if not advice.depth:
        return advice.reason
    weight = "the model's own weight of the first stage"
    if advice.fusion_weight is not None:
        weight = (
            f"fusion_weight={advice.fusion_weight:g} (the best of the significantly better weights)"
        )
    p = f", {format_p(advice.p)} corrected for all tried settings" if advice.p is not None else ""
    return f"depth={advice.depth} ({advice.reason}), {weight}{p}"


def format_first_stage_cost(evaluation: Evaluation) -> str:
    """The first stage's latency and requests; empty if they are unknown."""
    parts = []
    if evaluation.first_latency:
        parts.append(f"p50 {evaluation.first_latency.p50:.0f} ms")
        parts.append(f"p95 {evaluation.first_latency.p95:.0f} ms")
    if evaluation.requests:
        parts.append(f"{evaluation.requests:.1f} requests a query")
    return ", ".join(parts)


def format_measure(value: float) -> str:
    """A measure as papers write it: .660."""
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else f"{value:.3f}"


def format_p(p: float) -> str:
    """``p = 0.03``, rounded to the precision of resampling."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def format_p_cell(p: float) -> str:
    """A p-value as a table cell."""
    return format_p(p).removeprefix("p ").removeprefix("= ")
