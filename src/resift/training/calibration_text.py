"""Real text for static quantisation: activation ranges are read off it.

The default is what every Python carries, its own manual pages (`pydoc_data.topics`), so that a
conversion needs no download. Texts of the model's own language and field fit it better: pass
them as lines of JSON, ``{"query": …, "text": …}``.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from resift.errors import InputError

PAIRS = 300


def calibration_pairs(file: Path | None = None) -> list[tuple[str, str]]:
    """At most `PAIRS` pairs of query and text, of lengths from a line to several pages."""
    pairs = list(islice(_read(file) if file else _manual(), PAIRS))
    if not pairs:
        raise InputError(f'{file}: no pairs in it; expected lines of {{"query": …, "text": …}}')
    return pairs


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
