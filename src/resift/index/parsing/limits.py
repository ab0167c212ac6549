"""How much one file may ask of the machine."""

from dataclasses import dataclass

from resift.errors import InputError, SourceError, shown

_LEAST_MEMORY_MB = 512
"""What Python, a tokenizer and an office parser take before they read anything."""

LEAST_SECONDS = 1
"""Parsers are looked at every 0.1 s, and one may wait as long for a core: less is no limit."""

MOST = 10**12
"""No limit at all, and still a number that the system takes."""


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one file may cost; a file that asks for more is skipped, and its reason says so.

    `max_bytes` hold for the file and for what it unpacks to, `max_pages` for the pages of a PDF
    and the slides of a deck. `max_seconds` are of a clock on the wall, until the file is read or,
    of a file of rows, the next thousand rows. `memory_mb` (2^20 bytes) are of a parser process's
    address space. Raise `InputError` for numbers that nothing could be read with.
    """

    max_bytes: int = 100_000_000
    max_pages: int = 5_000
    max_seconds: float = 60.0
    memory_mb: int = 2_048

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pages", "max_seconds", "memory_mb"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value <= MOST:
                raise InputError(
                    f"{name}={shown(value)}: expected a number above 0, at most {MOST:,}"
                )
        if self.max_seconds < LEAST_SECONDS:
            raise InputError(
                f"max_seconds={self.max_seconds}: expected {LEAST_SECONDS} or more: what takes "
                "less is not watched"
            )
        if self.memory_mb < _LEAST_MEMORY_MB:
            raise InputError(
                f"memory_mb={self.memory_mb}: parsers need {_LEAST_MEMORY_MB} to start at all"
            )

    def check_bytes(self, size: int, what: str = "the file has") -> None:
        """Raise `SourceError` if `size` bytes are too many."""
        if size > self.max_bytes:
            raise SourceError(f"{what} {size:,} bytes: the limit is {self.max_bytes:,} (max_bytes)")

    def check_pages(self, pages: int) -> None:
        """Raise `SourceError` if `pages` are too many."""
        if pages > self.max_pages:
            raise SourceError(
                f"it has {pages:,} pages: the limit is {self.max_pages:,} (max_pages)"
            )

    @property
    def too_slow(self) -> str:
        """The reason to give for a file that took too long."""
        return f"took longer than {self.max_seconds:g} s to read (max_seconds)"

    @property
    def too_large(self) -> str:
        """The reason to give for a file that needs too much memory."""
        return f"needs more than {self.memory_mb:,} MB of memory to read (memory_mb)"


NO_LIMITS = ParseLimits(MOST, MOST, MOST, MOST)
