"""What a ranking has to know of what scored its candidates: a local model or a service."""

from dataclasses import dataclass
from typing import Self

from resift.rerank.artifact import Manifest
from resift.rerank.calibration import SIGMOID, ScoreScale

UNCALIBRATED = ScoreScale("none", SIGMOID, SIGMOID)


@dataclass(frozen=True, slots=True)
class Scorer:
    """The names for receipts, the weights of the first stage, and the scale of scores.

    `fingerprint` identifies everything that decides a logit, as far as it can be known.
    """

    name: str
    fingerprint: str
    runtime: str
    scale: ScoreScale = UNCALIBRATED
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0
    query_prompt: str = ""

    @classmethod
    def of(cls, manifest: Manifest, scale: ScoreScale, runtime: str) -> Self:
        """The scorer of a local model."""
        return cls(
            manifest.name,
            manifest.fingerprint,
            runtime,
            scale,
            manifest.fusion_weight,
            manifest.feedback_weight,
            manifest.query_prompt,
        )
