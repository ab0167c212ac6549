"""What the tests of clients share: their packages, where they are installed, and a key."""

import warnings
from typing import Any

import pytest

KEY = "a key of the tests"


def installed(name: str) -> Any:
    """The module of a client; without it the tests of the file are skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)
