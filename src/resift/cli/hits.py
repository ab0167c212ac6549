"""Print a ranking: the source of each hit, and the sentence that matches the query best."""

import math
import re
import unicodedata
from collections import Counter

from rich.table import Table
from rich.text import Text

from resift.cli.output import console, print_table, printable, receipt_line, say, snippet
from resift.cli.width import PASSAGE_TABLE
from resift.rerank.sentences import sentences
from resift.types import Hit, Ranking

SHOWN = 240  # characters of a passage
BEFORE = 60  # of them at most before the best sentence
PATH = 120  # characters of a path; what is cut is its beginning
_WORD = re.compile(r"[^\W_]+")
_LOOKED_AT = 20_000  # characters of a text; what is read of it is far less
_STEM = 5  # letters: "delete", "deleted" and "deletion" have them in common
_WEIGHT = 8  # of a word at most, by its length: long ones are rare
_SHORT = 100  # characters: sentences below it are hardly preferred to each other


def print_ranking(ranking: Ranking) -> None:
    """A table of hits, and the receipt in a line."""
    table = Table(show_edge=False, pad_edge=False, box=None, expand=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("was", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("passage", ratio=1, overflow="fold")
    for hit in ranking:
        score = hit.status if hit.score is None else f"{hit.score:.4f}"
        table.add_row(str(hit.rank), str(hit.first_stage_rank), score, passage(ranking.query, hit))
    if len(ranking):
        print_table(table, PASSAGE_TABLE)
    else:
        console.print("nothing to show", style="dim", soft_wrap=True)
    say(receipt_line(ranking), style="dim")


def passage(query: str, hit: Hit) -> Text:
    """Title, part of the text with the best sentence in bold, and source."""
    shown = Text()
    title = snippet(str(hit.title or ""), PATH)
    if title:
        shown.append(title, "underline").append("\n")
    shown.append_text(_excerpt(query, hit.text if isinstance(hit.text, str) else ""))
    source = where(hit)
    return shown.append(f"\n{source}", "dim") if source else shown


def where(hit: Hit) -> str:
    """Path, page or row, and heading of a hit, as far as its citation has them."""
    citation = hit.citation
    if citation is None:
        return ""
    parts = [_tail(printable(citation.doc_id or citation.uri))]
    for name, number in (("page", citation.page), ("row", citation.row)):
        if number is not None:
            parts.append(f"{name} {number}")
    parts.append(snippet(citation.heading, PATH))
    return " · ".join(part for part in parts if part)


def _excerpt(query: str, text: str) -> Text:
    marked = best_sentence(query, text)
    if marked is None:
        return Text(snippet(text, SHOWN))
    start, end = marked
    begin = max(start - BEFORE, 0)
    begin = begin if begin == 0 else text.find(" ", begin, start) + 1 or start
    sentence = snippet(text[start:end], SHOWN)
    lead = " ".join(printable(text[begin:start]).split())
    rest = SHOWN - len(sentence) - len(lead)
    shown = Text("… " if begin else "")
    shown.append(f"{lead} " if lead else "").append(sentence, "bold")
    if rest > 1 and (after := snippet(text[end:], rest)):
        shown.append(f" {after}")
    return shown


def _tail(path: str) -> str:
    """The end of a long path."""
    return path if len(path) <= PATH else f"…{path[1 - PATH :]}"


def best_sentence(query: str, text: str) -> tuple[int, int] | None:
    """``(start, end)`` of the sentence that shares most with a query, the first of equals.

    Long words count more than short ones, words of few sentences more than those of many, and a
    long sentence has to share more. None where nothing is shared.
    """
    wanted = _terms(query)
    parts = sentences(text[:_LOOKED_AT], max_parts=_LOOKED_AT)
    shared = [wanted & _terms(text[start:end]) for start, end in parts]
    common = Counter(term for terms in shared for term in terms)
    best, best_weight = None, 0.0
    for (start, end), terms in zip(parts, shared, strict=True):
        weight = sum(min(len(term), _WEIGHT) / common[term] for term in terms)
        weight /= math.sqrt(_SHORT + end - start)
        if weight > best_weight:
            best, best_weight = (start, end), weight
    return best


def _terms(text: str) -> set[str]:
    """Words in small letters, cut to their stems; each character of scripts without spaces."""
    terms: set[str] = set()
    for match in _WORD.finditer(text.casefold()):
        word = match.group()
        if unicodedata.east_asian_width(word[0]) in "WF":
            terms.update(word)
        else:
            terms.add(word[:_STEM])
    return terms
