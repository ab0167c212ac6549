"""The analyser of an index: text in, terms out, as the full-text index reads them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from resift.index.analysis.spec import TRIGRAMS, AnalyserSpec
from resift.index.analysis.stop_words import without_stop_words
from resift.index.analysis.terms import Token, Tokens, normalised
from resift.index.analysis.trigrams import trigrams
from resift.index.analysis.words import Words

# Longer ones are rare and differ; they would fill the memory.
_CACHED_CHUNKS, _MAX_CACHED = 200_000, 40


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """The terms of a query, each once, separated by spaces.

    `terms` are stems, parts of identifiers and n-grams, `words` exact words, and `identifiers`
    those that are whole. All are empty for a query without letters, digits and emoji.
    """

    terms: str
    words: str
    identifiers: str


class Analyser:
    """Converts texts to terms. Pure: equal texts have equal terms. Threads may share it.

    It normalises and analyses what is between white space, and caches the results: most words
    occur often.
    """

    def __init__(self, tokens: Callable[[str], Tokens], language: str) -> None:
        self._tokens = tokens
        self._language = language
        self._cached_lines = lru_cache(_CACHED_CHUNKS)(self._lines)

    def document(self, text: str) -> tuple[str, str]:
        """The terms of a document and its exact terms, each separated by spaces."""
        lines = [
            self._cached_lines(chunk) if len(chunk) <= _MAX_CACHED else self._lines(chunk)
            for chunk in text.split()
        ]
        return (
            " ".join([terms for terms, _ in lines if terms]),
            " ".join([exact for _, exact in lines if exact]),
        )

    def query(self, text: str) -> QueryTerms:
        """The terms of a query, without its stop words unless it has little else."""
        pairs = [pair for chunk in text.split() for pair in self._normalised_tokens(chunk)]
        stays = without_stop_words([name for name, _ in pairs], self._language)
        tokens = [token for (_, token), stay in zip(pairs, stays, strict=True) if stay]
        return QueryTerms(
            _line(term for token in tokens for term in token.terms),
            _line(word for token in tokens for word in token.words),
            _line(name for token in tokens for name in token.identifiers),
        )

    def _lines(self, chunk: str) -> tuple[str, str]:
        tokens = [token for _, token in self._normalised_tokens(chunk)]
        return " ".join(_all_terms(tokens)), " ".join(_exact_terms(tokens))

    def _normalised_tokens(self, chunk: str) -> Tokens:
        """The tokens of a part of a text; normalising may add white space to it."""
        return tuple(pair for part in normalised(chunk).split() for pair in self._tokens(part))


@cache
def open_analyser(spec: AnalyserSpec) -> Analyser:
    """Open the analyser that makes, or has made, the terms of an index."""
    tokens = trigrams if spec.name == TRIGRAMS else Words(spec.language)
    return Analyser(tokens, spec.language)


def _all_terms(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        yield from token.terms
        yield from token.also


def _exact_terms(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        yield from token.words
        yield from token.identifiers


def _line(terms: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(terms))
