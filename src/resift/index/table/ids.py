"""The ids of passages: the name of a document and the passage's ordinal in it, from 0."""

from collections.abc import Iterator

_MAX_DIGITS = 18


def passage_id(name: str, ordinal: int) -> str:
    """The id of a passage of the document with this name."""
    return f"{name}#{ordinal}"


def split_id(id_: str) -> tuple[str, int] | None:
    """The name of the document and the ordinal; None for a text that is no id of a passage."""
    name, _, digits = id_.rpartition("#")
    if not name or not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return name, int(digits)


def following_ids(id_: str, step: int) -> Iterator[str]:
    """The ids of the passages after this one, or before it if `step` is -1, as far as ids go."""
    if (parts := split_id(id_)) is not None:
        name, ordinal = parts
        while (ordinal := ordinal + step) >= 0:
            yield passage_id(name, ordinal)
