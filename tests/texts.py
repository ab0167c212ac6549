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
    texts = []
    start = 0
    for number in range(count):
        end = start + 20 + number * 379 % (longest - 20)
        texts.append(text[start:end])
        start = end
    return texts
