"""Real text of chosen lengths: Python's own manual pages, which every machine has."""

import random
import re
from pydoc_data.topics import topics

QUERY = "how are attributes looked up on an instance of a class"
WORDS_PER_TOKEN = 0.62  # of these pages in BERT's vocabulary


def texts(count: int, tokens: float, spread: float = 0.4, seed: int = 7) -> list[str]:
    """`count` texts, lengths log-normal about `tokens` with the given spread of the logarithm."""
    rng = random.Random(seed)
    words = re.findall(r"\S+", " ".join(topics[name] for name in sorted(topics)))
    found = []
    for _ in range(count):
        length = max(int(rng.lognormvariate(0, spread) * tokens * WORDS_PER_TOKEN), 5)
        start = rng.randrange(len(words) - length)
        found.append(" ".join(words[start : start + length]))
    return found
