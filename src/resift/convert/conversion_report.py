"""What came of a conversion, and what its manifest says whatever was converted."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import ReferencePair

REFERENCE_PAIRS = 8
FP32_TOLERANCE = 1e-3  # between runtimes and processors
INT8_SHARE = 0.05  # the same for int8, as a share of the numbers' own range

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Conversion:
    """How far the artifact's logits, or an embedder's cosines, are from the checkpoint's.

    `foreseen` says of each exit how much of what differs between the final logits of a query's
    texts it foresees, as a share of their variance, on pairs that it was not fitted on. `similarity`
    is an embedder's: the mean and the lowest cosine of its vectors with the checkpoint's.
    """

    quantisation: str
    max_difference: float
    pairs: int
    megabytes: float
    foreseen: tuple[float, ...] = ()
    similarity: tuple[float, float] | None = None


def reference_pairs(
    pairs: Sequence[tuple[str, str]], found: Numbers, expected: Numbers
) -> tuple[ReferencePair, ...]:
    """A few pairs that span the range of what is `expected`, lowest and highest included."""
    spread = np.linspace(0, len(expected) - 1, REFERENCE_PAIRS).round().astype(int)
    places = np.argsort(expected)[spread]
    reference = []
    for place in places:
        query, text = pairs[place]
        own, full = (round(float(numbers[place]), 5) for numbers in (found, expected))
        reference.append(ReferencePair(query, text, own, full))
    return tuple(reference)


def tolerance(expected: Numbers, int8: bool) -> float:
    """How far a logit or a cosine may be from its reference on another machine."""
    share = INT8_SHARE if int8 else 0.0
    return max(share * float(np.ptp(expected)), FP32_TOLERANCE)


def quantisation(int8: bool) -> str:
    """In words."""
    if not int8:
        return "none: float32"
    return "static int8 (NNCF), uint8 activations; embeddings int8 by row"


def tools(int8: bool) -> dict[str, str]:
    """What has written the files, by version."""
    names = ("onnx", "openvino", "nncf") if int8 else ("onnx", "openvino")
    return {name: version(name) for name in names}


def base_model(checkpoint: str) -> str:
    """A hub id as it is; of a folder its name, for where it lies concerns nobody."""
    return checkpoint if not Path(checkpoint).exists() else Path(checkpoint).resolve().name
