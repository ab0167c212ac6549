"""What stands above the text of a Markdown file: a mapping in YAML or TOML, from its first line."""

import re
from dataclasses import dataclass

_KEY = r"(?:[\w.-]+|\"[^\"\n]+\"|'[^'\n]+')"
# Comments, blank lines, what a key's value goes on with: indented, a list, the end of brackets.
# No line is two of these: there is one way to read it, and so nothing to go back to.
_MORE = r"(?:[ \t]*(?:#.*)?|[ \t]+[^\s#].*|-[ \t].*|-|[\]})].*)\n"
_YAML = re.compile(
    rf"---[ \t]*\n(?:(?:[ \t]*(?:#.*)?\n)*{_KEY}:(?:[ \t].*)?\n(?:{_KEY}:(?:[ \t].*)?\n|{_MORE})*?"
    r")?(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
)
_TOML = re.compile(
    rf"\+\+\+[ \t]*\n(?:{_KEY}[ \t]*=.*\n|\[.*\][ \t]*\n|{_MORE})*?\+\+\+[ \t]*(?:\n|\Z)"
)
_VALUE = r"(?:\"([^\"\n]*)\"|'([^'\n]*)'|([^\n]*))"
# A value may be folded onto the next line.
_YAML_TITLE = re.compile(rf"^title:[ \t]*(?:[>|][+-]?[ \t]*\n[ \t]+)?{_VALUE}", re.MULTILINE)
_TOML_TITLE = re.compile(rf"^title[ \t]*=[ \t]*{_VALUE}", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The characters ``0:end`` of a text, and the title that they name; both may be none."""

    end: int = 0
    title: str = ""


def front_matter(text: str) -> FrontMatter:
    """Find the front matter; what stands between two rules and is no mapping is none."""
    for block, named in ((_YAML, _YAML_TITLE), (_TOML, _TOML_TITLE)):
        match = block.match(text)
        if match:
            title = named.search(match.group())
            values = title.groups() if title else ()
            return FrontMatter(match.end(), next((v.strip() for v in values if v), ""))
    return FrontMatter()
