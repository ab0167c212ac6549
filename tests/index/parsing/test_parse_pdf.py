"""PDFs: their pages, what of them cannot be read, and why."""

import io

import pypdfium2
import pytest

from index.parsing.pdfs import make_pdf
from resift.errors import SourceError
from resift.index.parsing import parse_pdf
from resift.index.parsing.documents import ParsedDocument
from resift.index.parsing.formats import parse
from resift.index.parsing.options import ParseLimits, ParseOptions


def parse_one(key: str, data: bytes) -> ParsedDocument:
    parsed = parse(key, data)
    assert not parsed.problems
    (document,) = parsed.documents
    return document


def test_pdf_keeps_its_pages() -> None:
    document = parse_one("paper.pdf", make_pdf(["First page.", "", "Third page."]))
    assert document.title == "paper"
    spans = [(s.page, document.text[s.start : s.end].strip()) for s in document.sections]
    assert spans == [(1, "First page."), (3, "Third page.")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (make_pdf(["secret"], locked=True), "encrypted PDF"),
        (make_pdf(["", ""]), r"without a text layer in its 2 pages: scanned\?"),
        (make_pdf(["text"])[:150], "not a readable PDF"),
        (b"PK\x03\x04 something else", "not a readable .pdf: it is a ZIP archive"),
        (b"something else", "not a readable PDF"),
    ],
)
def test_pdf_that_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        parse("a.pdf", data)


def test_a_pdf_of_too_many_pages_is_refused() -> None:
    with pytest.raises(SourceError, match=r"it has 3 pages: the limit is 2 \(max_pages\)"):
        parse(
            "a.pdf",
            make_pdf(["one", "two", "three"]),
            ParseOptions(limits=ParseLimits(max_pages=2)),
        )


def test_a_damaged_page_costs_itself_and_a_missing_end_is_named() -> None:
    whole = make_pdf(["one", "two", "three"])
    start = whole.index(b"6 0 obj") + 8
    size = whole.index(b"endobj", start) - start
    damaged = parse("a.pdf", whole[:start] + b"[1]".ljust(size) + whole[start + size :])
    assert damaged.documents[0].text == "one\n\nthree"
    assert damaged.problems == ("page 2: damaged, left out",)
    cut = parse("a.pdf", whole[: whole.index(b"startxref")])
    assert cut.documents[0].text.startswith("one")
    assert cut.problems == ("the file is cut off: pages of it may be missing",)


def test_letters_that_a_typesetter_joined_are_letters() -> None:
    assert parse_pdf._clean("o\ufb03ce, \ufb01nd, soft\u00adware") == "office, find, software"


@pytest.mark.parametrize("count", [b"2", b"4000000000"])
def test_a_pdf_whose_pages_lead_back_to_themselves_ends(count: bytes) -> None:
    data = make_pdf(["one", "two"]).replace(b"/Kids [4 0 R 6 0 R] /Count 2",
        b"/Kids [4 0 R 2 0 R] /Count " + count)  # fmt: skip
    try:
        (document,) = parse("a.pdf", data).documents
    except SourceError as error:
        assert "PDF" in str(error) or "pages" in str(error)
    else:
        assert document.text.startswith("one")


def test_a_pdf_whose_tables_lead_back_to_themselves_ends() -> None:
    data = make_pdf(["one"])
    at = data.index(b"\nxref") + 1
    looped = data.replace(b"/Root 1 0 R", b"/Prev %d /Root 1 0 R" % at)
    assert parse("a.pdf", looped).documents[0].text == "one"


def scanned(words: list[str]) -> bytes:
    """A PDF of pages with words, or with an image where there are none."""
    pdf = pypdfium2.PdfDocument(make_pdf(words))
    for page, text in zip(pdf, words, strict=True):
        if not text:
            image = pypdfium2.PdfImage.new(pdf)
            image.set_bitmap(pypdfium2.PdfBitmap.new_native(8, 8, 4))
            page.insert_obj(image)
            page.gen_content()
    data = io.BytesIO()
    pdf.save(data)
    return data.getvalue()


def test_a_scanned_page_between_others_is_named() -> None:
    parsed = parse("a.pdf", scanned(["first words", "", "third words"]))
    assert parsed.problems == ("page 2: an image without text: run OCR on it first",)
    assert [section.page for section in parsed.documents[0].sections] == [1, 3]
    assert not parse("a.pdf", make_pdf(["first words", ""])).problems
    many = parse("a.pdf", scanned(["first words", *[""] * 30])).problems
    assert (len(many), many[-1]) == (21, "and 10 more pages that cannot be read")
    with pytest.raises(SourceError, match="OCR"):
        parse("a.pdf", scanned([""]))
