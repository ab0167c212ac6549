"""Queries to judge or to measure with: a BEIR folder, JSON Lines, or a query a line."""

import hashlib
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.collection import Collection, open_text, read_rows

_JSON_LINES = (".jsonl", ".jsonl.gz")


def read_queries(path: Path) -> dict[str, str]:
    """Query ids to their texts, in the file's order.

    `path` is a BEIR folder, a file of ``{"_id": …, "text": …}`` lines (``.jsonl``), or any other
    text file with a query a line; `line_id` names those. Raises `DatasetError` for a file without
    queries, a query without text and an id that no judgment file can hold.
    """
    if path.is_dir():
        queries = Collection(path).queries()
    elif path.name.endswith(_JSON_LINES):
        queries = {row["_id"]: row["text"] for row in read_rows(path, ("_id", "text"))}
    else:
        queries = _lines(path)
    if not queries:
        raise DatasetError(f"{path}: no queries in it; expected a BEIR folder or one query a line")
    for query_id, text in queries.items():
        if not text.strip() or not _is_text(text):
            raise DatasetError(f"{path}: query {query_id!r} has no text; write it or leave it out")
        if not is_storable(query_id):
            raise DatasetError(f"{path}: query id {query_id!r}: expected no tabs and line ends")
    return queries


def line_id(text: str) -> str:
    """The id of a query that has none: by its words, so that other lines may come and go."""
    words = " ".join(text.split())
    return f"q-{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def is_storable(name: str) -> bool:
    """Whether an id can be a field of a tab-separated line."""
    return _is_text(name) and not any(end in name for end in "\t\r\n")


def _is_text(text: str) -> bool:
    """Not so with half a character in it, as JSON can write it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines(file: Path) -> dict[str, str]:
    try:
        with open_text(file) as lines:
            texts = [" ".join(line.removeprefix("\ufeff").split()) for line in lines]
    except (OSError, EOFError, ValueError) as error:
        raise DatasetError(f"{file}: cannot be read as text ({error})") from error
    return {line_id(text): text for text in texts if text}
