"""Readings of judged queries in, a `Calibration` out: for plain logits, and for fused ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from resift.errors import DatasetError
from resift.evaluation.calibrate import Fitted, JudgedLogits, fit
from resift.evaluation.reliability import BINS
from resift.rerank.artifact import Manifest
from resift.rerank.calibration import SIGMOID, Calibration, Curve, model_scale
from resift.rerank.reading import Reading
from resift.types import Ranking

Grades = Mapping[str, int]
"""Documents' ids to how well they answer one query."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How judgments are taken: a grade from `least` on is an answer.

    An unjudged candidate counts as none, as measures have it, or with `judged_only` not at all.
    """

    least: int = 1
    judged_only: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What was read of judged queries by the model of `manifest`.

    `fused` is None where a list had no say of its first stage; it is at the two weights.
    """

    manifest: Manifest
    plain: JudgedLogits
    fused: JudgedLogits | None
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What is kept, and the pairs and held-out chances that it is judged by."""

    calibration: Calibration
    judged: Judged
    plain: Fitted
    fused: Fitted | None


def judge(readings: Iterable[tuple[Reading, Grades]], how: Judging) -> Judged:
    """The scored pairs of readings, which are of one model, beside their queries' grades.

    Raises `DatasetError` where there are no readings.
    """
    manifest: Manifest | None = None
    rankings: list[tuple[Ranking, Grades]] = []
    for reading, grades in readings:
        manifest = reading.manifest
        rankings.append((reading.ranking(), grades))
    if manifest is None:
        raise DatasetError("no query is both judged and searched: expected at least ten")
    rows = [
        (number, hit.logit, hit.prior + hit.feedback, grades.get(hit.id, 0) >= how.least)
        for number, (ranking, grades) in enumerate(rankings)
        for hit in ranking
        if hit.logit is not None and (hit.id in grades or not how.judged_only)
    ]
    queries = np.array([row[0] for row in rows], np.int64)
    logits, said = (np.array([row[n] for row in rows], np.float64) for n in (1, 2))
    relevant = np.array([row[3] for row in rows], np.bool_)
    plain = JudgedLogits(logits, relevant, queries)
    receipts = [ranking.receipt for ranking, _ in rankings if ranking.receipt.scored]
    if not receipts or not all(own.fusion_weight for own in receipts):
        return Judged(manifest, plain, None)
    fused = JudgedLogits(logits + said, relevant, queries)
    return Judged(manifest, plain, fused, manifest.fusion_weight, manifest.feedback_weight)


def calibrate(judged: Judged, made: Mapping[str, str]) -> CalibrationReport:
    """Fit both scales; `made` says when and of what. Raises as `fit` does."""
    manifest, pairs = judged.manifest, judged.plain
    plain = fit(pairs, before(manifest, fused=False))
    fused = fit(judged.fused, before(manifest, fused=True)) if judged.fused else None
    calibration = Calibration(
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        queries=len(np.unique(pairs.queries)),
        pairs=len(pairs.logits),
        relevant=int(pairs.relevant.sum()),
        plain=plain.fit,
        fused=fused.fit if fused else None,
        fusion_weight=judged.fusion_weight,
        feedback_weight=judged.feedback_weight,
        bins=BINS,
        made=made,
    )
    return CalibrationReport(calibration, judged, plain, fused)


def before(manifest: Manifest, *, fused: bool) -> dict[str, Curve]:
    """The curves that a fit has to beat: none at all, and the model's own where it has one."""
    own = model_scale(manifest)
    curve = own.fused if fused and own.fused else own.plain
    return {"none": SIGMOID} | ({"model": curve} if own.source == "model" else {})
