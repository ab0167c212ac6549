"""Texts to measure activation ranges on, for static quantisation.

The built-in texts are Python's manual pages (`pydoc_data.topics`), so that a conversion needs no
download. Texts in the model's language and field are better: a file with lines of JSON,
``{"query": …, "text": …}``.
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
from resift.inputs import text_lines

RANGE_PAIRS = 100  # 300 change nothing
HELD_OUT_PAIRS = 64
HELD_OUT_STEP = 5  # every fifth page, or line of a file, is held out
MIN_HELD_OUT = 8  # if a file has fewer held-out pairs, built-in pairs are held out instead
LISTS = 320
CANDIDATES = 12
CHECK_LISTS = 15  # 300 pairs in lists twice as long as the top ten that is compared
CHECK_CANDIDATES = 20
MIN_QUERIES = 40  # for candidate lists, and texts too

Pairs = list[tuple[str, str]]
CandidateLists = list[tuple[str, list[str]]]
"""Queries with the texts that a first stage would return for them."""


@dataclass(frozen=True, slots=True)
class CalibrationTexts:
    """Pairs to measure activation ranges on, and held-out pairs to measure the result on.

    In both, every other text does not belong to its query, as for most candidates. `pairs` are the
    unchanged pairs of the file, empty without a file. `lists` are held-out queries with candidates,
    to compare the order that two models give them.
    """

    ranges: Pairs
    held_out: Pairs
    pairs: Pairs
    lists: CandidateLists


def calibration_texts(file: Path | None = None) -> CalibrationTexts:
    """Pairs of a file, or built-in pairs. Raises `InputError` for a file without pairs."""
    pairs = list(_read(file)) if file else []
    ranges, held_out = _split(pairs) if file else _manual_split()
    if not ranges:
        raise InputError(f'{file}: contains no pairs; expected lines of {{"query": …, "text": …}}')
    if len(held_out) < MIN_HELD_OUT:
        held_out = _manual_split()[1]
    listed = held_out if _has_lists(held_out) else _manual_split()[1]
    return CalibrationTexts(
        _half_mismatched(ranges[:RANGE_PAIRS]),
        _half_mismatched(held_out[:HELD_OUT_PAIRS]),
        pairs,
        candidate_lists(listed, CHECK_LISTS, CHECK_CANDIDATES),
    )


def vocabulary_pairs(words: Sequence[str], seed: int = 7) -> Pairs:
    """Pairs of random words of a vocabulary, in many lengths; other ones for each `seed`."""
    rng = random.Random(seed)
    return [
        (" ".join(rng.choices(words, k=rng.randint(1, 6))), " ".join(rng.choices(words, k=length)))
        for length in (rng.choice([5, 12, 30, 48, 90]) for _ in range(HELD_OUT_PAIRS))
    ]


def vocabulary_lists(words: Sequence[str]) -> CandidateLists:
    """Lists of random words of a vocabulary, for models that do not know the built-in texts."""
    pairs = vocabulary_pairs(words)
    texts = [text for _, text in pairs]
    return [
        (query, [texts[(number + step) % len(texts)] for step in range(CHECK_CANDIDATES)])
        for number, (query, _) in enumerate(pairs[:CHECK_LISTS])
    ]


def candidate_lists(
    pairs: Pairs, count: int = LISTS, candidates: int = CANDIDATES
) -> CandidateLists:
    """At most `count` queries with some `candidates` each, as a first stage would return them.

    A list starts with the query's text and ends with texts that share few words, because exits must
    tell these apart; a model's logits for random pairs are all alike. Without `pairs`, built-in
    pairs are used.
    """
    pairs = pairs or list(_manual_pairs(_manual_pages()))
    texts = list(dict.fromkeys(text for _, text in pairs))
    text_by_query = dict(pairs)
    if not _has_lists(pairs):
        raise InputError(
            f"{len(text_by_query)} different queries and {len(texts)} texts, exits need at least "
            f"{MIN_QUERIES} of each; add more, or leave --texts out"
        )
    text_words = [_words(text) for text in texts]
    counts = Counter(word for words in text_words for word in words)
    idf = {word: math.log(1 + len(texts) / count) for word, count in counts.items()}
    step = max(len(text_by_query) // count, 1)
    lists = []
    for query in list(text_by_query)[::step][:count]:
        query_words = _words(query)
        overlap = [  # long texts share words with every query
            sum(idf[word] for word in query_words & words) / (len(words) ** 0.5 + 1)
            for words in text_words
        ]
        nearest = sorted(range(len(texts)), key=lambda index: -overlap[index])
        graded = (texts[index] for index in _graded(nearest, candidates))
        lists.append((query, list(dict.fromkeys([text_by_query[query], *graded]))[:candidates]))
    return lists


def _has_lists(pairs: Pairs) -> bool:
    """Whether there are enough different queries and texts for candidate lists."""
    return min(len({query for query, _ in pairs}), len({text for _, text in pairs})) >= MIN_QUERIES


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def _graded(nearest: Sequence[int], candidates: int) -> list[int]:
    """The nearest texts, and as many at growing distances among the rest."""
    best = candidates // 2
    depths = np.geomspace(best, len(nearest) - 1, candidates - best).astype(int)
    return [*nearest[:best], *(nearest[depth] for depth in depths if depth >= best)]


def _split(pairs: Pairs) -> tuple[Pairs, Pairs]:
    held_out = pairs[HELD_OUT_STEP - 1 :: HELD_OUT_STEP]
    if len(held_out) < MIN_HELD_OUT:
        return pairs, []
    return [pair for number, pair in enumerate(pairs, 1) if number % HELD_OUT_STEP], held_out


def _manual_split() -> tuple[Pairs, Pairs]:
    """The built-in pairs, split so that no page is in both parts."""
    pages = _manual_pages()
    ranges = [page for number, page in enumerate(pages, 1) if number % HELD_OUT_STEP]
    held_out = pages[HELD_OUT_STEP - 1 :: HELD_OUT_STEP]
    return list(_manual_pairs(ranges)), list(_manual_pairs(held_out))


def _half_mismatched(pairs: Pairs) -> Pairs:
    """Replace the text of every other query by that of the query after next."""
    texts = [text for _, text in pairs]
    return [
        (query, texts[(index + 2) % len(texts)] if index % 2 else texts[index])
        for index, (query, _) in enumerate(pairs)
    ]


def _read(file: Path) -> Iterator[tuple[str, str]]:
    try:
        for number, line in text_lines(file):
            yield _pair(line, f"{file}:{number}")
    except DatasetError as error:
        raise InputError(f"not a readable file of UTF-8 text: {error}") from error


def _pair(line: str, location: str) -> tuple[str, str]:
    message = f'{location}: expected a line of {{"query": …, "text": …}}'
    try:
        row = json.loads(line)
        query, text = row["query"], row["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(message) from error
    if not (isinstance(query, str) and isinstance(text, str)):
        raise InputError(message)
    return query, text


def _manual_pages() -> list[list[str]]:
    """The paragraphs of each topic."""
    from pydoc_data.topics import topics

    return [
        [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", topics[name])]
        for name in sorted(topics)
    ]


def _manual_pairs(pages: Sequence[list[str]]) -> Iterator[tuple[str, str]]:
    """Yield (first words of a paragraph, the next 1 to 8 paragraphs), from each page in turn."""
    for turn in range(40):
        for page in pages:
            start = 3 * turn
            if start + 1 < len(page):
                length = 1 + (turn + len(page)) % 8
                query = page[start].split()[:10]
                yield " ".join(query), " ".join(page[start + 1 : start + 1 + length])
