"""What a search left out, and why; how many requests it may still make."""


class Gaps:
    """One search's. Reasons are kept in the order in which they came."""

    def __init__(self, max_requests: int | None = None) -> None:
        self._most = max_requests
        self._reasons: list[str] = []
        self._refused: list[str] = []

    @property
    def counting(self) -> bool:
        """Whether requests are limited, so that what reads has to take turns."""
        return self._most is not None

    def may(self, requests: int, what: str) -> bool:
        """Whether `what` may be read after so many requests; noted where it may not."""
        if self._most is None or requests < self._most:
            return True
        self._refused.append(what)
        return False

    def note(self, reason: str) -> None:
        """Something is missing."""
        self._reasons.append(reason)

    @property
    def reason(self) -> str | None:
        """All of it in a line; None where nothing is missing."""
        reasons = list(self._reasons)
        if self._refused:
            missing = ", ".join(self._refused)
            reasons.append(f"max_requests={self._most} were made: without {missing}")
        return "; ".join(reasons) or None
