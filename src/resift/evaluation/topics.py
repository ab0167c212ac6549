"""TREC's topics in SGML and in XML: what stands between ``<top>`` or ``<topic>`` and its end.

Most of these files are no XML that a parser takes: fields have no end tags, ``&`` stands for
itself. So tags are looked for in the text, and nothing is ever fetched or expanded.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from resift.errors import DatasetError

FORM = (
    'expected topics: <top> with <num> and <title>, or <topic number="…"> with <query>, each with '
    "its end tag"
)

_IDS = ("num", "number", "identifier", "id", "qid", "topic_id")
_TEXTS = ("title", "query", "question", "desc", "description", "summary")
"""Fields that may hold the query, the first of these that has a text; ``EN-title`` is a title."""

_OPEN = re.compile(r"<(top|topic)(?=[\s>/])([^<>]*)>", re.IGNORECASE)
_FIELD = re.compile(r"<([a-z][\w.-]*)(?:\s[^<>]*)?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][\w.-]*(?:\s[^<>]*)?/?>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([\w.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_STYLE = re.compile(r"</?(?:a|b|em|font|i|small|span|strong|su[bp]|u)(?:\s[^<>]*)?>", re.IGNORECASE)
_BREAK = re.compile(r"</?(?:br|p)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_LABEL = re.compile(r"(?:number|topic|description)\s*:", re.IGNORECASE)
_LANGUAGE = re.compile(r"[a-z]{2}-(?=title$|desc$)")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_PREFIX = re.compile(r"(?<=<)(/?)[a-z][\w.-]*:(?=[a-z])", re.IGNORECASE)
_BEGINNING = re.compile(r"<(?:[?!]|[a-z])", re.IGNORECASE)
_ALONE = re.compile(r"<[?!]?[a-z-][^<>]*>", re.IGNORECASE)
_CLOSE = re.compile(r"</(?:[a-z][\w.-]*:)?(?:top|topic)\s*>", re.IGNORECASE)


def is_tagged(text: str) -> bool:
    """Whether a file's text begins with a tag and has topics, or looks like nothing but tags."""
    first = text.lstrip().split("\n", 1)[0].strip()
    if first.startswith("<?xml") or _ALONE.fullmatch(first):
        return True
    return bool(_BEGINNING.match(first) and _CLOSE.search(text))


def read_topics(file: Path, text: str) -> dict[str, str]:
    """Ids to queries, in the file's order.

    The query of a topic is its title, or else the first of `_TEXTS` that it has, or else all of it.
    Labels (``Number:``, ``Topic:``) and tags inside of a field are no part of it; a topic without
    any text has an empty query. Raises `DatasetError` for a file without topics, a topic without an
    id or an end, and two topics with one id.
    """
    text = _COMMENT.sub(_blank, _CDATA.sub(lambda match: html.escape(match[1]), text))
    text = _PREFIX.sub(r"\1", text)
    queries: dict[str, str] = {}
    for number, attributes, body in _topics(file, text):
        fields = _fields(body)
        name = attributes.keys() & set(_IDS)
        query_id = attributes[min(name)] if name else _first(fields, _IDS)
        if not query_id:
            raise DatasetError(f"{file}:{number}: this topic has no id; {FORM}")
        others = [words for field, words in fields.items() if field not in _IDS]
        query = _first(fields, _TEXTS) or " ".join(filter(None, others or [_words(body)]))
        if query_id in queries:
            raise DatasetError(
                f"{file}:{number}: topic {query_id} is there already; give each an id of its own"
            )
        queries[query_id] = query
    if not queries:
        raise DatasetError(f"{file}:1: begins with a tag and has no topics; {FORM}")
    return queries


def _topics(file: Path, text: str) -> Iterator[tuple[int, dict[str, str], str]]:
    """The line on which each topic begins, its attributes, and what stands in it."""
    opened = list(_OPEN.finditer(text))
    begun = [match.start() for match in opened]
    number, counted = 1, 0
    for match, following in zip(opened, [*begun[1:], len(text)], strict=False):
        number += text.count("\n", counted, match.start())
        counted = match.start()
        body = text[match.end() : following]
        close = re.search(rf"</{match[1]}\s*>", body, re.IGNORECASE)
        if close is None:
            raise DatasetError(
                f"{file}:{number}: this topic does not end; is the file whole? {FORM}"
            )
        attributes = {
            name.lower(): html.unescape(double or single).strip()
            for name, double, single in _ATTRIBUTE.findall(match[2])
        }
        yield number, attributes, body[: close.start()]


def _fields(body: str) -> dict[str, str]:
    """Fields by name, the first of a name that has a text.

    A field goes on to its end tag, or else to the next tag.
    """
    fields: dict[str, str] = {}
    body = _BREAK.sub(" ", _STYLE.sub("", body))
    place = 0
    while match := _FIELD.search(body, place):
        end = re.compile(rf"</{re.escape(match[1])}\s*>", re.IGNORECASE).search(body, match.end())
        following = end or _TAG.search(body, match.end())
        place = following.start() if following else len(body)
        name = _LANGUAGE.sub("", match[1].lower())
        fields[name] = fields.get(name) or _words(body[match.end() : place])
    return fields


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _words(text: str) -> str:
    """Text without tags and without a label before it, on one line."""
    plain = " ".join(html.unescape(_TAG.sub(" ", text)).split())
    label = _LABEL.match(plain)
    return plain[label.end() :].strip() if label else plain


def _blank(match: re.Match[str]) -> str:
    """As many lines as there were."""
    return "\n" * match[0].count("\n")
