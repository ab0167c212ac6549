"""The prompt in a reranker's chat template, as sentence-transformers 5.4 and later use it.

Such a template writes the contents of messages with the roles query, document and, for an
instruction, system. It is a program in Jinja's language; only those that fill in contents are read,
and nothing of them is run.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from resift.convert.config import read_object
from resift.convert.tokenizer_files import SETTINGS
from resift.errors import ModelError
from resift.files import read_regular
from resift.rerank.checkpoint_files import CHAT_TEMPLATE

QUERY, DOCUMENT, SYSTEM = "query", "document", "system"
_MAX_BYTES = 1 << 20
_TEXT = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_PICK = (
    r"messages \| selectattr\( ?[\"']role[\"'] ?, ?[\"'](?:eq|equalto|==)[\"'] ?, "
    r"?[\"'](\w+)[\"'] ?\)"
)
_CONTENT = re.compile(
    rf"{_PICK} \| map\( ?attribute ?= ?[\"']content[\"'] ?\) \| first"
    rf"(?: \| default\( ?({_TEXT}) ?\))?"
)
_MEMBER = re.compile(rf"\( ?{_PICK} \| first ?\)(?:\.content|\[[\"']content[\"']\])")
_SET = re.compile(r"set (\w+) ?= ?(.*)")
_TAG = re.compile(r"\{([%{#])([-+]?)(.*?)([-+]?)[%}#]\}", re.DOTALL)
_ROLE = re.compile(r"[\"'](query|document)[\"']")


@dataclass(frozen=True, slots=True)
class PromptTexts:
    """A prompt's texts before the query, between query and document, and after the document."""

    before: str
    between: str
    after: str


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of the message of a role, or a text if there is no such message."""

    role: str
    default: str | None = None


_Part = str | _Content


def read_chat_template(folder: Path) -> str | None:
    """A chat template for a query and a document, if there is one. Raises `ModelError`."""
    file = folder / CHAT_TEMPLATE
    if file.is_file():
        try:
            template: object = read_regular(file, _MAX_BYTES).decode()
        except (OSError, ValueError) as error:
            raise ModelError(f"{file}: not readable as text ({error})") from error
    else:
        settings = folder / SETTINGS
        template = read_object(settings).get("chat_template") if settings.is_file() else None
    is_for_pairs = isinstance(template, str) and set(_ROLE.findall(template)) == {QUERY, DOCUMENT}
    return template if isinstance(template, str) and is_for_pairs else None


def prompt_texts(template: str, instruction: str = "") -> PromptTexts | None:
    """The prompt of a chat template; `instruction` is its system message, if it is not empty.

    None for a template that does more than to fill in contents, or another order.
    """
    parts = _parts(template)
    if parts is None:
        return None
    texts, roles = [""], []
    for part in parts:
        if isinstance(part, str):
            texts[-1] += part
        elif part.role == SYSTEM:
            texts[-1] += instruction or part.default or ""
        else:
            roles.append(part.role)
            texts.append("")
    return PromptTexts(*texts) if roles == [QUERY, DOCUMENT] else None


def _parts(template: str) -> list[_Part] | None:
    """Texts and contents in order; None if there is anything else."""
    variables: dict[str, _Part] = {}
    parts: list[_Part] = []
    for kind, text in _pieces(template):
        if kind == "text":
            parts.append(text)
        elif kind == "{":
            part = _value(text, variables)
            if part is None:
                return None
            parts.append(part)
        elif kind == "%":
            match = _SET.fullmatch(text)
            value = None if match is None else _value(match[2], variables)
            if match is None or value is None:
                return None
            variables[match[1]] = value
    return parts


def _value(expression: str, variables: Mapping[str, _Part]) -> _Part | None:
    """What an expression stands for; None for one that is not known."""
    if expression in variables:
        return variables[expression]
    if match := _CONTENT.fullmatch(expression):
        return _Content(match[1], None if match[2] is None else str(ast.literal_eval(match[2])))
    if match := _MEMBER.fullmatch(expression):
        return _Content(match[1])
    if re.fullmatch(_TEXT, expression):
        return str(ast.literal_eval(expression))
    return None


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of texts and tags, with white space as transformers renders it.

    The line's beginning before a block and the line break after it are no text, nor is the break
    at the end of the template.
    """
    template = template.removesuffix("\n")
    at, strip, after_block = 0, False, False
    for match in _TAG.finditer(template):
        kind, left, inside, right = match.groups()
        text = template[at : match.start()]
        begins_line = "\n" in text or not at
        text = _text(text, strip, after_block)
        if left == "-":
            text = text.rstrip()
        elif kind != "{" and left != "+" and begins_line:
            text = text.rstrip(" \t") if not text.rpartition("\n")[2].strip(" \t") else text
        yield "text", text
        yield kind, re.sub(r"\s+", " ", inside).strip()
        at, strip, after_block = match.end(), right == "-", kind != "{" and right != "+"
    yield "text", _text(template[at:], strip, after_block)


def _text(text: str, strip: bool, after_block: bool) -> str:
    if strip:
        return text.lstrip()
    return text.removeprefix("\n") if after_block else text
