"""An index of long documents: sections of many passages, a PDF, rows, and copies."""

import json
from collections.abc import Iterator
from pathlib import Path

from index.fakes import HashingEmbedder
from index.parsing.pdfs import make_pdf
from resift.search.index import Index
from resift.settings import Settings

TOPICS = ("lighthouse", "compass", "anchor", "harbour", "sextant", "rudder", "keel", "mast")
INVISIBLE = "\n\n\u200b\n \n"
FILLER = "They wrote the day, the weather and the course into the book of the ship"


def paragraph(topic: str, number: int) -> str:
    """A paragraph of two long sentences that is a passage: a third would not fit."""
    times = [f"{FILLER} for the {number * 100 + time}th time" for time in range(8)]
    return (
        f"The {topic} of part {number} is described here, {', '.join(times[:4])}. "
        f"Nobody knows more, {', '.join(times[4:])}."
    )


def paragraphs(topic: str, count: int, gap: str = "\n\n") -> str:
    return gap.join(paragraph(topic, number) for number in range(count))


def write_documents(folder: Path) -> None:
    """Write files with sections of several passages; gaps between them are of every kind."""
    folder.mkdir()
    (folder / "guide.md").write_text(
        f"# Guide\n\n## Light\n\n{paragraphs('lighthouse', 6)}\n\n"
        f"## North\n\n{paragraphs('compass', 3, INVISIBLE)}\n"
    )
    (folder / "plain.txt").write_text(paragraphs("anchor", 5, " \t\n\n "))
    (folder / "copy.txt").write_text(paragraphs("anchor", 5, "\n\n"))
    (folder / "short.txt").write_text("The pilot knows the harbour.")
    (folder / "mirror.txt").write_text("THE PILOT  knows the\nharbour.\n")
    pages = [paragraph("sextant", number)[:700] for number in range(4)]
    (folder / "manual.pdf").write_bytes(make_pdf(pages))
    rows = [{"id": f"row {n}", "text": paragraphs("rudder" if n else "keel", 3)} for n in range(2)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def open_library(folder: Path) -> Iterator[tuple[Index, Path]]:
    """The index with the folder of its documents."""
    folder.mkdir(exist_ok=True)
    documents = folder / "documents"
    write_documents(documents)
    with Index(str(folder / "index"), settings=Settings(), embedder=HashingEmbedder()) as index:
        report = index.sync(str(documents))
        assert not report.skipped, report.skipped
        yield index, documents
