"""Imports of optional packages, with a clear error if one is missing, and without telemetry."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from resift.errors import MissingExtra


def require(module: str, extra: str | None = None) -> ModuleType:
    """Import `module`, or raise `MissingExtra` with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.partition(".")[0] == "resift":
            raise
        package = f"'resift[{extra}]'" if extra else missing
        raise MissingExtra(f"{missing} is not installed: run  pip install {package}") from error


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Make the import of openvino_telemetry fail inside the block.

    Importing OpenVINO sends a report to a server of its makers, unless that package cannot be
    imported. Afterwards a module that was loaded before is restored.
    """
    name = "openvino_telemetry"
    loaded = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # Python's way to make an import fail
    try:
        yield
    finally:
        if loaded is None:
            del sys.modules[name]
        else:
            sys.modules[name] = loaded
