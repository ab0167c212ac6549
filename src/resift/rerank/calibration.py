"""Curves from a logit, or a fused logit, to a score in 0..1, and the meaning of scores.

A curve is the sigmoid (not calibrated), the model's own (two Platt curves in its manifest), or one
fitted on the user's judgments (a file that ``resift calibrate`` writes). Curves never fall, so they
never change an order. `evaluation.calibrate` fits them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from resift.errors import CalibrationError, shown
from resift.files import output, read_regular, reason
from resift.rerank.ordering import Numbers, sigmoid
from resift.rerank.values import is_newer
from resift.types import Calibrated

FORMAT = 2
Method = Literal["platt", "isotonic"]


def _is_number(value: object) -> bool:
    """Whether a value is a finite float, or an int that a float holds exactly."""
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int and abs(value) <= 2**53


@dataclass(frozen=True, slots=True)
class Platt:
    """``sigmoid(scale × logit + bias)`` (Platt 1999). Raises `ValueError` for a falling curve."""

    scale: float
    bias: float
    method: Method = "platt"

    def __post_init__(self) -> None:
        if not (_is_number(self.scale) and _is_number(self.bias) and self.scale > 0):
            raise ValueError(f"{self}: expected numbers, and a scale above 0")

    def __call__(self, logits: Numbers) -> Numbers:
        return sigmoid(self.scale * logits + self.bias)


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Straight lines between the centres of an isotonic regression's blocks, constant beyond them.

    `logits` rise; `probabilities`, between 0 and 1, never fall. Raises `ValueError` otherwise.
    """

    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    method: Method = "isotonic"

    def __post_init__(self) -> None:
        are_numbers = all(_is_number(value) for value in (*self.logits, *self.probabilities))
        if not (len(self.logits) == len(self.probabilities) > 0 and are_numbers):
            raise ValueError(
                "isotonic: expected as many probabilities as logits, all of them numbers"
            )
        logits, probabilities = np.array(self.logits, float), np.array(self.probabilities, float)
        if not ((np.diff(logits) > 0).all() and (np.diff(probabilities) >= 0).all()):
            raise ValueError("isotonic: expected logits that rise, probabilities that never fall")
        if not ((probabilities > 0) & (probabilities < 1)).all():
            raise ValueError("isotonic: expected probabilities over 0 and under 1")

    def __call__(self, logits: Numbers) -> Numbers:
        return np.interp(logits, self.logits, self.probabilities)


Curve = Platt | Isotonic
SIGMOID = Platt(1.0, 0.0)

SAME_DEPTH = 1.25
"""Lists whose lengths differ by no more than this factor count as equally deep."""

MAX_BYTES = 16_000_000
"""A calibration file is a few kilobytes; a larger file is something else."""


@dataclass(frozen=True, slots=True)
class ModelCalibration:
    """A model's own curves: the probability that a candidate is relevant, in its manifest.

    Fitted on `pairs` judged candidates of first stages, at the rate of relevant documents among
    them. `fused` is for logits with first-stage interpolation at the manifest's weights.
    """

    plain: Platt
    fused: Platt
    pairs: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A curve, and its measures on held-out queries beside those of other curves.

    By method: `log_loss` in nats a pair, and the expected `calibration_error`
    (`evaluation.calibrate`). `curve` is the better one by loss of "platt" and "isotonic", which
    were fitted; "none" is the sigmoid, "model" the model's own curve.
    """

    curve: Curve
    log_loss: Mapping[str, float]
    calibration_error: Mapping[str, float]

    def __post_init__(self) -> None:
        """Raises `ValueError` for measures that are not numbers or lack the curve's method."""
        for measured in (self.log_loss, self.calibration_error):
            if not isinstance(measured, Mapping) or self.curve.method not in measured:
                raise ValueError(f"{measured!r}: expected a number for {self.curve.method}")
            if not all(_is_number(value) and value >= 0 for value in measured.values()):
                raise ValueError(f"{measured!r}: expected numbers from 0")

    @property
    def error(self) -> float:
        """The expected calibration error of `curve`."""
        return self.calibration_error[self.curve.method]


@dataclass(frozen=True, slots=True)
class JudgedCalibration:
    """Curves fitted on judgments for one model: the contents of a file.

    `pairs` of `queries` were judged, at `depth` candidates a query; `relevant` of them are
    relevant. `fused` is for logits with first-stage interpolation at exactly these two weights;
    None if the judged lists had no first-stage scores or the model does not use them. `bins` is the
    number of bins of the calibration error; `made` says when and from what the file was made.
    """

    model: str
    fingerprint: str
    queries: int
    pairs: int
    relevant: int
    plain: Fit
    fused: Fit | None
    fusion_weight: float
    feedback_weight: float
    bins: int
    made: Mapping[str, str]
    depth: int
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Raises `ValueError` for invalid values."""
        for name in ("model", "fingerprint"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} {getattr(self, name)!r}: expected text")
        for name in ("queries", "pairs", "relevant", "bins", "depth"):
            count = getattr(self, name)
            if not (type(count) is int and count >= 0):
                raise ValueError(f"{name} {count!r}: expected a whole number")
        for name in ("fusion_weight", "feedback_weight"):
            if not (_is_number(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} {getattr(self, name)!r}: expected a number from 0")
        if not isinstance(self.made, Mapping):
            raise ValueError(f"made {self.made!r}: expected names with values")


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """The curves that turn the logits of a call into scores, and their meaning.

    `fused` was fitted at `fusion_weight` and `feedback_weight`. A call with other weights uses
    `otherwise`; without it, `fused` as uncalibrated. `depth` is that of the judged lists.
    """

    source: Calibrated
    plain: Curve
    fused: Curve | None
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0
    otherwise: "ScoreScale | None" = None
    depth: int | None = None

    def curve(self, weight: float, feedback_weight: float) -> tuple[Curve, Calibrated]:
        """The curve for a call's fusion and feedback weights, and the meaning of its scores."""
        if not weight:
            return self.plain, self.source
        fitted = (self.fusion_weight, self.feedback_weight)
        if self.fused is not None and np.allclose(
            (weight, feedback_weight), fitted, rtol=1e-9, atol=0
        ):
            return self.fused, self.source
        if self.otherwise is not None:
            return self.otherwise.curve(weight, feedback_weight)
        return self.fused or SIGMOID, "none"

    def meaning(self, source: Calibrated, depth: int) -> tuple[Calibrated, str | None]:
        """The meaning of a curve of `source` in a list of `depth` candidates, and a note about it.

        Relevant documents are rarer in deeper lists, so a probability holds at one depth only.
        """
        if source != "judged" or not depth or self.depth is None:
            return source, None
        if max(depth, self.depth) <= SAME_DEPTH * min(depth, self.depth):
            return source, None
        return "judged_other_depth", (
            f"the calibration was fitted on {self.depth} candidates a query, not {depth}: run  "
            f"resift calibrate --depth {depth}  for probabilities at this depth"
        )


def open_scale(
    model: ScoreScale, name: str, fingerprint: str, file: Path | None = None
) -> ScoreScale:
    """The scale of a calibration file; without one, `model`, the model's own scale.

    `name` and `fingerprint` are the model's. Raises `CalibrationError` for a file that cannot be
    read or is for another model.
    """
    if file is None:
        return model
    calibration = read_calibration(file)
    if calibration.fingerprint != fingerprint:
        raise CalibrationError(
            f"{file}: fitted for {calibration.model} ({calibration.fingerprint}), not for {name} "
            f"({fingerprint}): run  resift calibrate  with this model"
        )
    return ScoreScale(
        "judged",
        calibration.plain.curve,
        calibration.fused.curve if calibration.fused else None,
        calibration.fusion_weight,
        calibration.feedback_weight,
        otherwise=model,
        depth=calibration.depth,
    )


WHAT = "a calibration that resift wrote"


def write_calibration(file: Path, calibration: JudgedCalibration) -> None:
    """Write a calibration as JSON, whole or not at all; ``-`` is stdout.

    Raises `OutputError` if the file cannot be written or exists and is not a calibration.
    """
    text = json.dumps(asdict(calibration), indent=2, ensure_ascii=False, sort_keys=True)
    with output(file, WHAT, is_calibration) as out:
        out.write(f"{text}\n".encode())


def is_calibration(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a calibration, by its first keys."""
    keys = (b'"bins": ', b'"feedback_weight": ', b'"fingerprint": "', b'"format": ')
    return head.startswith(b"{") and all(key in head[:4096] for key in keys)


def read_calibration(file: Path) -> JudgedCalibration:
    """Read a file of ``resift calibrate``; raises `CalibrationError` for any other file."""
    try:
        values = json.loads(read_regular(file, MAX_BYTES).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise CalibrationError(f"{file}: no such file;  resift calibrate  makes one") from error
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read ({reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{file}: not readable as JSON ({error})") from error
    format_ = values.get("format") if isinstance(values, dict) else None
    if format_ != FORMAT:
        newer = is_newer(format_, FORMAT)
        remedy = "update resift" if newer else "run  resift calibrate  again"
        raise CalibrationError(
            f"{file}: format {shown(format_)}, this resift reads {FORMAT}; {remedy}"
        )
    try:
        plain, fused = _fit(values["plain"]), values["fused"]
        return JudgedCalibration(**values | {"plain": plain, "fused": fused and _fit(fused)})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"{file}: no calibration of format {FORMAT} ({error})") from error


def _fit(values: dict[str, Any]) -> Fit:
    return Fit(**values | {"curve": _curve(values["curve"])})


def _curve(values: dict[str, Any]) -> Curve:
    if values["method"] == "platt":
        return Platt(**values)
    if values["method"] == "isotonic":
        logits, probabilities = tuple(values["logits"]), tuple(values["probabilities"])
        return Isotonic(**values | {"logits": logits, "probabilities": probabilities})
    raise ValueError(f"method {values['method']!r}, expected platt or isotonic")
