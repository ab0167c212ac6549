"""Real text for static quantisation: activation ranges are read off it.

The default is what every Python carries, its own manual pages (`pydoc_data.topics`), so that a
conversion needs no download. Texts of the model's own language and field fit it better: pass
them as lines of JSON, ``{"query": …, "text": …}``.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from resift.errors import InputError

PAIRS = 300
LISTS = 320
CANDIDATES = 12
LEAST = 40

Words = frozenset[str]


def calibration_pairs(file: Path | None = None) -> list[tuple[str, str]]:
    """At most `PAIRS` pairs of query and text, of lengths from a line to several pages."""
    pairs = list(islice(_read(file) if file else _manual(), PAIRS))
    if not pairs:
        raise InputError(f'{file}: no pairs in it; expected lines of {{"query": …, "text": …}}')
    return pairs


def candidate_lists(file: Path | None = None) -> list[tuple[str, list[str]]]:
    """At most `LISTS` queries with `CANDIDATES` texts each, as a first stage would hand them over.

    From its own text and the nearest in words down to texts that share few: an exit is there to
    tell these apart, and a model's logits for pairs at random are all alike.
    """
    pairs = list(_read(file) if file else _manual())
    texts = list(dict.fromkeys(text for _, text in pairs))
    own = dict(pairs)
    if len(own) < LEAST or len(texts) < LEAST:
        raise InputError(
            f"{file}: {len(own)} queries of their own and {len(texts)} texts, exits need {LEAST} "
            "of each at least; give more, or leave --calibration out"
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
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                yield str(row["query"]), str(row["text"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f'{file}:{number}: expected a line of {{"query": …, "text": …}}'
                ) from error


def _manual() -> Iterator[tuple[str, str]]:
    """(first words of a paragraph, 1 to 8 paragraphs from there on), topics in turn."""
    from pydoc_data.topics import topics

    pages = [
        [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", topics[name])]
        for name in sorted(topics)
    ]
    for turn in range(40):
        for page in pages:
            start = 3 * turn
            if start + 1 < len(page):
                length = 1 + (turn + len(page)) % 8
                words = page[start].split()[:10]
                yield " ".join(words), " ".join(page[start + 1 : start + 1 + length])
