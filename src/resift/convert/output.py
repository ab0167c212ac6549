"""The end of every conversion: reference numbers, a complete new folder, and a report."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert.calibration_text import CandidateLists
from resift.convert.quantise import QUANTISER
from resift.errors import OutputError
from resift.files import reason
from resift.rerank.artifact import (
    Agreement,
    Kind,
    Manifest,
    ReferencePair,
    load_artifact,
    sha256,
    write_manifest,
)

REFERENCE_PAIRS = 8
FP32_TOLERANCE = 1e-3  # of a number on another runtime or processor
INT8_TOLERANCE = 0.05  # the same for int8, as a share of the numbers' range
QUANTISATION = f"static int8 ({QUANTISER}), uint8 activations; embeddings int8 by row"
FLOAT32 = "none: float32"

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Conversion:
    """The largest difference of logits, or an embedder's cosines, from those in float32.

    `report` is the check of int8, None if there was none. `explained` has for each exit the share
    of the final logits' variance within a query that it explains on held-out pairs. `similarity`
    has for an embedder the mean and the lowest cosine between its vectors and those in float32.
    """

    quantisation: str
    max_difference: float
    pairs: int
    megabytes: float
    report: Agreement | None = None
    explained: tuple[float, ...] = ()
    similarity: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """The numbers of artifact and float32 model for the same `pairs`, ``(n,)`` each."""

    pairs: Sequence[tuple[str, str]]
    artifact: Numbers
    checkpoint: Numbers

    @property
    def max_difference(self) -> float:
        return float(np.abs(self.artifact - self.checkpoint).max())

    def reference(self) -> tuple[ReferencePair, ...]:
        """A few pairs that cover the range of the checkpoint's numbers, with both ends."""
        references = []
        for index in spread_out(self.checkpoint):
            query, text = self.pairs[index]
            logit, expected = (float(values[index]) for values in (self.artifact, self.checkpoint))
            references.append(ReferencePair(query, text, round(logit, 5), round(expected, 5)))
        return tuple(references)

    def tolerance(self, int8: bool) -> float:
        """The allowed difference of a number from its reference on another machine."""
        share = INT8_TOLERANCE if int8 else 0.0
        return max(share * float(np.ptp(self.checkpoint)), FP32_TOLERANCE)


def spread_out(numbers: Numbers) -> NDArray[np.intp]:
    """Indices of at most `REFERENCE_PAIRS` numbers that cover their range, ascending by number."""
    ranks = np.linspace(0, len(numbers) - 1, REFERENCE_PAIRS).round().astype(int)
    chosen: NDArray[np.intp] = np.argsort(numbers, kind="stable")[np.unique(ranks)]
    return chosen


def list_parity(
    lists: CandidateLists,
    exact: Sequence[NDArray[np.float32]],
    score: Callable[[str, str], float],
) -> Parity:
    """A few pairs of the checked lists, which cover the range of the float32 logits `exact`.

    `score` gives the artifact's logit of a query and a text.
    """
    expected = np.concatenate(exact).astype(np.float64)
    chosen = spread_out(expected)
    every = [(query, text) for query, texts in lists for text in texts]
    pairs = [every[index] for index in chosen]
    return Parity(pairs, np.array([score(*pair) for pair in pairs]), expected[chosen])


def new_manifest(
    kind: Kind, checkpoint: str, folder: Path, stages: Sequence[str], max_tokens: int, int8: bool
) -> Manifest:
    """The manifest of the files in `folder`, without reference numbers.

    `checkpoint` is a hub id or a folder; only the name of a folder is recorded.
    """
    is_folder = Path(checkpoint).exists()
    base_model = Path(checkpoint).resolve().name if is_folder else checkpoint
    return Manifest(
        name=base_model,
        kind=kind,
        base_model=base_model,
        licence="as the checkpoint's",
        quantisation=QUANTISATION if int8 else FLOAT32,
        max_tokens=max_tokens,
        stages=tuple(stages),
        tolerance=FP32_TOLERANCE,
        reference=(),
        files={file.name: sha256(file) for file in sorted(folder.iterdir())},
        made_with={name: version(name) for name in ("onnx", "openvino")},
    )


def with_report(manifest: Manifest, report: Agreement | None) -> Manifest:
    """The manifest with the check of int8, which may have left the weights in float32."""
    if report is not None and not report.is_int8:
        manifest = replace(manifest, quantisation=f"{FLOAT32}, as int8 is not close enough to it")
    return replace(manifest, report=report)


def with_check(conversion: Conversion, report: Agreement | None) -> Conversion:
    """The conversion with the check of int8, which is of more pairs than references."""
    conversion = replace(conversion, report=report)
    if report is None or not report.is_int8:
        return conversion
    return replace(conversion, pairs=report.pairs, max_difference=report.max_difference)


def finish(
    manifest: Manifest, parity: Parity, folder: Path, out: Path, *, int8: bool
) -> Conversion:
    """Write the manifest with reference numbers, check the folder and copy it to `out`."""
    manifest = replace(
        manifest,
        reference=parity.reference(),
        tolerance=parity.tolerance(int8),
    )
    write_manifest(folder, manifest)
    load_artifact(folder)
    put_folder(folder, out)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    return Conversion(manifest.quantisation, parity.max_difference, len(parity.pairs), size)


def check_new_folder(out: Path) -> Path:
    """The folder that `put_folder` would write, with links resolved; call it before long work.

    Raises `OutputError` for a folder that is not empty or cannot be made.
    """
    with _os_errors(out):
        target = Path(os.path.realpath(out))
        if target.is_symlink():
            raise OutputError(f"{out}: a link to itself; name another folder")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OutputError(f"{out}: exists already; name a new folder")
        parent = next(folder for folder in target.parents if folder.exists())
        if not parent.is_dir():
            raise OutputError(f"{out}: {parent} is not a folder; name a new folder in one")
        if not os.access(target if target.exists() else parent, os.W_OK | os.X_OK):
            raise OutputError(f"{out}: cannot be written (no permission)")
    return target


def put_folder(source: Path, out: Path) -> None:
    """Copy the files of `source` to the new folder `out`, all or none."""
    target = check_new_folder(out)
    with _os_errors(out):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".resift-{secrets.token_hex(8)}.part")
        try:
            shutil.copytree(source, part)
            part.chmod(0o777 & ~_umask())  # a temporary folder is readable by its owner only
            if target.exists():
                target.rmdir()  # fails if another program has put a file there
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _os_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({reason(error)})") from error
    except ValueError as error:  # a NUL in the name
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{str(out)!r}: not a valid folder name") from error
