"""What scores mean: how what an order is by, a logit or a fused one, becomes a number in 0..1.

Nothing was fitted (the sigmoid), the model's maker fitted it (two numbers in the manifest), or the
user did, on judgments (a file that ``resift calibrate`` wrote): three cases of one `Scale`. Knows
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
from resift.files import output
from resift.rerank.artifact import Manifest
from resift.rerank.order import Numbers, sigmoid
from resift.types import Calibrated

FORMAT = 1
Method = Literal["platt", "isotonic"]


@dataclass(frozen=True, slots=True)
class Platt:
    """``sigmoid(scale × logit + bias)`` (Platt 1999). Raises `ValueError` where it would fall."""

    scale: float
    bias: float
    method: Method = "platt"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.bias) and self.scale > 0):
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
        logits, chances = np.array(self.logits, float), np.array(self.chances, float)
        if not (len(logits) == len(chances) > 0 and np.isfinite(logits).all()):
            raise ValueError("isotonic: expected as many chances as logits, all of them numbers")
        if not ((np.diff(logits) > 0).all() and (np.diff(chances) >= 0).all()):
            raise ValueError("isotonic: expected logits that rise and chances that never fall")
        if not ((chances > 0) & (chances < 1)).all():
            raise ValueError("isotonic: expected chances over 0 and under 1")

    def __call__(self, logits: Numbers) -> Numbers:
        return np.interp(logits, self.logits, self.chances)


Curve = Platt | Isotonic
SIGMOID = Platt(1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Fit:
    """A curve, and how it and the others did on queries that they were not fitted on.

    By method: `log_loss` in nats a pair, and the expected `calibration_error`
    (`evaluation.reliability`). "platt" and "isotonic" were fitted, and the one with less loss is
    `curve`; "none" is the sigmoid, "model" the model's own.
    """

    curve: Curve
    log_loss: Mapping[str, float]
    calibration_error: Mapping[str, float]

    @property
    def error(self) -> float:
        """The expected calibration error of what was chosen."""
        return self.calibration_error[self.curve.method]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted on judgments for one model: a file.

    `pairs` were judged for `queries`, `relevant` of them as answers. `fused` is for calls in which
    the first stage has a say, at just these two weights; None where the judged lists had no scores
    or the model gives them none. `bins` are those of the calibration error; `made` says when and
    of what.
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


@dataclass(frozen=True, slots=True)
class Scale:
    """How the logits of any call become scores, and what those mean then.

    `fused` was fitted at `fusion_weight` and `feedback_weight`. A call at others is on the scale
    of `otherwise`; where there is none, it takes `fused` as it is and nobody vouches for it.
    """

    source: Calibrated
    plain: Curve
    fused: Curve | None
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0
    otherwise: "Scale | None" = None

    def curve(self, weight: float, likeness: float) -> tuple[Curve, Calibrated]:
        """The curve for a call's weights, of the first stage and of feedback."""
        if not weight:
            return self.plain, self.source
        fitted = (self.fusion_weight, self.feedback_weight)
        if self.fused is not None and np.allclose((weight, likeness), fitted, rtol=1e-9, atol=0):
            return self.fused, self.source
        if self.otherwise is not None:
            return self.otherwise.curve(weight, likeness)
        return self.fused or SIGMOID, "none"


def model_scale(manifest: Manifest) -> Scale:
    """The model's own, or the sigmoid where nobody fitted one."""
    own = manifest.calibration
    if own is None:
        return Scale("none", SIGMOID, SIGMOID)
    plain, fused = Platt(own.scale, own.bias), Platt(own.fused_scale, own.fused_bias)
    return Scale("model", plain, fused, manifest.fusion_weight, manifest.feedback_weight)


def open_scale(manifest: Manifest, file: Path | None) -> Scale:
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
    return Scale(
        "judged",
        found.plain.curve,
        found.fused.curve if found.fused else None,
        found.fusion_weight,
        found.feedback_weight,
        otherwise=own,
    )


WHAT = "a calibration that resift wrote"


def write_calibration(file: Path, calibration: Calibration) -> None:
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


def read_calibration(file: Path) -> Calibration:
    """A file that ``resift calibrate`` wrote; raises `CalibrationError` for any other."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CalibrationError(f"{file}: no such file;  resift calibrate  makes one") from error
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CalibrationError(f"{file}: not readable as JSON ({error})") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise CalibrationError(
            f"{file}: format {found}, this resift reads {FORMAT}; run  resift calibrate  again"
        )
    try:
        plain, fused = _fit(values["plain"]), values["fused"]
        return Calibration(**values | {"plain": plain, "fused": fused and _fit(fused)})
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
