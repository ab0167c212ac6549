"""Splits identifiers, paths, addresses and numbers into the words that people search them by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

_MAX_LENGTH = 256
# The characters that stay of a longer term, before a hash of the whole.
_BEGINNING = 200
# A longer word is no name in camelCase, but data.
_MAX_NAME = 80
_MAX_JOINED = 40
_SEGMENTS = re.compile(r"[/\\:@#&+]+")
_WORDS = re.compile(r"[^.\-_']+")
_LETTERS = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"'[sS]$")
_GROUPED = re.compile(r"\d{1,3}(?:[,_']\d{3})+")
_ACRONYM = re.compile(r"[^\W\d_](?:\.[^\W\d_])+")
_HEX = re.compile(r"(?:0x)?[0-9a-f]*[0-9][0-9a-f]*")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATIONS = range(7, 13)
_HYPHENATED = re.compile(r"[^\W\d_]+(?:[-'][^\W_]+)+")
_VERSION = re.compile(r"v(\d+(?:\.\d+)+\S*)")
_NUMBERED = re.compile(r"([^\W\d_]{3,})(\d+)")


@dataclass(frozen=True, slots=True)
class Compound:
    """A token of several words. `words` are as they are written, the others in lower case.

    `joined` are words without their hyphens or separators: email for e-mail, 1000 for 1,000.
    `identifiers` are the whole token, and its segments that have several words; `hyphenated` are
    those of them that are more often words of a language: well-known, don't.
    """

    words: tuple[str, ...]
    joined: tuple[str, ...]
    identifiers: tuple[str, ...]
    hyphenated: tuple[str, ...]


def bounded(term: str) -> str:
    """The term, or for a very long one its beginning with a hash of the whole."""
    if len(term) <= _MAX_LENGTH:
        return term
    digest = blake2b(term.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{term[:_BEGINNING]}{digest}"


def without_possessive(token: str) -> str:
    """The token without an English ``'s`` at its end."""
    return _POSSESSIVE.sub("", token)


def split_compound(token: str) -> Compound:
    """Split a token, which has no white space, at its signs and punctuation."""
    if _GROUPED.fullmatch(token):
        return Compound((), (re.sub(r"\D", "", token),), (), ())
    lower = token.casefold()
    bare = token.strip("-.$@#%+_")
    segments = unique(segment for segment in _SEGMENTS.split(bare) if segment)
    words = [word for segment in segments for word in _words(segment)]
    inner = [name.casefold() for name in (bare, *segments) if len(_WORDS.findall(name)) > 1]
    versions = [match[1] for name in (lower, *inner) if (match := _VERSION.fullmatch(name))]
    joined = [name for segment in segments for name in _joined(segment.casefold())]
    names = unique([lower, *inner, *versions])
    hyphenated = tuple(name for name in names if _HYPHENATED.fullmatch(name))
    identifiers = tuple(name for name in names if not _HYPHENATED.fullmatch(name))
    words += [word for name in versions for word in _words(name)]
    return Compound(unique(words), unique(joined), identifiers, hyphenated)


def camel_parts(word: str) -> tuple[str, ...]:
    """The parts of a name in camelCase, of two letters or more; nothing for other words."""
    spans = _camel_spans(word)
    parts = [word[start:end] for start, end in spans if end - start > 1]
    return tuple(parts) if len(spans) > 1 else ()


def _camel_spans(word: str) -> list[tuple[int, int]]:
    """Where the parts of a name in camelCase are; all of another word."""
    if len(word) > _MAX_NAME or word.islower() or _HEX.fullmatch(word.casefold()):
        return [(0, len(word))]
    cuts = [at for at in range(1, len(word)) if _starts_part(word, at)]
    if len(cuts) > 1 and len(word) < 3 * (len(cuts) + 1):  # as in base64
        cuts = []
    return list(pairwise([0, *cuts, len(word)]))


def part_spans(token: str) -> list[tuple[int, int]]:
    """Where the words of a token are, those of names in camelCase, and numbers at their ends."""
    spans: list[tuple[int, int]] = []
    for match in _LETTERS.finditer(token):
        for start, end in _camel_spans(match[0]):
            first, last = match.start() + start, match.start() + end
            numbered = _NUMBERED.fullmatch(token, first, last)
            bounds = [first, numbered.end(1), last] if numbered else [first, last]
            spans += pairwise(bounds)
    return spans


def numbered_parts(word: str) -> tuple[str, ...]:
    """The letters of a word with a number at its end, and a number of two digits or more."""
    match = None if len(word) > _MAX_NAME else _NUMBERED.fullmatch(word)
    return tuple(part for part in match.groups() if len(part) > 1) if match else ()


def abbreviations(word: str) -> tuple[str, ...]:
    """The usual short forms of a commit's id."""
    return tuple(word[:n] for n in _ABBREVIATIONS) if _COMMIT.fullmatch(word) else ()


def _words(segment: str) -> list[str]:
    """The words of a segment; of a contraction only the long ones, not the t of don't."""
    if _ACRONYM.fullmatch(segment):
        return []
    shortest = 3 if "'" in segment else 1
    return [word for word in _WORDS.findall(segment) if len(word) >= shortest]


def _joined(segment: str) -> tuple[str, ...]:
    """A hyphenated, dotted or contracted word as one: email, usa, dont."""
    if _ACRONYM.fullmatch(segment):
        return (segment.replace(".", ""),)
    words = re.split(r"[-']", segment)
    name = "".join(words)
    is_joined = len(words) > 1 and name.isalnum() and len(name) <= _MAX_JOINED
    return (name,) if is_joined and not name.isdigit() else ()


def _starts_part(word: str, at: int) -> bool:
    """Whether a part starts here: PutObject, HTTPServer and HTTP2Server, not URLs or IPv6."""
    before, here, rest = word[at - 1], word[at], word[at + 1 :]
    if before.isdigit():
        return here.isalpha() and not word.islower()
    if not here.isupper():
        return False
    if before.isupper():
        return rest[:1].islower() and rest != "s" and not rest[1:2].isdigit()
    return before.islower()


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in order."""
    return tuple(dict.fromkeys(names))
