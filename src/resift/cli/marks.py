"""Which words of a text are words of the query: by their stems, as the full-text index has them.

Parts of identifiers count as words, and so do pairs of characters in scripts without spaces. Knows
no terminal.
"""

from collections.abc import Iterator
from itertools import pairwise

from resift.errors import MissingExtra
from resift.index.analysis.analyser import open_analyser
from resift.index.analysis.characters import clusters, is_unspaced, tokens
from resift.index.analysis.identifiers import part_spans
from resift.index.analysis.spec import NO_LANGUAGE, AnalyserSpec
from resift.index.analysis.stemming import lower
from resift.search.snippets import BEGINNING

LANGUAGE = AnalyserSpec().language  # without an index

Span = tuple[int, int]


class QueryWords:
    """The words of a query, without stop words unless it has little else."""

    def __init__(self, query: str, language: str = LANGUAGE) -> None:
        """`language` is that of the index's analyser. Without stemmers, beginnings are compared."""
        self._length: int | None = None
        try:
            self._analyser = open_analyser(AnalyserSpec(language=language))
        except MissingExtra:
            self._analyser = open_analyser(AnalyserSpec(language=NO_LANGUAGE))
            self._length = BEGINNING
        words = self._analyser.query(query)
        self._identifiers = set(words.identifiers.split())
        self._terms = {term[: self._length] for term in words.terms.split()}

    def spans(self, text: str) -> Iterator[Span]:
        """``(start, end)`` of each word of the query in a text, in order and apart."""
        for match in tokens().finditer(text):
            word, start = match[0], match.start()
            if is_unspaced(word[0]):
                yield from self._pairs(word, start)
                continue
            parts = part_spans(word)
            has_parts = len(parts) > 1
            if self._has(word, has_parts):
                yield match.span()
            elif has_parts:
                yield from (
                    (start + first, start + last)
                    for first, last in parts
                    if self._has(word[first:last], False)
                )

    def _has(self, word: str, has_parts: bool) -> bool:
        """Whether the query has a word; a word with parts has to be in it as a whole."""
        line, exact = self._analyser.document(word)
        terms = line.split()
        if has_parts and len(terms) != 1:  # with a single term it has no parts for the analyser
            return bool(self._identifiers.intersection(exact.split()))
        return bool(self._terms.intersection(term[: self._length] for term in terms))

    def _pairs(self, run: str, start: int) -> Iterator[Span]:
        """Ranges of a run in which each pair of neighbours is in the query, or a single one is."""
        characters = [match.span() for match in clusters().finditer(run)]
        spans = [(first, last) for (first, _), (_, last) in pairwise(characters)]
        begin = end = -1
        for first, last in sorted([*characters, *spans]):
            if lower(run[first:last]) not in self._terms:
                continue
            if first > end:
                if end > 0:
                    yield start + begin, start + end
                begin = first
            end = max(end, last)
        if end > 0:
            yield start + begin, start + end
