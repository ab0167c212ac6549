"""Real prose of mixed lengths that every Python has: the topics of its own help."""

from itertools import cycle
from pydoc_data.topics import topics

QUESTIONS = (
    "how do I catch an exception",
    "what does the with statement call when it ends",
    "slicing a sequence with a step",
)


def passages(count: int, longest: int = 1500) -> list[str]:
    """Stretches of Python's help, from a line to `longest` characters, in a fixed order."""
    text = "\n".join(topics[name].strip() for name in sorted(topics))
    sizes = cycle(range(40, longest, 379 if longest > 400 else 37))
    found = []
    start = 0
    for _ in range(count):
        end = start + next(sizes)
        found.append(text[start:end])
        start = end
    return found
