"""A hit as text in few lines: its title, the part of it round its best sentence, and its source."""

from rich.text import Text

from resift.cli.best_sentences import best_sentence, text_of
from resift.cli.output import printable, snippet
from resift.types import Hit

MAX_PASSAGE = 240  # printed characters of a passage
MAX_LEAD = 60  # printed characters before the best sentence
MAX_PATH = 120  # characters of a path; its beginning is cut


def passage(query: str, hit: Hit) -> Text:
    """Title, part of the text with the best sentence in bold, and source."""
    text = Text()
    title = snippet(str(hit.title or ""), MAX_PATH)
    if title:
        text.append(title, "underline").append("\n")
    text.append_text(_excerpt(query, text_of(hit)))
    source = cited_at(hit)
    return text.append(f"\n{source}", "dim") if source else text


def cited_at(hit: Hit) -> str:
    """The path, id of a row, page, row, line and heading that a hit's citation has."""
    citation = hit.citation
    if citation is None:
        return ""
    is_row = citation.row is not None
    path = printable(citation.uri if is_row or not citation.doc_id else citation.doc_id)
    parts = [path if len(path) <= MAX_PATH else f"…{path[1 - MAX_PATH :]}"]
    if is_row and citation.doc_id != f"row-{citation.row}":
        parts.append(snippet(citation.doc_id, MAX_PATH))
    numbers = (("page", citation.page), ("row", citation.row), ("line", citation.line))
    for name, number in numbers:
        if number is not None:
            parts.append(f"{name} {number}")
    parts.append(snippet(citation.heading, MAX_PATH))
    return " · ".join(part for part in parts if part)


def _excerpt(query: str, text: str) -> Text:
    best = best_sentence(query, text)
    if best is None:
        return Text(snippet(text, MAX_PASSAGE))
    lead, sentence, after = pieces(text, best)
    excerpt = Text(lead)
    excerpt.append(sentence, "bold")
    return excerpt.append(after)


def pieces(text: str, best: tuple[int, int]) -> tuple[str, str, str]:
    """On one line: some text before the best sentence, the sentence, and the text after it.

    Together they have about `MAX_PASSAGE` characters, and none that could control a terminal.
    """
    start, end = best
    begin = max(start - MAX_LEAD, 0)
    begin = begin if begin == 0 else text.find(" ", begin, start) + 1 or start
    sentence = snippet(text[start:end], MAX_PASSAGE)
    lead = " ".join(printable(text[begin:start]).split())
    rest = MAX_PASSAGE - len(sentence) - len(lead)
    after = snippet(text[end:], rest) if rest > 1 else ""
    before = f"{'… ' if begin else ''}{lead}{' ' if lead else ''}"
    return before, sentence, f" {after}" if after else ""
