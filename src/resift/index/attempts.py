"""Names of runs. Of two attempts at an object, the one with the greater name is the later one."""

from collections.abc import Iterable
from datetime import UTC, datetime
from secrets import token_hex

from resift.index.manifest import Entry


def new_attempt() -> str:
    """A name for a run that begins now."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{token_hex(3)}"


def after(known: Iterable[Entry], attempt: str) -> str:
    """The same, or a greater name where another machine's clock was ahead of this one's."""
    last = max((entry.origin.attempt for entry in known), default="")
    return attempt if attempt > last else f"{last}~{token_hex(3)}"
