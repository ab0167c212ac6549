"""Advice and verdict for given figures; none where no difference is significant."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from resift.evaluation import significance
from resift.evaluation.advice import (
    Trials,
    advise,
    format_advice,
    format_measure,
    format_p,
    verdict,
)
from resift.evaluation.measures import PRIMARY, QueryValues
from resift.evaluation.result import Advice, Latency, Row
from resift.evaluation.significance import holm, paired_test

DEPTHS = (10, 20, 50, 100)
FIRST = {f"q{n}": 0.5 + n % 7 / 100 for n in range(40)}
BEFORE = sum(FIRST.values()) / 40  # 0.5285


def shifted(by: float, spread: float = 0.01, values: QueryValues = FIRST) -> QueryValues:
    """Every query's value moved by about the same."""
    return {query: value + by + (spread, -spread)[n % 2] for n, (query, value) in
            enumerate(values.items())}  # fmt: skip


class Case:
    """Four depths with the given gains over the first stage, and weights."""

    def __init__(
        self,
        *gains: float | QueryValues,
        weights: Mapping[float, QueryValues] | None = None,
        ms: float = 1.0,
    ) -> None:
        by_depth = {
            depth: shifted(gain) if isinstance(gain, float) else gain
            for depth, gain in zip(DEPTHS, gains, strict=True)
        }
        self.rows = [
            Row(depth, {PRIMARY: sum(values.values()) / len(values)},
                Latency(depth * ms, depth * ms * 1.5, 40), depth, depth * 100)
            for depth, values in by_depth.items()
        ]  # fmt: skip
        self.tried = Trials(FIRST, by_depth, lambda _: weights or {})

    def advice(self, target_ms: float | None = None) -> Advice:
        return advise(self.rows, self.tried, target_ms)

    def sentence(self) -> str:
        last = self.tried.by_depth[DEPTHS[-1]]
        return verdict(
            paired_test(list(FIRST.values()), list(last.values())), self.rows, self.advice()
        )


NONE = shifted(0.0)
LUCK = {query: value + (0.05 if n % 2 else -0.045) for n, (query, value) in
        enumerate(FIRST.items())}  # fmt: skip


def test_the_verdict_is_a_sentence() -> None:
    assert Case(0.02, 0.05, 0.078, 0.08).sentence() == (
        "helps: nDCG@10 .529 → .609, p < 0.001; depth 50 gives 98% of the gain at 50% of the time; "
        "hurts 0 of 40 queries"
    )


def test_the_least_depth_with_nearly_all_of_the_gain_is_advised() -> None:
    assert Case(0.02, 0.05, 0.096, 0.1).advice().depth == 50
    assert Case(0.096, 0.097, 0.098, 0.1).advice().depth == 10
    assert Case(0.02, 0.05, 0.09, 0.1).advice().depth == 100


def test_a_falling_curve_is_advised_at_its_maximum() -> None:
    advice = Case(0.05, 0.12, 0.1, 0.08).advice()
    assert advice.depth == 20 and advice.quality == pytest.approx(BEFORE + 0.12)


def test_a_latency_target_excludes_greater_depths() -> None:
    case = Case(0.02, 0.05, 0.09, 0.1)
    advice = case.advice(40)
    assert advice.depth == 20 and advice.gain_share == pytest.approx(0.5)
    assert advice.latency is not None and advice.latency.p95 <= 40
    assert (
        format_advice(case.advice(5)) == "do not rerank: no depth's p95 is known to be below 5 ms"
    )


def test_no_reranking_is_advised_where_it_is_significantly_worse() -> None:
    case = Case(-0.01, -0.02, -0.05, -0.1)
    assert case.sentence().startswith(
        "hurts: nDCG@10 .529 → .429, p < 0.001; do not rerank: depth 100 is worse"
    )
    assert case.advice().depth == 0 and case.advice().p is None


@pytest.mark.parametrize("last", [NONE, LUCK, FIRST])
def test_nothing_is_claimed_that_is_not_significant(last: QueryValues) -> None:
    case = Case(NONE, LUCK, NONE, last, weights={0.0: LUCK, 0.3: NONE})
    assert case.sentence().startswith(("no difference shown: ", "changes nothing: "))
    assert "depth" not in case.sentence() and "do not" not in case.sentence()
    assert case.advice().depth == 0 and case.advice().fusion_weight is None
    assert format_advice(case.advice()).startswith(
        "no depth and no weight is significantly better than the first stage on 40 queries"
    )


def test_the_verdict_names_a_smaller_depth_that_is_better() -> None:
    assert "; depth 20 is better, .579; " in Case(NONE, 0.05, NONE, NONE).sentence()


def test_without_judgments_there_is_no_verdict() -> None:
    assert verdict(None, Case(0.0, 0.0, 0.0, 0.0).rows, None) == (
        "cannot tell: there are no judgments"
    )


def test_another_weight_is_advised_only_where_it_is_better_than_the_default() -> None:
    gains = (0.05, 0.05, 0.05, 0.05)
    by_model = shifted(0.05)
    better = shifted(0.05, values=by_model)
    by_chance = {
        query: value + (0.05 if n % 2 else -0.045)
        for n, (query, value) in enumerate(by_model.items())
    }
    advice = Case(*gains, weights={0.0: better, 0.3: by_model}).advice()
    assert (advice.depth, advice.fusion_weight) == (10, 0.0)
    assert advice.quality == pytest.approx(BEFORE + 0.1) and "fusion_weight=0 " in format_advice(
        advice
    )
    assert Case(*gains, weights={0.0: by_chance, 0.3: by_model}).advice().fusion_weight is None


def test_a_weight_can_be_advised_without_a_depth() -> None:
    case = Case(NONE, NONE, NONE, NONE, weights={0.0: NONE, 0.8: shifted(0.05)})
    assert (case.advice().depth, case.advice().fusion_weight) == (100, 0.8)
    assert "; depth 100 with fusion_weight=0.8 is better, .579; " in case.sentence()


def test_the_verdict_names_no_saving_of_time_where_there_is_none() -> None:
    case = Case(0.08, 0.08, 0.08, 0.08, ms=-1.0)  # a lesser depth takes longer
    assert case.advice().depth == 10 and case.advice().time_share is None
    assert "depth 10 gives 100% of the gain; " in case.sentence()


def test_holm_is_the_papers_procedure() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7]) == [0.7] and holm([0.9, 0.8]) == [1.0, 1.0]


def _drawn(seed: int, gain: float) -> Case:
    """50 queries, each moved at random, by itself and by depth and weight."""
    draw = np.random.default_rng(seed)
    names = [f"q{n}" for n in range(50)]
    first = draw.uniform(0, 1, 50)
    both = draw.normal(0, 0.1, 50)

    def values(shift: float) -> QueryValues:
        return dict(zip(names, first + shift + both + draw.normal(0, 0.1, 50), strict=True))

    by_depth = {depth: values(gain) for depth in DEPTHS}
    weights = {weight: values(gain) for weight in np.linspace(0, 2, 8).tolist()}
    case = Case(0.0, 0.0, 0.0, 0.0)
    case.rows = [
        Row(depth, {PRIMARY: sum(values.values()) / 50}, None, depth, depth)
        for depth, values in by_depth.items()
    ]
    start = dict(zip(names, first.tolist(), strict=True))
    case.tried = Trials(start, by_depth, lambda _: weights)
    return case


def _advised(gain: float, seeds: Sequence[int]) -> tuple[float, float]:
    """The share of draws in which a depth or weight is advised, and in which another weight is."""
    advice = [_drawn(seed, gain).advice() for seed in seeds]
    return (
        sum(each.depth > 0 for each in advice) / len(seeds),
        sum(each.fusion_weight is not None for each in advice) / len(seeds),
    )


def test_pure_noise_leads_to_advice_one_time_in_twenty_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(significance, "RESAMPLES", 1_000)
    anything, _ = _advised(0.0, range(300))
    assert 0 < anything <= 0.06


def test_a_real_difference_is_advised_and_weights_that_are_alike_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(significance, "RESAMPLES", 1_000)
    anything, another_weight = _advised(0.1, range(60))
    assert anything == 1.0 and another_weight <= 0.06


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, ".000"), (0.6666, ".667"), (1.0, "1.000"), (-0.25, "-0.250")]
)
def test_measures_are_written_as_papers_do(value: float, text: str) -> None:
    assert format_measure(value) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0001, "p < 0.001"), (0.031, "p = 0.031"), (1, "p = 1.00")]
)
def test_p_values_are_rounded_to_the_precision_of_resampling(p: float, text: str) -> None:
    assert format_p(p) == text
