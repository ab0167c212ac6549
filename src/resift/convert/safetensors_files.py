"""A checkpoint's weights from its safetensors files, in one file or in shards. Never a pickle."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.convert.config import read_object
from resift.convert.families.family import Arrays
from resift.errors import ModelError, shown
from resift.extras import require
from resift.rerank.checkpoint_files import INDEX, WEIGHTS
from resift.rerank.native import first_line

FLOATS = ("F64", "F32", "F16", "BF16")


def read_weights(folder: Path, canonical: Callable[[str], str]) -> Arrays:
    """Float32 arrays by canonical name; other numbers, such as position ids, are left out.

    Raises `ModelError` for a folder without safetensors, a file that cannot be read, and weights
    that are not finite.
    """
    weights: Arrays = {}
    for file in _files(folder):
        with _readable(file):
            weights |= _read(file, canonical)
    broken = [name for name, values in weights.items() if not np.isfinite(values).all()]
    if broken:
        raise ModelError(
            f"{folder}: {len(broken)} weights contain NaN or infinity, such as {broken[0]}; "
            "expected finite numbers: use a checkpoint from before the training diverged"
        )
    return weights


class StoredWeights(Mapping[str, NDArray[np.float32]]):
    """A checkpoint's arrays by canonical name, each read when it is asked for, as float32.

    Reading raises `ModelError` for values that are not finite.
    """

    def __init__(self, folder: Path, canonical: Callable[[str], str]) -> None:
        """Read the names and shapes. Raises `ModelError` as `read_weights` does."""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, tuple[Path, str]] = {}
        for file in _files(folder):
            with _readable(file), _opened(file) as tensors:
                for name in tensors.keys():
                    part = tensors.get_slice(name)
                    if part.get_dtype() in FLOATS:
                        self._files[canonical(name)] = file, name
                        self.shapes[canonical(name)] = tuple(part.get_shape())

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.part(name, slice(None))

    def part(self, name: str, rows: slice) -> NDArray[np.float32]:
        """Some rows of an array; the others are not read."""
        file, stored = self._files[name]
        with _readable(file), _opened(file) as tensors:
            part = tensors.get_slice(stored)[rows]
        values: NDArray[np.float32] = part.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ModelError(
                f"{file}: {name} contains NaN or infinity; expected finite numbers: use a "
                "checkpoint from before the training diverged"
            )
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # safetensors raises its own types, numpy others
        raise ModelError(
            f"{file}: not a readable safetensors file ({first_line(error)}); fetch it again"
        ) from error


def _opened(file: Path) -> Any:
    require("ml_dtypes", "hub")  # makes bfloat16 known to numpy
    return require("safetensors", "hub").safe_open(file, framework="numpy")


def _read(file: Path, canonical: Callable[[str], str]) -> Arrays:
    weights: Arrays = {}
    with _opened(file) as tensors:
        for name in tensors.keys():
            if tensors.get_slice(name).get_dtype() in FLOATS:
                weights[canonical(name)] = tensors.get_tensor(name).astype(np.float32, copy=False)
    return weights


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name that is too long
        return False


def _files(folder: Path) -> list[Path]:
    """The file with all weights, or the shards that the index names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if index.is_file():
        names = read_object(index).get("weight_map")
        is_map = isinstance(names, dict) and all(isinstance(file, str) for file in names.values())
        if not is_map or not names:
            raise ModelError(f"{index}: expected a weight_map with the file of each weight")
        shards = [folder / name for name in sorted(set(names.values()))]
        lost = [shard for shard in shards if shard.parent != folder or not _is_file(shard)]
        if lost:
            raise ModelError(
                f"{shown(lost[0].name)}: missing in {folder}, though {INDEX} names it; fetch the "
                "model again"
            )
        return shards
    pickles = sorted(file.name for end in ("*.bin", "*.pt", "*.ckpt") for file in folder.glob(end))
    only = f", only {pickles[0]}, which can run code when it is read" if pickles else ""
    raise ModelError(
        f"{folder}: no safetensors weights{only}; use a revision that has {WEIGHTS}, or "
        "load it where you trust it and save it again with save_pretrained"
    )
