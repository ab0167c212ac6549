"""The words that CONTRIBUTING.md rules out are used nowhere: no name, no sentence, no document."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.*?) ?\| (.*?) ?\|$", re.M)
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "MODEL_CARD.md", "docs")


def _words(column: int) -> list[str]:
    """The comma-separated words of a column of the table, without its two heading rows."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Words")[2]
    rows = [match.groups() for match in ROW.finditer(table)][2:]
    return [word.strip() for row in rows for word in row[column].split(",") if word.strip()]


TEXT = re.compile(r"\b(" + "|".join(map(re.escape, _words(2))) + r")\b", re.I)
NAMES = set(_words(3))
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = [file for file in sorted((ROOT / "tests").rglob("*.py")) if file != Path(__file__)]


def _tokens(file: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline))


def test_the_table_is_read() -> None:
    assert "halves" in NAMES and "own" in NAMES
    assert TEXT.search("rows of a Split model")
    assert not TEXT.search("embrace")


@pytest.mark.parametrize("root", ["src", "tests"])
def test_no_name_is_ruled_out(root: str) -> None:
    uses = [
        f"{file.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for file in (SOURCES if root == "src" else TESTS)
        for token in _tokens(file)
        if token.type == tokenize.NAME and token.string.strip("_") in NAMES
    ]
    assert uses == []


@pytest.mark.parametrize("root", ["src", "tests"])
def test_no_sentence_has_a_ruled_out_word(root: str) -> None:
    uses = [
        f"{file.relative_to(ROOT)}:{token.start[0]}: {match.group()}"
        for file in (SOURCES if root == "src" else TESTS)
        for token in _tokens(file)
        if token.type in (tokenize.STRING, tokenize.COMMENT)
        for match in TEXT.finditer(token.string)
    ]
    assert uses == []


def test_no_document_has_a_ruled_out_word() -> None:
    pages = [
        page
        for name in DOCUMENTS
        for page in ([ROOT / name] if name.endswith(".md") else sorted((ROOT / name).rglob("*.md")))
    ]
    uses = [
        f"{page.relative_to(ROOT)}: {match.group()}"
        for page in pages
        for match in TEXT.finditer(page.read_text(encoding="utf-8"))
    ]
    assert uses == []
