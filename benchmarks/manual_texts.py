"""Real text of chosen lengths, out of the manual pages that come with Python."""

import random
import re
from functools import cache
from pydoc_data.topics import topics

from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import Tokens, load_tokenizer

QUERY = "how are attributes looked up on an instance of a class"
LONGEST = 3  # times the mean; longer texts are cut


@cache
def _manual() -> tuple[str, list[int]]:
    """All pages as one text, without rows of asterisks, and the start of each token."""
    words = re.findall(r"\S*\w\S*", " ".join(topics[name] for name in sorted(topics)))
    text = " ".join(words)
    return text, Tokens(load_tokenizer(BUNDLED / "tokenizer.json"), 512).starts(text).tolist()


def texts(count: int, tokens: float, spread: float = 0.4, seed: int = 7) -> list[str]:
    """`count` texts of `tokens` on average; `spread` is the deviation of the lengths' logarithm.

    Lengths are in tokens of the bundled model's vocabulary, special tokens not counted.
    """
    rng = random.Random(seed)
    text, starts = _manual()
    chosen = []
    for _ in range(count):
        drawn = tokens * rng.lognormvariate(-(spread**2) / 2, spread)
        length = max(min(round(drawn), round(LONGEST * tokens)), 5)
        first = rng.randrange(len(starts) - length)
        chosen.append(text[starts[first] : starts[first + length]])
    return chosen
