"""Optional packages: the one place that says how to install what is missing."""

import importlib
from types import ModuleType

from resift.errors import MissingExtra


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise `MissingExtra` naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.partition(".")[0] == "resift":
            raise
        raise MissingExtra(
            f"{missing} is not installed: run  pip install 'resift[{extra}]'"
        ) from error
