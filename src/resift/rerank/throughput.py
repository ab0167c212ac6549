"""How fast this machine reads, of late: what a deadline leaves time for."""


class Throughput:
    """How many tokens a second the machine gets done, of late."""

    def __init__(self) -> None:
        self._tokens, self._seconds = 1_000.0, 0.1  # a guess, soon outweighed

    def add(self, tokens: int, seconds: float) -> None:
        self._tokens = 0.98 * self._tokens + tokens
        self._seconds = 0.98 * self._seconds + seconds

    def tokens(self, seconds: float) -> float:
        """How many get done in so long."""
        return seconds * self._tokens / self._seconds

    def seconds(self, tokens: int) -> float:
        """How long so many take."""
        return tokens * self._seconds / self._tokens
