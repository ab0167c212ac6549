"""A call as steps, so that one thread can do many calls in turn, or a caller its own at once."""

from collections.abc import Generator
from typing import TypeVar

from resift.rerank.request import Request

T = TypeVar("T")

Steps = Generator[Request | None, None, T]
"""Each step takes some milliseconds. What it yields is to be run by the worker before the next;
None is nothing to wait for, and others may have their turn."""
