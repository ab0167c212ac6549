"""Real text for static quantisation: activation ranges are read off it.

The default is what every Python carries, its own manual pages (`pydoc_data.topics`), so that a
conversion needs no download. Texts of the model's own language and field fit it better: pass
them as lines of JSON, ``{"query": …, "text": …}``.
"""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resift.errors import DatasetError, InputError
from resift.evaluation.lines import text_lines

PAIRS = 300
HELD_OUT = 64
EACH = 5  # of so many pages, or lines of a file, one is held out
FEWEST = 8  # held-out pairs of a file; with fewer, the built-in ones measure
LISTS = 320
CANDIDATES = 12
LEAST = 40

Words = frozenset[str]
Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CalibrationTexts:
    """Pairs that set the ranges, and others, of other pages, that measure what came of it.

    Every other one of both has a text that does not belong to its query: most candidates do not.
    `given` is all that a file has, as it is there; a pipe is read once.
    """

    ranges: list[tuple[str, str]]
    held_out: list[tuple[str, str]]
    given: list[tuple[str, str]]


def calibration_texts(file: Path | None = None) -> CalibrationTexts:
    """Of lengths from a line to several pages. Raises `InputError` for a file without pairs."""
    given = list(_read(file)) if file else []
    ranges, held_out = _parts(given) if file else _manual_parts()
    if not ranges:
        raise InputError(f'{file}: no pairs in it; expected lines of {{"query": …, "text": …}}')
    if len(held_out) < FEWEST:
        held_out = _manual_parts()[1]
    return CalibrationTexts(_crossed(ranges[:PAIRS]), _crossed(held_out[:HELD_OUT]), given)


def vocabulary_pairs(words: Sequence[str]) -> Pairs:
    """Pairs of a vocabulary's own words at random, of all lengths: read whole, meaning nothing."""
    rng = random.Random(7)
    return [
        (" ".join(rng.choices(words, k=rng.randint(1, 6))), " ".join(rng.choices(words, k=length)))
        for length in (rng.choice([5, 12, 30, 48, 90]) for _ in range(HELD_OUT))
    ]


def _parts(pairs: Pairs) -> tuple[Pairs, Pairs]:
    held_out = pairs[EACH - 1 :: EACH]
    if len(held_out) < FEWEST:
        return pairs, []
    return [pair for place, pair in enumerate(pairs) if (place + 1) % EACH], held_out


def _manual_parts() -> tuple[Pairs, Pairs]:
    """No page is in both."""
    pages = _pages()
    held_out = pages[EACH - 1 :: EACH]
    ranges = [page for place, page in enumerate(pages) if (place + 1) % EACH]
    return list(_manual(ranges)), list(_manual(held_out))


def _crossed(pairs: Pairs) -> Pairs:
    """Every other text goes to the next query but one: as many pairs, half of them at random."""
    texts = [text for _, text in pairs]
    return [
        (query, texts[(place + 2) % len(texts)] if place % 2 else texts[place])
        for place, (query, _) in enumerate(pairs)
    ]


def candidate_lists(given: Pairs) -> list[tuple[str, list[str]]]:
    """At most `LISTS` queries with `CANDIDATES` texts each, as a first stage would hand them over.

    From its own text and the nearest in words down to texts that share few: an exit is there to
    tell these apart, and a model's logits for pairs at random are all alike. Without any `given`
    pairs they are of the built-in pages.
    """
    pairs = given or list(_manual(_pages()))
    texts = list(dict.fromkeys(text for _, text in pairs))
    own = dict(pairs)
    if len(own) < LEAST or len(texts) < LEAST:
        raise InputError(
            f"{len(own)} queries of their own and {len(texts)} texts, exits need {LEAST} "
            "of each at least; give more, or leave --texts out"
        )
    words = [_words(text) for text in texts]
    counts = Counter(word for found in words for word in found)
    rarity = {word: math.log(1 + len(texts) / count) for word, count in counts.items()}
    step = max(len(own) // LISTS, 1)
    lists = []
    for query in list(own)[::step][:LISTS]:
        asked = _words(query)
        shared = [sum(rarity[word] for word in asked & found) / _bulk(found) for found in words]
        nearest = sorted(range(len(texts)), key=lambda place: -shared[place])
        picked = [texts[place] for place in _graded(nearest)]
        lists.append((query, list(dict.fromkeys([own[query], *picked]))[:CANDIDATES]))
    return lists


def _words(text: str) -> Words:
    return frozenset(re.findall(r"\w+", text.lower()))


def _bulk(found: Words) -> float:
    """Long texts share words with everything."""
    return len(found) ** 0.5 + 1


def _graded(nearest: Sequence[int]) -> list[int]:
    """Half of them the best, half spread over all the rest, ever further apart."""
    best = CANDIDATES // 2
    depths = np.geomspace(best, len(nearest) - 1, CANDIDATES - best).astype(int)
    return [*nearest[:best], *(nearest[depth] for depth in depths if depth >= best)]


def _read(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in _numbered(file):
        try:
            row = json.loads(line)
            query, text = row["query"], row["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise _bad_line(file, number) from error
        if not (isinstance(query, str) and isinstance(text, str)):
            raise _bad_line(file, number)
        yield query, text


def _numbered(file: Path) -> Iterator[tuple[int, str]]:
    try:
        yield from text_lines(file)
    except DatasetError as error:
        raise InputError(f"not a readable file of UTF-8 text: {error}") from error


def _bad_line(file: Path, number: int) -> InputError:
    return InputError(f'{file}:{number}: expected a line of {{"query": …, "text": …}}')


def _pages() -> list[list[str]]:
    """Paragraphs of each topic."""
    from pydoc_data.topics import topics

    return [
        [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", topics[name])]
        for name in sorted(topics)
    ]


def _manual(pages: Sequence[list[str]]) -> Iterator[tuple[str, str]]:
    """(first words of a paragraph, 1 to 8 paragraphs from there on), topics in turn."""
    for turn in range(40):
        for page in pages:
            start = 3 * turn
            if start + 1 < len(page):
                length = 1 + (turn + len(page)) % 8
                words = page[start].split()[:10]
                yield " ".join(words), " ".join(page[start + 1 : start + 1 + length])
