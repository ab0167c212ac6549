"""Is a model here what it was where it was made? Its reference pairs say so. Knows no runtime."""

from dataclasses import dataclass

import numpy as np

from resift.errors import ParityError
from resift.rerank.artifact import Manifest, ReferencePair
from resift.rerank.checks import ModelCheck, alone, at_most, exits, finite, float32, head
from resift.rerank.diagnosis import Wrong, diagnosis
from resift.rerank.references import Numbers, ReferenceLogits


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the model is from its own references, logits or cosines, on this machine.

    `checks` are all that was asked, in the order in which they are worth scored.
    """

    model: str
    fingerprint: str
    runtime: str
    pairs: int
    max_difference: float
    tolerance: float
    max_difference_fp32: float
    checks: tuple[ModelCheck, ...]


def references(manifest: Manifest) -> tuple[ReferencePair, ...]:
    """What is to be read. Raises `ParityError` where there is nothing."""
    if not manifest.reference:
        raise ParityError(f"{manifest.name}: no reference pairs in its manifest; convert it again")
    return manifest.reference


def verified(manifest: Manifest, runtime: str, readings: ReferenceLogits) -> Verification:
    """Hold what was read here against the manifest; raise `ParityError` that names what is wrong.

    The error's line says what the numbers look like, and each check that did not pass.
    """
    found = readings.alone
    kept = np.array([pair.logit for pair in manifest.reference])
    exact = np.array([pair.logit_fp32 for pair in manifest.reference])
    checks = _checks(manifest, readings, kept, exact)
    failed = [check for check in checks if not check.passed]
    if failed:
        wrong = Wrong(
            found,
            kept,
            exact,
            manifest.tolerance,
            is_quantised=not manifest.quantisation.startswith("none"),
            is_embedder=manifest.kind == "embedder",
        )
        raise ParityError(
            f"{manifest.name} on {runtime}: {diagnosis(wrong, checks)} "
            f"({'; '.join(f'{check.name}: {check}' for check in failed)})"
        )
    return Verification(
        model=manifest.name,
        fingerprint=manifest.fingerprint,
        runtime=runtime,
        pairs=len(found),
        max_difference=float(np.abs(found - kept).max()),
        tolerance=manifest.tolerance,
        max_difference_fp32=float(np.abs(found - exact).max()),
        checks=checks,
    )


def _checks(
    manifest: Manifest, readings: ReferenceLogits, kept: Numbers, exact: Numbers
) -> tuple[ModelCheck, ...]:
    number = "cosine" if manifest.kind == "embedder" else "logit"
    found, tolerance = readings.alone, manifest.tolerance
    sane = finite(readings, number)
    if not sane.passed:
        return (sane,)
    off = np.abs(found - kept).max()
    return (
        sane,
        *head(found, exact, tolerance),
        at_most("reference", f"furthest {number} from its reference", off, tolerance),
        *float32(found, exact, tolerance, number),
        alone(readings),
        *exits(readings.crossed, manifest.exits),
    )
