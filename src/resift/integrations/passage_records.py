"""The passages of a retriever as records, and records as lists. Pure; imports no framework."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resift.errors import InputError, shown

_COLUMNS = {
    "long_text": "passages",
    "score": "scores",
    "status": "statuses",
    "id": "ids",
    "title": "titles",
    "citation": "citations",
    "first_stage_rank": "first_stage_ranks",
    "first_stage_score": "first_stage_scores",
}
"""The fields of a record, and the name for a list of them; other names are the same."""

_LISTS_OF_TEXTS = ("passages", "docs")
_TEXTS = ("long_text", "text")
_EXPECTED = "expected a Prediction with passages, or a list of texts or of records with long_text"

Record = dict[str, Any]


def records_of_lists(lists: Mapping[str, Any]) -> list[Record]:
    """A record for each of ``passages`` (or ``docs``), with ``long_text``.

    Other fields are from lists of the same length. Raises `InputError` without passages.
    """
    texts = next((name for name in _LISTS_OF_TEXTS if _is_list(lists.get(name))), None)
    if texts is None:
        raise InputError(f"retriever: it returned {shown(list(lists))}; {_EXPECTED}")
    count = len(lists[texts])
    fields = {column: field for field, column in _COLUMNS.items()} | {texts: "long_text"}
    columns = {
        fields.get(name, name): values
        for name, values in lists.items()
        if _is_list(values) and len(values) == count
    }
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def records_of_passages(passages: object) -> list[Record]:
    """A record with ``long_text`` for each text, mapping or object. Raises `InputError`."""
    if not isinstance(passages, Iterable) or isinstance(passages, str | bytes | Mapping):
        raise InputError(f"retriever: it returned {shown(passages)}; {_EXPECTED}")
    return [_record(passage) for passage in passages]


def of_first_stage(records: Iterable[Mapping[str, Any]]) -> list[Record]:
    """The records with their score as ``first_stage_score``."""
    names = {"score": "first_stage_score"}
    return [{names.get(name, name): value for name, value in record.items()} for record in records]


def lists_of_records(
    records: Sequence[Mapping[str, Any]], first: Sequence[str]
) -> dict[str, list[Any]]:
    """A list for each field, those in `first` before the others; None where a record lacks it."""
    names = dict.fromkeys([*first, *(name for record in records for name in record)])
    return {_COLUMNS.get(name, name): [record.get(name) for record in records] for name in names}


def _record(passage: Any) -> Record:
    if passage is None or isinstance(passage, str):
        return {"long_text": passage}
    fields = dict(passage) if isinstance(passage, Mapping) else {}
    text = next((name for name in _TEXTS if name in fields), None)
    if text is None and not hasattr(passage, "long_text"):
        raise InputError(f"retriever: it returned {shown(passage)} in a list; {_EXPECTED}")
    value = passage.long_text if text is None else fields[text]
    others = {name: value for name, value in fields.items() if name not in _TEXTS}
    return {"long_text": value, **others}


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)
