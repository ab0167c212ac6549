"""What to do with the figures: a depth, a weight, and a sentence. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resift.evaluation.measures import PRIMARY
from resift.evaluation.result import Advice, Evaluation, Latency, Row
from resift.evaluation.significance import Paired, paired

SURE = 0.05
ENOUGH = 0.95  # of the greatest gain


@dataclass(frozen=True, slots=True)
class Depth:
    """The depth to take, 0 for none, and why."""

    depth: int
    quality: float
    share: float | None
    time: float | None
    latency: Latency | None
    why: str

    def with_weight(
        self, by_weight: Mapping[float, Mapping[str, float]], own: Mapping[str, float]
    ) -> Advice:
        """Another weight of the first stage's scores, where it is surely better than the own."""
        weight, quality = None, self.quality
        if by_weight and self.depth:
            best = max(by_weight, key=lambda each: sum(by_weight[each].values()))
            found = paired(list(own.values()), [by_weight[best][query_id] for query_id in own])
            if found.difference > 0 and found.p_randomisation < SURE:
                weight, quality = best, found.after
        return Advice(self.depth, weight, quality, self.share, self.time, self.latency, self.why)


def advise(rows: Sequence[Row], compared: Paired, target_ms: float | None) -> Depth:
    """The least depth with most of the gain, within the target where one is given.

    Where reranking helps at no depth, or none is quick enough, it is not to rerank.
    """
    before, deepest = compared.before, rows[-1]
    in_time = [row for row in rows if _within(row, target_ms)]
    if not in_time:
        why = f"no depth's p95 is known to be below {target_ms:g} ms"
        return Depth(0, before, None, None, None, why)
    best = max(in_time, key=lambda row: row.measures[PRIMARY])
    gain = best.measures[PRIMARY] - before
    if gain <= 0:
        return Depth(0, before, None, None, None, "no depth is better than the first stage")
    row = next(own for own in in_time if own.measures[PRIMARY] - before >= ENOUGH * gain)
    most = max(own.measures[PRIMARY] for own in rows) - before
    time = None
    if row.latency and deepest.latency and deepest.latency.p50 > 0:
        time = row.latency.p50 / deepest.latency.p50
    why = f"the least depth with {ENOUGH:.0%} of the greatest gain"
    if target_ms is not None:
        why += f" below {target_ms:g} ms"
    share = (row.measures[PRIMARY] - before) / most
    return Depth(row.depth, row.measures[PRIMARY], share, time, row.latency, why)


def verdict(compared: Paired | None, rows: Sequence[Row], advice: Advice | None) -> str:
    """One sentence: does it help, how sure is that, what gives a lesser depth, whom it hurts."""
    if compared is None or advice is None:
        return "cannot tell: there are no judgments"
    change = f"{PRIMARY} {short(compared.before)} → {short(compared.after)}"
    sure = max(compared.p_bootstrap, compared.p_randomisation) < SURE
    if not compared.difference:
        word = "changes nothing"
    elif not sure:
        word = "no difference shown"
    else:
        word = "helps" if compared.difference > 0 else "hurts"
    parts = [f"{word}: {change}, {chance(max(compared.p_bootstrap, compared.p_randomisation))}"]
    deepest = rows[-1].depth
    if not advice.depth:
        parts.append(f"do not rerank: {advice.why}")
    elif word != "helps":
        if advice.depth < deepest:
            parts.append(f"depth {advice.depth} is better, {short(advice.quality)}")
    elif advice.depth < deepest and advice.share is not None:
        at = f" at {_part(advice.time)} the time" if advice.time is not None else ""
        parts.append(f"depth {advice.depth} gives {advice.share:.0%} of the gain{at}")
    judged = compared.better + compared.worse + compared.equal
    listed = ", list below" if compared.worse else ""
    parts.append(f"hurts {compared.worse} of {judged} queries{listed}")
    return "; ".join(parts)


def in_words(advice: Advice) -> str:
    """What to set, and why."""
    if not advice.depth:
        return f"do not rerank ({advice.why})"
    weight = "the model's own weight of the first stage"
    if advice.fusion_weight is not None:
        weight = f"fusion_weight={advice.fusion_weight:g} (chosen on these queries)"
    return f"depth={advice.depth} ({advice.why}), {weight}"


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


def _within(row: Row, target_ms: float | None) -> bool:
    return target_ms is None or (row.latency is not None and row.latency.p95 <= target_ms)


def _part(share: float) -> str:
    names = {0.5: "half", 0.33: "a third of", 0.25: "a quarter of", 0.2: "a fifth of"}
    near = min(names, key=lambda each: abs(each - share))
    return names[near] if abs(near - share) <= 0.04 else f"{share:.0%} of"
