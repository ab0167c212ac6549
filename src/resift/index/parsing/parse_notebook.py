"""Jupyter notebooks: the text of Markdown cells, code cells, and the beginning of their outputs.

Images, HTML and other rich outputs are left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from resift.errors import SourceError
from resift.index.parsing.charset import decode_rows
from resift.index.parsing.documents import ParsedFile, TextBuilder
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.parse_text import markdown_headings
from resift.index.parsing.plain_values import load_json, storable
from resift.index.parsing.sections import Heading

_HEADING_LEVELS = frozenset("123456")
_MAX_OUTPUT = 1_000
"""Characters of the outputs of a cell that are read."""
_MAX_PROBLEMS = 20
"""The number of problems of a notebook that are listed; more are only counted."""
_TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def parse_notebook(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a notebook; its title is the first heading's or the file's name.

    The language of its kernel is metadata. Raise `SourceError` if it is not a notebook.
    """
    decoded = decode_rows(data)
    try:
        notebook = load_json(decoded.text)
    except ValueError as error:
        reason = str(error)[:100]
        raise SourceError(f"not a readable notebook: not JSON ({reason})") from error
    elements = list(_elements(notebook))
    cells = [cell for cell in elements if isinstance(cell, Mapping)]
    headings = (heading for cell in cells for heading in _headings(cell, _prose(cell)))
    title = next((name for _, _, name in headings if name), PurePosixPath(key).stem)
    builder = TextBuilder(title)
    for cell in cells:
        if cell.get("cell_type") == "code":
            builder.add_block(_text(cell.get("source", cell.get("input"))))
            builder.add_block(_outputs(cell))
        else:
            _add_prose(builder, cell)
    document = replace(builder.build(key, title), metadata=_language(notebook))
    problems = list(_problems(elements))
    if len(problems) > _MAX_PROBLEMS:
        more = len(problems) - _MAX_PROBLEMS
        problems[_MAX_PROBLEMS:] = [f"and {more:,} more parts that cannot be read"]
    return ParsedFile((document,), (*decoded.problems, *problems))


def _elements(notebook: Any) -> Iterator[Any]:
    """Yield what is in the lists of cells; version 3 had worksheets. Raise `SourceError`."""
    if not isinstance(notebook, Mapping):
        raise SourceError("not a readable notebook: it has no cells")
    sheets = notebook.get("worksheets")
    holders = [notebook, *(sheets if isinstance(sheets, list) else [])]
    lists = [holder.get("cells") for holder in holders if isinstance(holder, Mapping)]
    if not any(isinstance(cells, list) for cells in lists):
        raise SourceError("not a readable notebook: it has no cells")
    for cells in lists:
        yield from cells if isinstance(cells, list) else ()


def _problems(elements: Sequence[Any]) -> Iterator[str]:
    """Name what is read nowhere because it is not what notebooks have there."""
    for number, cell in enumerate(elements, start=1):
        reasons = _odd_parts(cell) if isinstance(cell, Mapping) else ["not a cell"]
        yield from (f"cell {number}: {reason}: left out" for reason in reasons)


def _odd_parts(cell: Mapping[str, Any]) -> Iterator[str]:
    yield from _odd_texts("source", cell.get("source", cell.get("input")))
    outputs = cell.get("outputs")
    if outputs is not None and not isinstance(outputs, list):
        yield "its outputs are no list"
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, Mapping):
            yield "an output is not an object"
            continue
        for value in _values_of_output(output):
            yield from _odd_texts("outputs", value)


def _odd_texts(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        odd = sum(not isinstance(line, str) for line in value)
        if odd:
            parts = "1 part" if odd == 1 else f"{odd:,} parts"
            yield f"{parts} of its {name} that {'is' if odd == 1 else 'are'} no text"
    elif value is not None and not isinstance(value, str):
        yield f"its {name} {'is' if name == 'source' else 'are'} no text"


def _prose(cell: Mapping[str, Any]) -> str:
    """Return the text of a cell; of a heading of version 3 as Markdown."""
    text = _text(cell.get("source"))
    if cell.get("cell_type") != "heading":
        return text
    level = str(cell.get("level", 1))
    return f"{'#' * (int(level) if level in _HEADING_LEVELS else 1)} {text}"


def _headings(cell: Mapping[str, Any], text: str) -> Iterator[Heading]:
    is_markdown = cell.get("cell_type") in ("markdown", "heading")
    return markdown_headings(text) if is_markdown else iter(())


def _add_prose(builder: TextBuilder, cell: Mapping[str, Any]) -> None:
    text = _prose(cell)
    last = 0
    for at, level, name in _headings(cell, text):
        builder.add_block(text[last:at].strip())
        builder.start_section(level, name)
        last = at
    builder.add_block(text[last:].strip())


def _outputs(cell: Mapping[str, Any]) -> str:
    """Return the beginning of a cell's outputs: what it prints, its result, or its error."""
    outputs = cell.get("outputs")
    texts: list[str] = []
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, Mapping):
            continue
        values = [_text(value) for value in _values_of_output(output)]
        texts.append(": ".join(values))
    text = "\n".join(filter(None, texts))
    return text if len(text) <= _MAX_OUTPUT else f"{text[:_MAX_OUTPUT].rstrip()}…"


def _values_of_output(output: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return an error's name and message, or else what was printed or the plain result."""
    if output.get("output_type") in ("error", "pyerr"):
        return output.get("ename"), output.get("evalue")
    data = output.get("data")
    rich = data.get("text/plain") if isinstance(data, Mapping) else None
    return (output.get("text", rich),)


def _text(value: Any) -> str:
    """Return a text, which may be stored as a list of its lines, without terminal colours."""
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    if not isinstance(value, str):
        return ""
    return storable(_TERMINAL_COLOUR.sub("", value)).replace("\r\n", "\n").strip("\n")


def _language(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kernel's language as metadata, if the notebook names it."""
    metadata = notebook.get("metadata")
    values = metadata if isinstance(metadata, Mapping) else {}
    for name, key in (("language_info", "name"), ("kernelspec", "language")):
        info = values.get(name)
        language = info.get(key) if isinstance(info, Mapping) else None
        if isinstance(language, str) and 0 < len(language) < 50:
            return {"language": storable(language)}
    return {}
