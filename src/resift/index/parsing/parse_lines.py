"""Configuration and logs: text in lines. The text is not changed.

Top-level keys of YAML and tables of TOML and INI files are headings. Values are not
interpreted: tags, aliases and includes are text.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from resift.index.parsing.charset import decode
from resift.index.parsing.declared_encoding import declared_encoding
from resift.index.parsing.documents import ParsedDocument, ParsedFile
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.sections import Part, sections_of_parts

# No line may match these in two ways, because backtracking on a long line is quadratic.
_YAML_KEY = re.compile(r"^([A-Za-z_\"'/][^:\n#]{0,199}):(?=[ \t\n]|\Z)", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\[{1,2}([^\]\[\n]{1,200})\]{1,2}[ \t]*(?=[#;\n]|\Z)", re.MULTILINE)
_HEADINGS = {
    **dict.fromkeys((".yaml", ".yml"), _YAML_KEY),
    **dict.fromkeys((".toml", ".ini", ".cfg", ".conf"), _TABLE),
}
LINE_SUFFIXES = (*_HEADINGS, ".properties", ".log", ".jsonc", ".json5", ".diff", ".patch")


def parse_lines(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a file of lines; its title is its key, because such names (config.yaml) are common."""
    decoded = decode(data, declared_encoding(data))
    parts = _parts(decoded.text, PurePosixPath(key).suffix.lower())
    sections = sections_of_parts(decoded.text, parts)
    document = ParsedDocument(key, key, decoded.text, sections, has_lines=True)
    return ParsedFile((document,), decoded.problems)


def _parts(text: str, suffix: str) -> Iterator[Part]:
    pattern = _HEADINGS.get(suffix)
    for match in pattern.finditer(text) if pattern else ():
        yield Part(match.start(), name=match[1].strip("\"' \t"))
