"""Real prose of mixed lengths that every Python has: the topics of its own help."""

from pydoc_data.topics import topics

QUESTIONS = (
    "how do I catch an exception",
    "what does the with statement call when it ends",
    "slicing a sequence with a step",
)


def passages(count: int, longest: int = 500) -> list[str]:
    """Stretches of Python's help, from a line to `longest` characters, all of other lengths."""
    text = "\n".join(topics[name].strip() for name in sorted(topics))
    found = []
    start = 0
    for place in range(count):
        end = start + 20 + place * 379 % (longest - 20)
        found.append(text[start:end])
        start = end
    return found
