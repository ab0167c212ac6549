"""What PromQL expressions ask for: metrics, labels and their values."""

import re
from dataclasses import dataclass, field

FUNCTIONS = {
    "count", "histogram_quantile", "increase", "label_values", "max", "min", "rate", "sum", "time",
}  # fmt: skip
CLAUSES = {"by", "without", "ignoring", "on", "group_left", "group_right"}
PAIRS = {"(": ")", "{": "}", "[": "]"}

TOKEN = re.compile(
    r"""\s+|"(?:[^"\\]|\\.)*"|\[(?:\d+[smhd]|\$__rate_interval)\]|\$?[A-Za-z_][\w:]*|\d+(?:\.\d+)?"""
    r"""|=~|!~|!=|==|>=|<=|[-+*/=<>(){},]"""
)


@dataclass
class Selector:
    """A metric, and the label, operator and value of each of its matchers."""

    metric: str
    function: str
    matchers: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class Query:
    """The selectors of an expression, and the labels that it groups by."""

    selectors: list[Selector] = field(default_factory=list)
    grouping: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)


def tokens(text: str) -> list[str]:
    """The tokens of an expression, without blanks. Raises `ValueError`."""
    words, position = [], 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"{text[position:]!r} is no PromQL")
        position = match.end()
        if match[0].strip():
            words.append(match[0])
    return words


def parse(text: str) -> Query:
    """What an expression asks for. Raises `ValueError` if it is not well-formed."""
    query, stack = Query(), list[str]()
    words = tokens(text)
    position = 0
    while position < len(words):
        word, following = words[position], (words[position + 1 :] or [""])[0]
        if word in CLAUSES:
            position = _clause(words, position + 1, query.grouping)
            continue
        if word in PAIRS:
            stack.append(PAIRS[word])
        elif word in PAIRS.values():
            if not stack or stack.pop() != word:
                raise ValueError(f"{text!r}: {word} closes nothing")
        elif word[0].isalpha() and following in ("(", "by"):
            if word not in FUNCTIONS:
                raise ValueError(f"{text!r}: {word} is no function of ours")
            query.functions.add(word)
        elif word[0].isalpha():
            selector = Selector(word, _function(words, position))
            query.selectors.append(selector)
            position = _matchers(words, position + 1, selector)
            continue
        position += 1
    if stack:
        raise ValueError(f"{text!r}: {stack[-1]} is missing")
    return query


def _function(words: list[str], position: int) -> str:
    """The function whose only argument is the metric at a position."""
    return words[position - 2] if position > 1 and words[position - 1] == "(" else ""


def _clause(words: list[str], position: int, labels: set[str]) -> int:
    """Read ``(label, …)`` after ``by`` and the like; ``group_left`` may have none."""
    if words[position : position + 1] != ["("]:
        return position
    end = words.index(")", position)
    labels.update(word for word in words[position + 1 : end] if word != ",")
    return end + 1


def _matchers(words: list[str], position: int, selector: Selector) -> int:
    """Read ``{label="value", …}`` after a metric, if it is there."""
    if words[position : position + 1] != ["{"]:
        return position
    end = words.index("}", position)
    inner = words[position + 1 : end]
    for start in range(0, len(inner), 4):
        label, operator, value, *comma = inner[start : start + 4]
        if operator not in ("=", "!=", "=~", "!~") or comma not in ([], [","]):
            raise ValueError(f"{selector.metric}: {' '.join(inner)} are no matchers")
        selector.matchers.append((label, operator, value.strip('"')))
    return end + 1
