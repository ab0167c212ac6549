"""Deadlines that pass when a test says so."""


class Until:
    """A deadline that passes after it was asked so many times."""

    at = 0.0

    def __init__(self, questions: int) -> None:
        self._left = questions

    @property
    def passed(self) -> bool:
        self._left -= 1
        return self._left < 0
