"""ReferenceLogits of judged queries in, a `JudgedCalibration` out: for plain logits, and for fused ones."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from resift.errors import DatasetError
from resift.evaluation.calibrate import Fitted, JudgedLogits, fit
from resift.evaluation.first_stage import doc_id
from resift.evaluation.reliability import BINS
from resift.rerank.artifact import Manifest
from resift.rerank.calibration import SIGMOID, Curve, JudgedCalibration
from resift.rerank.result import ScoredCandidates, manifest_of
from resift.types import Ranking

Grades = Mapping[str, float]
"""Documents' ids to how well they answer one query."""


@dataclass(frozen=True, slots=True)
class Reckoning:
    """How judgments are taken: a grade from `least` on is an answer.

    An unjudged candidate counts as none, as measures have it, or with `judged_only` not at all.
    `fusion_weight` is the first stage's in fused logits, None the model's own.
    """

    least: int = 1
    judged_only: bool = False
    fusion_weight: float | None = None


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """What was read of judged queries by the model of `manifest`.

    `fused` is None where a list had no say of its first stage; it is at the two weights.
    `depth` candidates a query were read, in the median.
    """

    manifest: Manifest
    plain: JudgedLogits
    fused: JudgedLogits | None
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What is kept, and the pairs and held-out chances that it is judged by."""

    calibration: JudgedCalibration
    judged: JudgedPairs
    plain: Fitted
    fused: Fitted | None


def judge(readings: Iterable[tuple[ScoredCandidates, Grades]], how: Reckoning) -> JudgedPairs:
    """The scored pairs of readings, which are of one model, beside their queries' grades.

    Raises `DatasetError` where there are no readings.
    """
    manifest: Manifest | None = None
    weights: list[float] = []
    depths: list[int] = []
    rows: list[tuple[int, float, float, bool]] = []
    for number, (scored, grades) in enumerate(readings):
        manifest = manifest_of(scored)
        ranking = scored.ranking(fusion_weight=how.fusion_weight)
        depths.append(len(scored.candidates))
        if ranking.receipt.scored:
            weights.append(ranking.receipt.fusion_weight)
        rows += [(number, *pair) for pair in _pairs(ranking, grades, how)]
    if manifest is None:
        raise DatasetError("no query is both asked and judged; are the judgments of this run?")
    depth = round(float(np.median(depths)))
    columns = list(zip(*rows, strict=True)) or [()] * 4
    queries, relevant = np.array(columns[0], np.int64), np.array(columns[3], np.bool_)
    plain, fused = (
        JudgedLogits(np.array(own, np.float64), relevant, queries) for own in columns[1:3]
    )
    if not (weights and all(weights)):
        return JudgedPairs(manifest, plain, None, depth=depth)
    return JudgedPairs(manifest, plain, fused, weights[0], manifest.feedback_weight, depth)


def _pairs(ranking: Ranking, grades: Grades, how: Reckoning) -> Iterator[tuple[float, float, bool]]:
    """Logit, fused logit, and whether it is an answer, of each hit that says something.

    Of several passages of a document that answers, the first counts: it is not known of the others
    whether they do.
    """
    found: set[str] = set()
    for hit in ranking:
        name = doc_id(hit)
        if hit.logit is None or name in found or (how.judged_only and name not in grades):
            continue
        relevant = grades.get(name, 0) >= how.least
        if relevant:
            found.add(name)
        yield hit.logit, hit.logit + hit.fusion + hit.feedback, relevant


def calibrate(judged: JudgedPairs, made: Mapping[str, str]) -> CalibrationReport:
    """Fit both scales; `made` says when and of what. Raises as `fit` does."""
    manifest, pairs = judged.manifest, judged.plain
    plain = fit(pairs, before(manifest, fused=False))
    fused = fit(judged.fused, before(manifest, fused=True)) if judged.fused else None
    calibration = JudgedCalibration(
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
        depth=judged.depth,
    )
    return CalibrationReport(calibration, judged, plain, fused)


def before(manifest: Manifest, *, fused: bool) -> dict[str, Curve]:
    """The curves that a fit has to beat: none at all, and the model's own where it has one."""
    own = manifest.scale
    curve = own.fused if fused and own.fused else own.plain
    return {"none": SIGMOID} | ({"model": curve} if own.source == "model" else {})
