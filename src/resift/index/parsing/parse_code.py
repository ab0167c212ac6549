"""Source code: a section for each function, method and class header, by tree-sitter's grammars.

The text is not changed, so offsets and lines are those of the file. A decorator and the comment
above a definition belong to it; imports and other code of a module or class are sections, too.
Code in a language without a grammar, and code that is too large, is cut at blank lines.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.charset import decode
from resift.index.parsing.code_languages import BODIES, COMMENTS, LANGUAGES, CodeLanguage
from resift.index.parsing.declared_encoding import declared_encoding, stylesheet_encoding
from resift.index.parsing.documents import ParsedDocument, ParsedFile
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.sections import SMALL, Part, sections_of_parts

_MAX_PARSED = 4_000_000
"""Characters of a file that a grammar parses; its tree takes many times as many bytes."""
_MAX_DEPTH = 20
"""Levels of classes and namespaces that get their own sections."""
_MAX_SIGNATURE = 200
_LONG_LINE = 2_000
_MAX_LONG_SHARE = 0.8
_MIN_MINIFIED = 5_000
# Languages of the web, whose programs are sent in a form that nobody reads.
_OFTEN_MINIFIED = frozenset({".js", ".mjs", ".cjs", ".css"})
_SPACES = re.compile(r"\s+")
_OPENED, _CLOSING = re.compile(r"\( "), re.compile(r",? \)")
_ANNOTATIONS = re.compile(r"^(?:@[\w.]+(?:\([^()]*\))? |#?\[[^\[\]]*\] )*")
_SIGNATURE_END = " \t{:=;"
_FUNCTION_VALUES = frozenset(
    {"arrow_function", "function_expression", "generator_function", "class"}
)


def parse_code(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a source file; its title is its key, because the names of folders tell what it is of.

    Raise `SourceError` for minified JavaScript or CSS.
    """
    decoded = decode(data, stylesheet_encoding(data) or declared_encoding(data))
    text = decoded.text
    suffix = PurePosixPath(key).suffix.lower()
    long = sum(len(line) for line in text.split("\n") if len(line) > _LONG_LINE)
    is_machine_made = len(text) > _MIN_MINIFIED and long > _MAX_LONG_SHARE * len(text)
    if is_machine_made and suffix in _OFTEN_MINIFIED:
        raise SourceError(f"a minified {suffix} file: index the source that it is made from")
    language = LANGUAGES.get(suffix)
    parts: Iterable[Part] = ()
    if language and not is_machine_made and len(text) <= _MAX_PARSED:
        parts = _parts(text, language)
    sections = sections_of_parts(text, parts)
    document = ParsedDocument(key, key, text, sections, has_lines=True)
    return ParsedFile((document,), decoded.problems)


@cache
def _parser(language: CodeLanguage) -> Any:
    """Load a grammar; None if it is of another generation than tree-sitter."""
    tree_sitter = require("tree_sitter", "index")
    grammar = getattr(require(language.module, "index"), language.grammar)
    try:
        return tree_sitter.Parser(tree_sitter.Language(grammar()))
    except ValueError:
        return None


def _parts(text: str, language: CodeLanguage) -> list[Part]:
    """Return the definitions of a text and the code between them."""
    parser = _parser(language)
    if parser is None:
        return []
    source = text.encode()
    tree = parser.parse(source)
    parts = list(_Outline(source, language).parts(tree.root_node, Part(0), 0))
    return parts if len(source) == len(text) else _in_characters(source, parts)


def _in_characters(source: bytes, parts: list[Part]) -> list[Part]:
    """Convert the positions of parts from bytes of UTF-8 to characters."""
    starts = sorted({0, *(part.start for part in parts)})
    characters = {0: 0}
    for start, end in pairwise(starts):
        characters[end] = characters[start] + len(source[start:end].decode())
    return [
        Part(characters[part.start], part.scope, part.name, part.scope_heading) for part in parts
    ]


class _Outline:
    """Finds the definitions of a syntax tree. Positions are bytes of `source`."""

    def __init__(self, source: bytes, language: CodeLanguage) -> None:
        self._source = source
        self._language = language

    def parts(self, parent: Any, code: Part, depth: int) -> Iterator[Part]:
        """Yield the definitions among a node's children, each followed by `code` around it."""
        comment: Any = None  # the first of the comments directly above
        row, code_row = 0, -1
        for child in parent.named_children:
            if child.start_point[0] > row + 1:
                comment = None
            row = child.end_point[0]
            if child.type in COMMENTS:
                if child.start_point[0] != code_row:  # else it is about the code before it
                    comment = comment or child
                continue
            code_row = row
            start = (comment or child).start_byte
            comment = None
            definition = self._definition(child)
            if definition is not None:
                yield from self._defined(definition, start, child.end_byte, code, depth)
            elif depth < _MAX_DEPTH and self._is_wrapper(child):
                yield from self.parts(child, code, depth + 1)

    def _defined(self, node: Any, start: int, end: int, code: Part, depth: int) -> Iterator[Part]:
        """Yield the part of a definition, or those of a container; then the code after it."""
        body = _body(node)
        signature = self._signature(node, body)
        is_small = end - start <= SMALL
        if node.type in self._language.containers and body is not None and not is_small:
            scope = (*code.scope, self._name(node) or signature)
            inner = Part(start, scope, "", " > ".join([*code.scope, signature]))
            yield inner
            if depth < _MAX_DEPTH:
                yield from self.parts(body, inner, depth + 1)
        else:
            yield Part(start, code.scope, signature)
        yield Part(end, code.scope, "", code.scope_heading)

    def _definition(self, node: Any) -> Any:
        """Return the definition that a node is or directly wraps, or None."""
        language = self._language
        for _ in range(3):  # an exported, decorated definition
            if node.type in language.definitions or node.type in language.containers:
                return node
            if node.type in ("lexical_declaration", "variable_declaration"):
                return node if _is_function_value(node) else None
            inner = node.child_by_field_name("definition") or node.child_by_field_name(
                "declaration"
            )
            if node.type not in language.wrappers or inner is None:
                break
            node = inner
        if node.type == "template_declaration":
            return next(filter(None, map(self._definition, node.named_children)), None)
        return None

    def _is_wrapper(self, node: Any) -> bool:
        return node.type in self._language.wrappers or node.is_error

    def _signature(self, node: Any, body: Any) -> str:
        """Return a definition up to its body, on one line."""
        comments = [c.start_byte for c in node.named_children if c.type.endswith("comment")]
        end = min([*comments, node.end_byte if body is None else body.start_byte])
        begin = self._source[node.start_byte : min(end, node.start_byte + 4 * _MAX_SIGNATURE)]
        line = _SPACES.sub(" ", begin.decode("utf-8", "ignore")).strip()
        if body is None and "{" in line:  # typedef struct { … } name;
            declared = node.child_by_field_name("declarator")
            line = f"{line.partition('{')[0]}{self._text(declared)}"
        line = _ANNOTATIONS.sub("", line, count=1).rstrip(_SIGNATURE_END)
        line = _OPENED.sub("(", _CLOSING.sub(")", line))
        return line if len(line) <= _MAX_SIGNATURE else f"{line[: _MAX_SIGNATURE - 1]}…"

    def _name(self, node: Any) -> str:
        return self._text(node.child_by_field_name("name") or node.child_by_field_name("type"))

    def _text(self, node: Any) -> str:
        text = self._source[node.start_byte : node.end_byte] if node is not None else b""
        return _SPACES.sub(" ", text[:_MAX_SIGNATURE].decode("utf-8", "ignore")).strip()


def _body(node: Any) -> Any:
    """Return the node with a definition's statements or members; None if it has no body."""
    if node.type in ("lexical_declaration", "variable_declaration"):
        node = _function_value(node)
    body = node.child_by_field_name("body")
    if body is None:
        body = next((child for child in node.named_children if child.type in BODIES), None)
    return body


def _function_value(node: Any) -> Any:
    declared = node.named_children[0] if node.named_child_count else None
    return declared.child_by_field_name("value") if declared is not None else None


def _is_function_value(node: Any) -> bool:
    value = _function_value(node)
    return value is not None and value.type in _FUNCTION_VALUES
