"""The analyser for words: stems, exact words, identifiers whole and in parts, n-grams of CJK."""

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from resift.index.analysis.characters import clusters, tokens
from resift.index.analysis.identifiers import (
    abbreviations,
    bounded,
    camel_parts,
    numbered_parts,
    split_compound,
    unique,
    without_possessive,
)
from resift.index.analysis.stemming import Stems, lower
from resift.index.analysis.terms import Token, Tokens

_PLAIN = re.compile(r"[^.\-/\\:@'+#&,$%_]+")
_HANGUL = re.compile("[\uac00-\ud7a3]{3,20}")
_URL, _RUN, _COMPOUND = 1, 2, 3  # groups of `tokens`


class Words:
    """Tokens of texts in one language. Threads may share it."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._stems = Stems(language)
        self._pattern = tokens()

    def __call__(self, chunk: str) -> Tokens:
        """The tokens of a part of a text, which has no white space."""
        matches = self._pattern.finditer(chunk)
        return tuple((match[0], self._token(match[0], match.lastindex or 0)) for match in matches)

    def _token(self, name: str, group: int) -> Token:
        if group == _RUN:
            return grams(name)
        if group == _URL:
            return self._url(name)
        if group != _COMPOUND:
            return Token((name,))
        name = without_possessive(name)
        return self._word(name) if _PLAIN.fullmatch(name) else self._compound(name)

    def _url(self, url: str) -> Token:
        """The whole URL and the tokens of what follows its scheme."""
        inner = [token for _, token in self(url.partition("://")[2])]
        return _joined([Token((), (), (bounded(lower(url)),)), *inner])

    def _compound(self, name: str) -> Token:
        compound = split_compound(name)
        stems = tuple(self._stems(bounded(word)) for word in compound.joined)
        exact, identifiers = (
            tuple(map(bounded, names)) for names in (compound.hyphenated, compound.identifiers)
        )
        words = [self._word(word) for word in compound.words]
        return _joined([Token(stems, exact, identifiers), *words])

    def _word(self, word: str) -> Token:
        """The terms of a word: its stem, and those of the parts of a name."""
        camel = camel_parts(word)
        parts = [self._plain(part) for name in (*camel, word) for part in numbered_parts(name)]
        parts += [self._plain(part) for part in camel]
        whole = self._plain(word)
        if camel:
            exact = bounded(lower(word, self._language))
            whole = replace(whole, words=(), identifiers=(exact,))
        return _joined([whole, *parts]) if parts else whole

    def _plain(self, word: str) -> Token:
        exact = bounded(lower(word, self._language))
        stem = self._stems(exact)
        also = abbreviations(exact)
        if not exact.isascii():
            also += (self._stems.without_accents(exact),)
        words = (exact,) if exact != stem else ()
        return Token((stem,), words, (), tuple(term for term in also if term != stem))


def grams(run: str) -> Token:
    """Pairs of characters of a text without spaces, with their marks; single ones `also`.

    So each part of a run with two characters or more is found, whatever words it consists of.
    """
    characters = [lower(cluster) for cluster in clusters().findall(run)]
    if len(characters) < 2:
        return Token(tuple(characters))
    pairs = (first + second for first, second in pairwise(characters))
    words = (run,) if _HANGUL.fullmatch(run) else ()
    return Token(tuple(pairs), words, (), tuple(characters))


def _joined(parts: Iterable[Token]) -> Token:
    parts = list(parts)
    return Token(
        unique(term for part in parts for term in part.terms),
        unique(word for part in parts for word in part.words),
        unique(name for part in parts for name in part.identifiers),
        unique(term for part in parts for term in part.also),
    )
