"""What a model reads of candidates: the title, then the text, joined when it is looked at.

Joining copies: of many long texts more than is ever read, since a call with a deadline reads few.
"""

from collections.abc import Iterator, Sequence
from typing import overload

from resift.rerank.candidates import full_text, title_part
from resift.types import Candidate


class Texts(Sequence[object]):
    """By place; not a string where the text is none. Each is joined once."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._joined: dict[int, object] = {}

    def __len__(self) -> int:
        return len(self._candidates)

    @overload
    def __getitem__(self, place: int) -> object: ...
    @overload
    def __getitem__(self, place: slice) -> list[object]: ...
    def __getitem__(self, place: int | slice) -> object:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        candidate = self._candidates[place]
        if not candidate.title:
            return candidate.text
        if place not in self._joined:
            self._joined[place] = full_text(candidate)
        return self._joined[place]

    def beginnings(self, most: int) -> Iterator[object]:
        """The text itself where it has at most so many characters, else a beginning of more."""
        for candidate in self._candidates:
            text = candidate.text
            if not isinstance(text, str) or len(text) <= most:
                yield full_text(candidate)
            else:
                yield title_part(candidate.title) + text[: most + 1]
