"""Queries to judge or measure with: a BEIR folder, JSON Lines, TREC topics, or a query a line."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.collection import Collection, read_query_rows
from resift.evaluation.lines import BLANKS, HEADINGS, text_lines
from resift.evaluation.topics import is_tagged, read_topics

_JSON_LINES = (".jsonl", ".jsonl.gz")


def read_queries(path: Path) -> dict[str, str]:
    """Query ids to their texts, in the file's order.

    `path` is a BEIR folder, a file of ``{"_id": …, "text": …}`` lines (``.jsonl``), TREC's topics
    in SGML or XML, topics that are an id, a tab and a query a line, or any other text file with a
    query a line; `line_id` names those.
    A query without text stays, empty: whoever asks it says that it cannot be read. Raises
    `DatasetError` for a file without queries and an id that no judgment file can hold.
    """
    if os.path.isdir(path):
        queries = Collection(path).queries()
    elif path.name.endswith(_JSON_LINES):
        queries = read_query_rows(path)
    else:
        queries = _text(path)
    if not queries:
        raise DatasetError(f"{path}: no queries in it; expected a BEIR folder or one query a line")
    for query_id, text in queries.items():
        if not _is_text(text):
            raise DatasetError(f"{path}: query {query_id!r} has half a character; write it anew")
        if not is_storable(query_id):
            raise DatasetError(
                f"{path}: query id {query_id!r}: expected no tabs and line ends, and no blanks "
                "around it"
            )
    return queries


def line_id(text: str) -> str:
    """The id of a query that has none: by its words, so that other lines may come and go."""
    words = " ".join(text.split())
    return f"q-{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def is_storable(name: str) -> bool:
    """Whether an id can be a field of a tab-separated line."""
    if not name.strip(BLANKS) or name != name.strip(BLANKS) or name == "#":
        return False
    return not any(end in name for end in "\t\r\n\0") and _is_text(name)


def _is_text(text: str) -> bool:
    """Not so with half a character in it, as JSON can write it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(file: Path) -> dict[str, str]:
    lines = list(text_lines(file))
    text = "\n".join("" if line.startswith("# ") else line for _, line in lines)
    return read_topics(file, text) if is_tagged(text) else _lines(file, lines)


def _lines(file: Path, numbered: Iterable[tuple[int, str]]) -> dict[str, str]:
    """Topics where most lines have a tab after an id, else a query a line.

    ``# `` begins a comment. Raises `DatasetError` for a line of topics that is none, and for other
    formats.
    """
    lines = [
        (number, line.strip(BLANKS))
        for number, line in numbered
        if line.strip() and not line.startswith("# ")
    ]
    if lines and lines[0][1].startswith(("{", "[")):
        raise DatasetError(
            f"{file}:{lines[0][0]}: neither topics nor plain queries; expected  id<TAB>query  or a "
            "query a line (a name that ends in .jsonl for JSON Lines)"
        )
    topics = [_topic(line) for _, line in lines]
    if sum(topic is not None for topic in topics) * 2 <= len(topics):
        texts = [" ".join(line.split()) for _, line in lines]
        return {line_id(text): text for text in texts}
    queries: dict[str, str] = {}
    for place, (topic, (number, line)) in enumerate(zip(topics, lines, strict=True)):
        if topic is None:
            raise DatasetError(
                f"{file}:{number}: expected  id<TAB>query  as in most lines, not {line[:40]!r}"
            )
        query_id, text = topic
        if place == 0 and query_id.lower() in HEADINGS:
            continue
        if queries.setdefault(query_id, text) != text:
            raise DatasetError(
                f"{file}:{number}: query {query_id} is there already, with another text; give each "
                "an id of its own"
            )
    return queries


def _topic(line: str) -> tuple[str, str] | None:
    """An id and its query; None where no tab parts them, or an id would have blanks in it."""
    name, tab, text = line.partition("\t")
    if not tab or any(blank in name.strip(BLANKS) for blank in BLANKS):
        return None
    return name.strip(BLANKS), " ".join(text.split())
