"""Training pairs from Debian packages that hold dictionaries and manuals.

    python benchmarks/manuals.py OUT_FOLDER [ROOT]

Term → definition from WordNet and FOLDOC, heading → section from the manuals of Python, SQLite and
PostgreSQL and from the Debian handbook. Packages: wordnet-base, dict-foldoc, python3.11-doc,
sqlite3-doc, postgresql-doc-15, debian-handbook, installed or unpacked under ROOT (``dpkg -x``).
Writes one ``NAME.jsonl.gz`` per source, of lines {"query", "positive"}.
"""

import gzip
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resift.errors import DatasetError
from resift.extras import require

Pair = tuple[str, str]

QUESTIONS = ("what is {}", "{}", "define {}", "{} definition", "what does {} mean", "meaning of {}")
SECTION_WORDS = (15, 250)  # at least, at most
DEFINITION_WORDS = 8
_LINK = re.compile(r"\{([^}]*)\}", re.DOTALL)
_DATE = re.compile(r"\s*\(\d{4}-\d\d-\d\d\)\s*$")
_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(r"^\d+(\.\d+)*\.?\s+")  # of a section


def wordnet(root: Path, rng: random.Random) -> Iterator[Pair]:
    """Nouns of two words and more; single words are often ambiguous."""
    for line in _lines(root / "usr/share/wordnet/data.noun"):
        if line.startswith("  "):
            continue  # the licence, at the head of the file
        record, _, gloss = line.partition(" | ")
        fields = record.split()
        words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
        definition = gloss.partition('; "')[0].strip()
        if " " in words[0] and len(definition.split()) >= DEFINITION_WORDS:
            names = ", ".join(words)
            form = rng.choice(("{0}: {1}.", "{0} is {1}.", "{0} ({1})."))
            yield _question(words[0], rng), form.format(names, definition)


def foldoc(root: Path, rng: random.Random) -> Iterator[Pair]:
    """The Free On-line Dictionary of Computing: headwords at column 0, bodies indented."""
    file = _existing(root / "usr/share/dictd/foldoc.dict.dz")
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        entries = re.split(r"\n(?=\S)", stream.read())
    for entry in entries:
        head, _, body = entry.partition("\n")
        body = _DATE.sub("", _SPACE.sub(" ", _LINK.sub(r"\1", body)).strip())
        if len(body.split()) >= SECTION_WORDS[0] and not head.startswith("00-"):
            yield _question(head.strip(), rng), _cut(f"{head.strip()}: {body}")


def python_manual(root: Path, rng: random.Random) -> Iterator[Pair]:
    """Python's documentation."""
    yield from _manual(root / "usr/share/doc/python3.11/html", "Python")


def sqlite_manual(root: Path, rng: random.Random) -> Iterator[Pair]:
    """SQLite's documentation."""
    yield from _manual(root / "usr/share/doc/sqlite3", "SQLite")


def postgresql_manual(root: Path, rng: random.Random) -> Iterator[Pair]:
    """PostgreSQL's documentation."""
    yield from _manual(root / "usr/share/doc/postgresql-doc-15/html", "PostgreSQL")


def debian_handbook(root: Path, rng: random.Random) -> Iterator[Pair]:
    """The Debian Administrator's Handbook, in English."""
    yield from _manual(root / "usr/share/doc/debian-handbook/html/en-US", "Debian")


SOURCES = {
    "wordnet": wordnet,
    "foldoc": foldoc,
    "python-manual": python_manual,
    "sqlite-manual": sqlite_manual,
    "postgresql-manual": postgresql_manual,
    "debian-handbook": debian_handbook,
}


def _manual(folder: Path, product: str) -> Iterator[Pair]:
    """Each heading, after its page's title → the text up to the next heading."""
    parser = require("selectolax.lexbor", "index").LexborHTMLParser
    for file in sorted(_existing(folder).rglob("*.html")):
        tree = parser(file.read_text(encoding="utf-8", errors="replace"))
        if tree.body is None:
            continue  # a page of frames
        for node in tree.css("nav, .sphinxsidebar, .related, .footer, script, style, a.headerlink"):
            node.decompose()
        name = tree.css_first("title")
        title = _SPACE.sub(" ", name.text()).partition(" — ")[0].strip() if name else ""
        for heading, text in _sections(tree):
            if len(text.split()) >= SECTION_WORDS[0]:
                query = heading if title.lower() in heading.lower() else f"{title} {heading}"
                yield (query if product in query else f"{product} {query}"), _cut(text)


def _sections(tree: Any) -> Iterator[Pair]:
    heading, parts = "", list[str]()
    for node in tree.body.css("h1, h2, h3, h4, p, li, dt, pre"):
        text = _SPACE.sub(" ", node.text(deep=True)).strip()
        if node.tag in ("h1", "h2", "h3", "h4"):
            if heading:
                yield heading, " ".join(parts)
            heading, parts = _NUMBER.sub("", text.replace("¶", "")).strip(), []
        elif not _is_in_list_item(node):
            parts.append(text)
    if heading:
        yield heading, " ".join(parts)


def _is_in_list_item(node: Any) -> bool:
    """Whether a node's text is part of the list item around it."""
    parent = node.parent
    while parent is not None and parent.tag != "li":
        parent = parent.parent
    return parent is not None


def _question(term: str, rng: random.Random) -> str:
    return rng.choice(QUESTIONS).format(term)


def _cut(text: str) -> str:
    return " ".join(text.split()[: SECTION_WORDS[1]])


def _lines(file: Path) -> Iterator[str]:
    with _existing(file).open(encoding="utf-8", errors="replace") as stream:
        yield from stream


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DatasetError(
            f"{path}: no such file or folder; unpack the Debian package that holds it"
        )
    return path


def main(out: Path, root: Path) -> None:
    """Write every source's file and print its number of pairs."""
    out.mkdir(parents=True, exist_ok=True)
    for name, read in SOURCES.items():
        pairs = dict(read(root, random.Random(name)))
        with gzip.open(out / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            for query, positive in pairs.items():
                print(json.dumps({"query": query, "positive": positive}), file=stream)
        print(f"{name}: {len(pairs)} pairs")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "/"))
