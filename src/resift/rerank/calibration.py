"""What scores mean: how what an order is by, a logit or a fused one, becomes a number in 0..1.

Nothing was fitted (the sigmoid), the model's maker fitted it (two numbers in the manifest), or the
user did, on judgments (a file that ``resift calibrate`` wrote): three cases of one `ScoreScale`. Knows
curves, and how they are kept; not how they are fitted. No curve ever changes an order.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from resift.errors import CalibrationError
from resift.files import output, read_regular
from resift.rerank.artifact import Manifest
from resift.rerank.ordering import Numbers, sigmoid
from resift.types import Calibrated

FORMAT = 1
Method = Literal["platt", "isotonic"]


def _is_number(value: object) -> bool:
    """Whether a value is a finite number, and no larger than a float holds exactly."""
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int and abs(value) <= 2**53


@dataclass(frozen=True, slots=True)
class Platt:
    """``sigmoid(scale × logit + bias)`` (Platt 1999). Raises `ValueError` where it would fall."""

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
    """Straight lines between the centres of an isotonic regression's blocks, level beyond them.

    `logits` rise and `chances`, inside 0..1, never fall; `ValueError` where that is not so.
    """

    logits: tuple[float, ...]
    chances: tuple[float, ...]
    method: Method = "isotonic"

    def __post_init__(self) -> None:
        are_numbers = all(_is_number(value) for value in (*self.logits, *self.chances))
        if not (len(self.logits) == len(self.chances) > 0 and are_numbers):
            raise ValueError("isotonic: expected as many chances as logits, all of them numbers")
        logits, chances = np.array(self.logits, float), np.array(self.chances, float)
        if not ((np.diff(logits) > 0).all() and (np.diff(chances) >= 0).all()):
            raise ValueError("isotonic: expected logits that rise and chances that never fall")
        if not ((chances > 0) & (chances < 1)).all():
            raise ValueError("isotonic: expected chances over 0 and under 1")

    def __call__(self, logits: Numbers) -> Numbers:
        return np.interp(logits, self.logits, self.chances)


Curve = Platt | Isotonic
SIGMOID = Platt(1.0, 0.0)
ALIKE = 1.25
"""A list that is longer or shorter by no more than this is as deep as another."""

MOST_BYTES = 16_000_000
"""A calibration is a few kilobytes; what is larger than this is something else."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A curve, and how it and the others did on queries that they were not fitted on.

    By method: `log_loss` in nats a pair, and the expected `calibration_error`
    (`evaluation.calibrate`). "platt" and "isotonic" were fitted, and the one with less loss is
    `curve`; "none" is the sigmoid, "model" the model's own.
    """

    curve: Curve
    log_loss: Mapping[str, float]
    calibration_error: Mapping[str, float]

    def __post_init__(self) -> None:
        """Raises `ValueError` where what was measured is no numbers, or not of the curve."""
        for measured in (self.log_loss, self.calibration_error):
            if not isinstance(measured, Mapping) or self.curve.method not in measured:
                raise ValueError(f"{measured!r}: expected a number for {self.curve.method}")
            if not all(_is_number(value) and value >= 0 for value in measured.values()):
                raise ValueError(f"{measured!r}: expected numbers from 0")

    @property
    def error(self) -> float:
        """The expected calibration error of what was chosen."""
        return self.calibration_error[self.curve.method]


@dataclass(frozen=True, slots=True)
class JudgedCalibration:
    """What was fitted on judgments for one model: a file.

    `pairs` were judged for `queries`, `relevant` of them as answers. `fused` is for calls in which
    the first stage has a interpolation, at just these two weights; None where the judged lists had no scores
    or the model gives them none. `bins` are those of the calibration error; `made` says when and
    of what. `depth` candidates a query were judged, None in files that do not interpolation.
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
    format: int = FORMAT
    depth: int | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` for what no calibration can be."""
        for name in ("model", "fingerprint"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} {getattr(self, name)!r}: expected text")
        for name in ("queries", "pairs", "relevant", "bins", "depth"):
            count = getattr(self, name)
            if (name, count) != ("depth", None) and not (type(count) is int and count >= 0):
                raise ValueError(f"{name} {count!r}: expected a whole number")
        for name in ("fusion_weight", "feedback_weight"):
            if not (_is_number(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} {getattr(self, name)!r}: expected a number from 0")
        if not isinstance(self.made, Mapping):
            raise ValueError(f"made {self.made!r}: expected names with values")


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """How the logits of any call become scores, and what those mean then.

    `fused` was fitted at `fusion_weight` and `feedback_weight`. A call at others is on the scale
    of `otherwise`; where there is none, it takes `fused` as it is and nobody vouches for it.
    """

    source: Calibrated
    plain: Curve
    fused: Curve | None
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0
    otherwise: "ScoreScale | None" = None
    depth: int | None = None

    def curve(self, weight: float, feedback_weight: float) -> tuple[Curve, Calibrated]:
        """The curve for a call's weights, of the first stage and of feedback."""
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

    def vouches(self, source: Calibrated, depth: int) -> tuple[Calibrated, str | None]:
        """What a curve of `source` means in a list of `depth` candidates, and what to say of it.

        Answers are rarer the deeper a list goes, so a chance is one at its own depth only.
        """
        if source != "judged" or not depth:
            return source, None
        if self.depth is None:
            return source, "the calibration does not say at which depth it was fitted"
        if max(depth, self.depth) <= ALIKE * min(depth, self.depth):
            return source, None
        return "judged_otherwise", (
            f"the calibration was fitted on {self.depth} candidates a query, not {depth}: "
            f"run  resift calibrate --depth {depth}  for chances at this depth"
        )


def model_scale(manifest: Manifest) -> ScoreScale:
    """The model's own, or the sigmoid where nobody fitted one."""
    own = manifest.calibration
    if own is None:
        return ScoreScale("none", SIGMOID, SIGMOID)
    plain, fused = Platt(own.scale, own.bias), Platt(own.fused_scale, own.fused_bias)
    return ScoreScale("model", plain, fused, manifest.fusion_weight, manifest.feedback_weight)


def open_scale(manifest: Manifest, file: Path | None) -> ScoreScale:
    """What was fitted on judgments, if a file is named, else the model's own.

    Raises `CalibrationError` for a file that cannot be read or that is for another model.
    """
    own = model_scale(manifest)
    if file is None:
        return own
    found = read_calibration(file)
    if found.fingerprint != manifest.fingerprint:
        raise CalibrationError(
            f"{file}: fitted for {found.model} ({found.fingerprint}), not for {manifest.name} "
            f"({manifest.fingerprint}): run  resift calibrate  with this model"
        )
    return ScoreScale(
        "judged",
        found.plain.curve,
        found.fused.curve if found.fused else None,
        found.fusion_weight,
        found.feedback_weight,
        otherwise=own,
        depth=found.depth or None,
    )


WHAT = "a calibration that resift wrote"


def write_calibration(file: Path, calibration: JudgedCalibration) -> None:
    """Write it as JSON, whole or not at all; ``-`` is stdout.

    Raises `OutputError` where it cannot be written, or would replace what is no calibration.
    """
    text = json.dumps(asdict(calibration), indent=2, ensure_ascii=False, sort_keys=True)
    with output(file, WHAT, is_own_calibration) as out:
        out.write(f"{text}\n".encode())


def is_own_calibration(head: bytes) -> bool:
    """Whether a file that begins like this was written here: its first keys are known."""
    keys = (b'"bins": ', b'"feedback_weight": ', b'"fingerprint": "', b'"format": ')
    return head.startswith(b"{") and all(key in head[:4096] for key in keys)


def read_calibration(file: Path) -> JudgedCalibration:
    """A file that ``resift calibrate`` wrote; raises `CalibrationError` for any other."""
    try:
        values = json.loads(read_regular(file, MOST_BYTES).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise CalibrationError(f"{file}: no such file;  resift calibrate  makes one") from error
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"{file}: not readable as JSON ({error})") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise CalibrationError(
            f"{file}: format {found}, this resift reads {FORMAT}; run  resift calibrate  again"
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
        logits, chances = tuple(values["logits"]), tuple(values["chances"])
        return Isotonic(**values | {"logits": logits, "chances": chances})
    raise ValueError(f"method {values['method']!r}, expected platt or isotonic")
