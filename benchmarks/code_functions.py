"""Functions of source code by name and lines, and the functions that a passage covers.

A function's id is ``PATH#NAME``: the path in the corpus and the qualified name, ``Class.name``.
Lines count from 1 and include decorators. A class stands for its lines before its first method, as
its methods have ids of their own. A function inside a function belongs to the outer one. Of
definitions with one name (overloads, a property's setter), the longest counts.

Python is parsed; the other languages have a table, `examples/code-questions/javascript.tsv`.
"""

import ast
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).parents[1] / "examples" / "code-questions" / "javascript.tsv"
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def shared(self, other: "Lines") -> int:
        """The number of lines in both."""
        return max(0, min(self.last, other.last) - max(self.first, other.first) + 1)


Functions = dict[str, dict[str, Lines]]
"""Path in the corpus → id of a function → its lines."""


def functions(sources: Path) -> Functions:
    """The functions of all files below `sources`."""
    tables = _table()
    for path in sorted(sources.rglob("*.py")):
        name = path.relative_to(sources).as_posix()
        tables[name] = python_functions(name, path.read_text(encoding="utf-8"))
    return tables


def python_functions(path: str, text: str) -> dict[str, Lines]:
    """The ids and lines of the functions, methods and classes of a Python file."""
    longest: dict[str, Lines] = {}
    for name, lines in _definitions(ast.parse(text), ""):
        identifier = f"{path}#{name}"
        if len(lines) > len(longest.get(identifier, ())):
            longest[identifier] = lines
    return longest


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Lines]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            inner = list(_definitions(child, f"{prefix}{child.name}."))
            first = _first_line(child)
            last = min((lines.first for _, lines in inner), default=_last_line(child) + 1) - 1
            yield prefix + child.name, Lines(first, max(first, last))
            yield from inner
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, Lines(_first_line(child), _last_line(child))
        elif isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _definitions(child, prefix)


def _first_line(node: Definition) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _last_line(node: Definition) -> int:
    return node.end_lineno or node.lineno


def _table() -> Functions:
    tables: Functions = {}
    with _TABLE.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            path = row["id"].partition("#")[0]
            tables.setdefault(path, {})[row["id"]] = Lines(int(row["first"]), int(row["last"]))
    return tables


def covered(table: dict[str, Lines], passage: Lines) -> list[str]:
    """The ids of the functions that a passage counts for, those with most of its lines first.

    A passage counts for a function if it has at least half of the function's lines, or if at least
    half of its lines are the function's.
    """
    shared = {
        name: passage.shared(lines)
        for name, lines in table.items()
        if 2 * passage.shared(lines) >= min(len(lines), len(passage))
    }
    return sorted(shared, key=lambda name: (-shared[name], table[name].first))


def lines_of(text: str, start: int, end: int) -> Lines:
    """The lines of characters `start` to `end`, without white space at either end."""
    passage = text[start:end]
    start += len(passage) - len(passage.lstrip())
    end -= len(passage) - len(passage.rstrip())
    first = text.count("\n", 0, start) + 1
    return Lines(first, first + text.count("\n", start, max(start, end)))
