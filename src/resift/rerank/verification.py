"""Is a model here what it was where it was made? Its reference pairs say so. Knows no runtime."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from resift.errors import ParityError
from resift.rerank.artifact import Manifest, ReferencePair


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the model is from its own references, logits or cosines, on this machine."""

    model: str
    fingerprint: str
    runtime: str
    pairs: int
    max_difference: float
    tolerance: float
    max_difference_fp32: float


def verified(
    manifest: Manifest, runtime: str, measure: Callable[[ReferencePair], float]
) -> Verification:
    """Measure each reference pair here; raise `ParityError` where one is off by too much."""
    if not manifest.reference:
        raise ParityError(f"{manifest.name}: no reference pairs in its manifest; convert it again")
    found = np.array([measure(pair) for pair in manifest.reference])
    kept = np.array([pair.logit for pair in manifest.reference])
    exact = np.array([pair.logit_fp32 for pair in manifest.reference])
    result = Verification(
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        runtime=runtime,
        pairs=len(found),
        max_difference=float(np.abs(found - kept).max()),
        tolerance=manifest.tolerance,
        max_difference_fp32=float(np.abs(found - exact).max()),
    )
    if not result.max_difference <= manifest.tolerance:
        what = "cosine" if manifest.kind == "embedder" else "logit"
        raise ParityError(
            f"{manifest.name}: a {what} is {result.max_difference:.4f} from its reference, "
            f"allowed are {manifest.tolerance}; the model or {runtime} is broken here"
        )
    return result
