"""How a ranking looks in a terminal: where each hit is from, and the sentence that answers."""

from rich.table import Table
from rich.text import Text

from resift.cli.output import console, print_table, printable, receipt_line, say, snippet
from resift.cli.sentence import best_sentence
from resift.cli.width import PASSAGE_TABLE
from resift.types import Hit, Ranking

SHOWN = 240  # characters of a passage
BEFORE = 60  # of them at most before the sentence that answers
PATH = 120  # characters of a path; what is cut is its beginning


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
    """Title, where it is from, and a part of the text with the sentence that answers in bold."""
    shown = Text()
    title = snippet(str(hit.title or ""), PATH)
    if title:
        shown.append(title, "underline").append("\n")
    shown.append_text(_excerpt(query, hit.text if isinstance(hit.text, str) else ""))
    place = where(hit)
    return shown.append(f"\n{place}", "dim") if place else shown


def where(hit: Hit) -> str:
    """Path, page or row, and heading, as far as they are known."""
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
    """The end of a path says more than its beginning."""
    return path if len(path) <= PATH else f"…{path[1 - PATH :]}"
