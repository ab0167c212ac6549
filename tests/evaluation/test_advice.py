"""A depth, a weight and a sentence, from figures that are given."""

import pytest

from resift.evaluation.advice import advise, chance, short, verdict
from resift.evaluation.measures import PRIMARY
from resift.evaluation.result import Latency, Row
from resift.evaluation.significance import Paired, paired


def rows(*quality: float, ms: float = 1.0) -> list[Row]:
    """Depths 10, 20, 50, 100 of such quality; `ms` a candidate."""
    return [
        Row(depth, {PRIMARY: own}, Latency(depth * ms, depth * ms * 1.5, 40), depth, depth * 100)
        for depth, own in zip((10, 20, 50, 100), quality, strict=True)
    ]


def compared(before: float, after: float, p: float = 0.0001, worse: int = 7) -> Paired:
    difference = after - before
    return Paired(before, after, difference, 0, 0, p, p, 30, worse, 16)


def said(found: Paired, own: list[Row], target_ms: float | None = None) -> str:
    advice = advise(own, found, target_ms).with_weight({}, {})
    return verdict(found, own, advice)


def test_what_helps_is_said_in_a_sentence() -> None:
    sentence = said(compared(0.58, 0.66), rows(0.60, 0.63, 0.658, 0.66))
    assert sentence == (
        "helps: nDCG@10 .580 → .660, p < 0.001; depth 50 gives 98% of the gain at half the time; "
        "hurts 7 of 53 queries, list below"
    )


def test_the_least_depth_with_nearly_all_of_the_gain_is_advised() -> None:
    found = compared(0.5, 0.6)
    assert advise(rows(0.52, 0.55, 0.596, 0.6), found, None).depth == 50
    assert advise(rows(0.596, 0.597, 0.598, 0.6), found, None).depth == 10
    assert advise(rows(0.52, 0.55, 0.59, 0.6), found, None).depth == 100


def test_a_curve_that_falls_again_is_left_at_its_top() -> None:
    found = advise(rows(0.55, 0.62, 0.6, 0.58), compared(0.5, 0.58), None)
    assert (found.depth, found.quality) == (20, 0.62)


def test_a_target_keeps_deeper_ones_out() -> None:
    found = advise(rows(0.52, 0.55, 0.59, 0.6), compared(0.5, 0.6), 40)
    assert found.depth == 20 and found.share == pytest.approx(0.5)
    assert found.latency is not None and found.latency.p95 <= 40
    nothing = advise(rows(0.52, 0.55, 0.59, 0.6), compared(0.5, 0.6), 5)
    assert nothing.depth == 0 and "below 5 ms" in nothing.why


def test_what_is_below_the_first_stage_everywhere_is_not_to_be_reranked() -> None:
    sentence = said(compared(0.6, 0.5), rows(0.59, 0.58, 0.55, 0.5))
    assert sentence.startswith("hurts: nDCG@10 .600 → .500, p < 0.001; do not rerank")


def test_where_chance_would_do_nothing_is_claimed() -> None:
    sentence = said(compared(0.6, 0.61, p=0.4), rows(0.6, 0.6, 0.6, 0.61))
    assert sentence.startswith("no difference shown: ") and "p = 0.40" in sentence
    same = said(compared(0.6, 0.6, p=1.0, worse=0), rows(0.6, 0.6, 0.6, 0.6))
    assert same.startswith("changes nothing: ") and "list below" not in same


def test_without_judgments_there_is_no_verdict() -> None:
    assert verdict(None, rows(0, 0, 0, 0), None) == "cannot tell: there are no judgments"


def test_another_weight_is_advised_only_where_it_is_surely_better() -> None:
    own = {f"q{n}": 0.5 + n % 7 / 100 for n in range(40)}
    surely = {query: value + 0.05 for query, value in own.items()}
    by_luck = {query: value + (0.01 if n % 2 else -0.009) for n, (query, value) in
               enumerate(own.items())}  # fmt: skip
    base = advise(rows(0.55, 0.56, 0.57, 0.58), compared(0.5, 0.58), None)
    assert base.with_weight({0.0: surely, 0.3: own}, own).fusion_weight == 0.0
    assert base.with_weight({0.0: by_luck, 0.3: own}, own).fusion_weight is None
    assert paired(list(own.values()), list(surely.values())).p_bootstrap < 0.001


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, ".000"), (0.6666, ".667"), (1.0, "1.000"), (-0.25, "-0.250")]
)
def test_measures_are_written_as_papers_do(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0001, "p < 0.001"), (0.031, "p = 0.031"), (1, "p = 1.00")]
)
def test_p_values_are_no_preciser_than_they_are_known(p: float, text: str) -> None:
    assert chance(p) == text
