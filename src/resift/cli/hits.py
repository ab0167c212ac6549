"""Hits for people at a terminal: the best sentence, the query's words marked, where it is.

Each line fits the terminal. Knows no model: `resift.cli.best_sentences` chooses the sentences.
"""

from collections.abc import Iterable, Sequence

from rich.style import Style
from rich.text import Text

from resift.cli.best_sentences import text_of
from resift.cli.hit_files import file_link, has_hyperlinks, line_of, local_file, location
from resift.cli.marks import LANGUAGE, QueryWords
from resift.cli.output import console, printable, snippet
from resift.cli.passages import MAX_LEAD, MAX_PASSAGE, MAX_PATH, pieces
from resift.cli.symbols import encodable
from resift.types import Hit, Ranking

Span = tuple[int, int]

MARKED = "bold red"  # as grep marks matches; bold remains where there are no colours
MIN_WIDTH = 20  # columns of the text; a narrower terminal wraps it
_PROBABILITIES = ("model", "judged")


def print_hits_for_people(
    ranking: Ranking, best: Sequence[Span | None], language: str = LANGUAGE
) -> None:
    """Print each hit in a few lines; `best` are spans of the hits' texts."""
    words = QueryWords(ranking.query, language)
    has_links = has_hyperlinks()
    indent = len(str(len(ranking))) + 1
    for hit, span in zip(ranking, best, strict=True):
        lines = [
            _title(hit, words),
            _excerpt(hit, span, words),
            _source(hit, span, has_links),
            _ranks(hit, ranking.receipt.calibration in _PROBABILITIES),
        ]
        _print_indented(Text(f"{hit.rank:>{indent - 1}} ", "bold"), filter(None, lines))
        console.print()


def _print_indented(label: Text, lines: Iterable[Text]) -> None:
    """Print lines behind a label, each wrapped to the terminal, without blanks at their ends."""
    width = max(console.width - len(label), MIN_WIDTH)
    prefix, rest = label, Text(" " * len(label))
    for line in lines:
        for row in line.wrap(console, width, overflow="fold"):
            row.rstrip()
            console.print(Text.assemble(prefix, row), soft_wrap=True)
            prefix = rest


def _title(hit: Hit, words: QueryWords) -> Text:
    """Title and heading; the last part of the heading is often the most exact one."""
    heading = hit.citation.heading if hit.citation else ""
    parts = [snippet(str(part), MAX_PATH) for part in (hit.title, heading) if part]
    return _marked(" — ".join(part for part in parts if part), words, "bold")


def _excerpt(hit: Hit, span: Span | None, words: QueryWords) -> Text:
    """The best sentence, and dimmed what stands round it; or the beginning of the text."""
    text = text_of(hit)
    if span is None:
        return _marked(snippet(text, MAX_PASSAGE), words)
    start, end = _from_first_word(text, span, words)
    paragraph = text.rfind("\n\n", 0, start) + 1  # what is before it is often the heading
    before, sentence, after = pieces(text[paragraph:], (start - paragraph, end - paragraph))
    return Text.assemble(
        _marked(before, words, "dim"), _marked(sentence, words), _marked(after, words, "dim")
    )


def _from_first_word(text: str, span: Span, words: QueryWords) -> Span:
    """The span; of a sentence too long to print, from its first word of the query.

    Nothing changes if that word is near its beginning.
    """
    start, end = span
    if end - start <= MAX_PASSAGE:
        return span
    first = next((first for first, _ in words.spans(text[start:end])), 0)
    if first <= MAX_LEAD:
        return span
    return start + first, end


def _source(hit: Hit, span: Span | None, has_links: bool) -> Text:
    """Path and line, page or row; a hyperlink to a file of this machine."""
    citation = hit.citation
    if citation is None:
        return Text(f"id {_path(hit.id)}", "dim")
    line = line_of(hit, span[0] if span else 0)
    style = Style(dim=True)
    file = local_file(citation)
    if file is not None and has_links:
        style += Style(link=file_link(file))
    text = Text(_path(location(citation, line)), style)
    for name, number in (("page", citation.page), ("row", citation.row)):
        if number is not None:
            text.append(encodable(f" · {name} {number}"), "dim")
    return text


def _ranks(hit: Hit, is_probability: bool) -> Text:
    """The score, or why there is none, and the rank before reranking."""
    if hit.score is None:
        score = hit.status.replace("_", " ")
    else:
        score = f"{'probability' if is_probability else 'score'} {hit.score:.4f}"
    return Text(encodable(f"{score} · first stage {hit.first_stage_rank}"), "dim")


def _path(path: str) -> str:
    """A path that is too long without its beginning."""
    path = encodable(printable(path))
    return path if len(path) <= MAX_PATH else encodable("…") + path[1 - MAX_PATH :]


def _marked(line: str, words: QueryWords, style: str = "") -> Text:
    """A printable line with the words of the query marked."""
    text = Text(style=style)
    at = 0
    for start, end in words.spans(line):
        text.append(encodable(line[at:start])).append(encodable(line[start:end]), MARKED)
        at = end
    return text.append(encodable(line[at:]))
