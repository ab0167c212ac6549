"""XML: reads elements by expat, twice. Nothing outside of the file is read: no DTD, no entity.

The first pass learns which elements are parts of running text; `xml_reader` says what they become.
"""

import re
from html import escape
from html.entities import html5
from pathlib import PurePosixPath
from xml.parsers import expat

from resift.errors import SourceError
from resift.index.parsing.charset import decode
from resift.index.parsing.documents import ParsedFile
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.parse_html import is_page, parse_html
from resift.index.parsing.xml_reader import TooMuch, XmlHandler, XmlReader, XmlStructure

_DECLARATION = re.compile(r"\s*<\?xml[^>]{0,200}?encoding=[\"']([A-Za-z0-9_:.-]+)[\"']")
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,30});")
_DECLARED_ENTITY = re.compile(r"<!ENTITY\s+([A-Za-z][\w.-]*)")
# With its entities a document may be this much larger than its file.
_MAX_EXPANSION = 10
_MIN_EXPANDED = 100_000
_BLOCK = 1 << 16


def parse_xml(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a document; its title is the first title in it or the file's name.

    What comes before an error is read, and the error is a problem. Raise `SourceError` if there is
    no text before it, for entities that expand to too much, and for too deep nesting.
    """
    if is_page(data):
        return parse_html(key, data, options)
    declared = _DECLARATION.match(data[:300].decode("latin-1"))
    decoded = decode(data, declared[1] if declared else None)
    text = _replace_html_entities(decoded.text.lstrip())
    max_characters = _MAX_EXPANSION * len(text) + _MIN_EXPANDED
    structure = XmlStructure(max_characters)
    _feed(structure, text)
    structure.finish()
    reader = XmlReader(structure, PurePosixPath(key).stem)
    error = _feed(reader, text)
    document = reader.build(key)
    if not error:
        return ParsedFile((document,), decoded.problems)
    if reader.is_empty:
        raise SourceError(f"not a readable XML file: {error}")
    problem = f"not well-formed XML, read up to there: {error}"
    return ParsedFile((document,), (*decoded.problems, problem))


def _feed(handler: XmlHandler, text: str) -> str:
    """Let `handler` read a text; return the reason if it is not well-formed, else nothing."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.characters
    try:
        try:
            for start in range(0, len(text), _BLOCK):
                parser.Parse(text[start : start + _BLOCK], False)
            parser.Parse("", True)
        except expat.ExpatError as error:
            parser.buffer_text = False  # hands over the text directly before the error
            return str(error)[:200]
    except TooMuch as error:
        raise SourceError(str(error)) from error
    return ""


def _replace_html_entities(text: str) -> str:
    """Replace ``&nbsp;`` and other entities of HTML that the file does not declare."""
    declared = {"amp", "lt", "gt", "quot", "apos", *_DECLARED_ENTITY.findall(text)}
    return _ENTITY.sub(
        lambda match: match[0] if match[1] in declared else _character(match[1]),
        text,
    )


def _character(name: str) -> str:
    """Return the character of an entity, as XML."""
    character = html5.get(f"{name};")
    return escape(character) if character else f"&{name};"
