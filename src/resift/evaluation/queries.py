"""Read queries from a BEIR folder, JSON Lines, TREC topics, or lines of text."""

import hashlib
import html
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.lines import BLANKS, HEADINGS, json_id, json_objects
from resift.inputs import text_lines

_JSON_LINES = (".jsonl", ".jsonl.gz")
ROW_FORM = "expected a JSON object with _id and text"
_TOPIC_FORM = (
    'expected topics: <top> with <num> and <title>, or <topic number="…"> with <query>, each with '
    "its end tag"
)
_ID_FIELDS = ("num", "number", "identifier", "id", "qid", "topic_id")
_QUERY_FIELDS = ("title", "query", "question", "desc", "description", "summary")
"""Fields of a topic that may hold the query: the first of these that has a text."""

_TOPIC = re.compile(r"<(top|topic)(?=[\s>/])([^<>]*)>", re.IGNORECASE)
_TOPIC_END = re.compile(r"</(?:[a-z][\w.-]*:)?(?:top|topic)\s*>", re.IGNORECASE)
_FIELD = re.compile(r"<([a-z][\w.-]*)(?:\s[^<>]*)?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][\w.-]*(?:\s[^<>]*)?/?>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([\w.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_STYLE = re.compile(r"</?(?:a|b|em|font|i|small|span|strong|su[bp]|u)(?:\s[^<>]*)?>", re.IGNORECASE)
_LINE_BREAK = re.compile(r"</?(?:br|p)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_LABEL = re.compile(r"(?:number|topic|description)\s*:", re.IGNORECASE)
_LANGUAGE = re.compile(r"[a-z]{2}-(?=title$|desc$)")  # EN-title
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_NAMESPACE = re.compile(r"(?<=<)(/?)[a-z][\w.-]*:(?=[a-z])", re.IGNORECASE)
_TAG_START = re.compile(r"<(?:[?!]|[a-z])", re.IGNORECASE)
_TAG_LINE = re.compile(r"<[?!]?[a-z-][^<>]*>", re.IGNORECASE)


def read_queries(path: Path) -> dict[str, str]:
    """Read query ids and texts, in the file's order.

    `path` is a BEIR folder, a ``.jsonl`` file with ``{"_id": …, "text": …}`` lines, TREC topics in
    SGML or XML, a file with an id, a tab and a query per line, or a text file with a query per
    line, whose ids come from `line_id`. A query may be empty. Raises `DatasetError` for a file
    without queries, and for an id that a judgment file cannot contain.
    """
    if os.path.isdir(path):
        queries = read_json_queries(find_file(path, "queries.jsonl"))
    elif path.name.endswith(_JSON_LINES):
        queries = read_json_queries(path)
    else:
        queries = _read_text(path)
    if not queries:
        raise DatasetError(
            f"{path}: contains no queries; expected a BEIR folder or a query per line"
        )
    for query_id, text in queries.items():
        if not _is_unicode(text):
            raise DatasetError(f"{path}: query {query_id!r} has half a character; correct its text")
        if not is_storable(query_id):
            raise DatasetError(
                f"{path}: query id {query_id!r}: expected no tabs or line ends, and no "
                "blanks around it"
            )
    return queries


def read_json_queries(file: Path) -> dict[str, str]:
    """Read the queries of a JSON Lines file; a null text is empty.

    Raises `DatasetError` for an invalid line, and for two queries with one id.
    """
    queries: dict[str, str] = {}
    for number, row in json_objects(file, ROW_FORM):
        try:
            query_id, text = json_id(row), row["text"]
            if text is not None and not isinstance(text, str):
                raise ValueError(f"text is {text!r:.40}")
        except (ValueError, KeyError) as error:
            raise DatasetError(f"{file}:{number}: {ROW_FORM} ({error})") from error
        _add(queries, query_id, text or "", f"{file}:{number}")
    return queries


def find_file(folder: Path, name: str) -> Path:
    """Find a file of a BEIR folder, plain or gzipped; raises `DatasetError` if it is missing."""
    for file in (folder / name, folder / f"{name}.gz"):
        if os.path.isfile(file):
            return file
    raise DatasetError(f"{folder}: contains no {name} or {name}.gz; expected a BEIR collection")


def line_id(text: str) -> str:
    """Make an id of a hash of a query's words, so that it does not depend on other lines."""
    words = " ".join(text.split())
    return f"q-{hashlib.sha256(words.encode()).hexdigest()[:12]}"


def is_storable(name: str) -> bool:
    """Whether an id can be a field of a tab-separated line."""
    if not name.strip(BLANKS) or name != name.strip(BLANKS) or name == "#":
        return False
    return not any(end in name for end in "\t\r\n\0") and _is_unicode(name)


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded; JSON may contain lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add(queries: dict[str, str], query_id: str, text: str, where: str) -> None:
    if queries.setdefault(query_id, text) != text:
        raise DatasetError(
            f"{where}: query {query_id} occurs above with another text; expected different ids"
        )


def _read_text(file: Path) -> dict[str, str]:
    """Read TREC topics or lines; lines that begin with ``# `` are comments."""
    lines = list(text_lines(file))
    text = "\n".join("" if line.startswith("# ") else line for _, line in lines)
    if _is_tagged(text):
        return _read_topics(file, text)
    return _read_query_lines(
        file,
        [
            (number, line.strip(BLANKS))
            for number, line in lines
            if line.strip() and not line.startswith("# ")
        ],
    )


def _read_query_lines(file: Path, lines: Sequence[tuple[int, str]]) -> dict[str, str]:
    """Read an id, a tab and a query per line if most lines have them, else a query per line.

    Raises `DatasetError` if only some lines lack an id, and for other formats.
    """
    if lines and lines[0][1].startswith(("{", "[")):
        raise DatasetError(
            f"{file}:{lines[0][0]}: neither topics nor plain queries; expected  id<TAB>query  or a "
            "query per line (JSON Lines need a name that ends in .jsonl)"
        )
    pairs = [_id_and_query(line) for _, line in lines]
    if sum(pair is not None for pair in pairs) * 2 <= len(pairs):
        texts = [" ".join(line.split()) for _, line in lines]
        return {line_id(text): text for text in texts}
    queries: dict[str, str] = {}
    for index, (pair, (number, line)) in enumerate(zip(pairs, lines, strict=True)):
        if pair is None:
            raise DatasetError(
                f"{file}:{number}: expected  id<TAB>query  as in most lines, not {line[:40]!r}"
            )
        query_id, text = pair
        if index > 0 or query_id.lower() not in HEADINGS:
            _add(queries, query_id, text, f"{file}:{number}")
    return queries


def _id_and_query(line: str) -> tuple[str, str] | None:
    """Split a line at its tab; None without a tab, or if the id has blanks in it."""
    name, tab, text = line.partition("\t")
    if not tab or any(blank in name.strip(BLANKS) for blank in BLANKS):
        return None
    return name.strip(BLANKS), " ".join(text.split())


def _is_tagged(text: str) -> bool:
    """Whether a text begins with a tag and has topics, or begins with a line of a single tag."""
    first = text.lstrip().split("\n", 1)[0].strip()
    if first.startswith("<?xml") or _TAG_LINE.fullmatch(first):
        return True
    return bool(_TAG_START.match(first) and _TOPIC_END.search(text))


def _read_topics(file: Path, text: str) -> dict[str, str]:
    """Read ids and queries of TREC topics in SGML or XML, in the file's order.

    Topics are parsed by regular expressions, because most such files are not well-formed XML
    (fields have no end tags, ``&`` is not escaped). This also means that entities are not expanded.

    The query of a topic is its first field of `_QUERY_FIELDS`, or else its whole text. Labels
    (``Number:``, ``Topic:``) and tags inside a field are removed. Raises `DatasetError` for a file
    without topics, a topic without an id or an end tag, and two topics with one id.
    """
    text = _CDATA.sub(lambda match: html.escape(match[1]), text)
    text = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    text = _NAMESPACE.sub(r"\1", text)
    queries: dict[str, str] = {}
    for number, attributes, body in _topics(file, text):
        fields = _topic_fields(body)
        attribute = min(attributes.keys() & set(_ID_FIELDS), default=None)
        query_id = attributes[attribute] if attribute else _first_text(fields, _ID_FIELDS)
        if not query_id:
            raise DatasetError(f"{file}:{number}: this topic has no id; {_TOPIC_FORM}")
        if query_id in queries:
            raise DatasetError(
                f"{file}:{number}: topic {query_id} occurs above; expected different ids"
            )
        texts = [words for field, words in fields.items() if field not in _ID_FIELDS]
        queries[query_id] = _first_text(fields, _QUERY_FIELDS) or " ".join(
            filter(None, texts or [_words(body)])
        )
    if not queries:
        raise DatasetError(f"{file}:1: begins with a tag and has no topics; {_TOPIC_FORM}")
    return queries


def _topics(file: Path, text: str) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield the line number, attributes and content of each topic."""
    starts = list(_TOPIC.finditer(text))
    ends = [*(match.start() for match in starts[1:]), len(text)]
    number, counted = 1, 0
    for match, end in zip(starts, ends, strict=False):
        number += text.count("\n", counted, match.start())
        counted = match.start()
        body = text[match.end() : end]
        close = re.search(rf"</{match[1]}\s*>", body, re.IGNORECASE)
        if close is None:
            raise DatasetError(
                f"{file}:{number}: this topic has no end tag; is the file complete? {_TOPIC_FORM}"
            )
        attributes = {
            name.lower(): html.unescape(double or single).strip()
            for name, double, single in _ATTRIBUTE.findall(match[2])
        }
        yield number, attributes, body[: close.start()]


def _topic_fields(body: str) -> dict[str, str]:
    """Fields by name. A field ends at its end tag or the next tag; the first with a text counts."""
    fields: dict[str, str] = {}
    body = _LINE_BREAK.sub(" ", _STYLE.sub("", body))
    position = 0
    while match := _FIELD.search(body, position):
        end_tag = re.compile(rf"</{re.escape(match[1])}\s*>", re.IGNORECASE)
        end = end_tag.search(body, match.end()) or _TAG.search(body, match.end())
        position = end.start() if end else len(body)
        name = _LANGUAGE.sub("", match[1].lower())
        fields[name] = fields.get(name) or _words(body[match.end() : position])
    return fields


def _first_text(fields: Mapping[str, str], names: Sequence[str]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _words(text: str) -> str:
    """Remove tags, and a label before the text; returns one line."""
    plain = " ".join(html.unescape(_TAG.sub(" ", text)).split())
    label = _LABEL.match(plain)
    return plain[label.end() :].strip() if label else plain
