"""What office files, books and mails become, and what of them is refused and why."""

import sys

import pytest

from index.parsing.office import make_docx, make_epub, make_odt, make_pptx, make_xlsx
from resift.errors import SourceError
from resift.index.parsing.documents import ParsedDocument
from resift.index.parsing.formats import SUFFIXES, parse
from resift.index.parsing.options import ParseLimits, ParseOptions
from resift.index.parsing.parse_office import OFFICE_SUFFIXES

MAIL = (
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nFrom: Ann <ann@example.org>\r\nTo: bob@x.org\r\n"
    b"Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
) + "Добрый день, Боб.\r\n".encode("koi8-r")


@pytest.fixture(autouse=True)
def _kreuzberg() -> None:
    pytest.importorskip("kreuzberg")


def outline(key: str, data: bytes) -> list[tuple[int | None, str, str]]:
    document = parse_one(key, data)
    return [(s.page, s.heading, document.text[s.start : s.end].strip()) for s in document.sections]


def parse_one(key: str, data: bytes) -> ParsedDocument:
    (document,) = parse(key, data).documents
    return document


def test_a_word_file_has_its_headings_and_a_line_for_each_row() -> None:
    data = make_docx(
        [("Normal", "Intro."), ("Heading1", "One"), ("Normal", "R&amp;D: 大 &lt; 小 &#228;"),
         ("Heading2", "Deep"), ("Normal", "Below.")],
        [["a", "b"], ["", ""], ["c d", ""]],
    )  # fmt: skip
    assert outline("paper.docx", data) == [
        (None, "", "Intro."),
        (None, "One", "One\n\nR&D: 大 < 小 ä"),
        (None, "One > Deep", "Deep\n\nBelow.\n\na | b\nc d"),
    ]
    assert parse_one("dir/paper.docx", data).title == "paper"


def test_a_deck_is_a_section_a_slide_with_its_number() -> None:
    slides = outline("deck.pptx", make_pptx(["First", "Second", "x" * 200]))
    assert slides == [(1, "First", "First"), (2, "Second", "Second"), (3, "", "x" * 200)]


def test_a_workbook_is_a_section_a_sheet() -> None:
    data = make_xlsx({"People": [["name", "age"], ["Ann", "3"]], "Other": [["x"]]})
    assert outline("w.xlsx", data) == [
        (None, "People", "People\n\nname | age\nAnn | 3"),
        (None, "Other", "Other\n\nx"),
    ]


def test_an_open_document_has_its_headings() -> None:
    data = make_odt([(1, "Top"), (0, "Words."), (2, "Sub"), (0, "More.")])
    assert outline("o.odt", data) == [
        (None, "Top", "Top\n\nWords."),
        (None, "Top > Sub", "Sub\n\nMore."),
    ]


def test_a_book_has_its_title_and_chapters() -> None:
    data = make_epub(["<h1>Ch 1</h1><p>One &amp; two.</p>", "<h1>Ch 2</h1><p>Three.</p>"])
    assert parse_one("b.epub", data).title == "The Book"
    assert outline("b.epub", data) == [
        (None, "Ch 1", "Ch 1\n\nOne & two."),
        (None, "Ch 2", "Ch 2\n\nThree."),
    ]


def test_rich_text_is_its_text() -> None:
    data = rb"{\rtf1\ansi\ansicpg1252{\info{\title Named}}Caf\'e9 \u8364?.\par Next.\par}"
    assert parse_one("r.rtf", data).title == "Named"
    assert parse_one("r.rtf", data).text == "Café €.\n\nNext."


def test_a_mail_is_named_after_its_subject_and_says_who_wrote_it() -> None:
    document = parse_one("m.eml", MAIL)
    assert document.title == "Grüße"
    assert "ann@example.org" in document.text
    assert "Добрый день, Боб." in document.text


@pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx", ".odt", ".epub", ".rtf"])
def test_what_is_cut_off_or_no_such_file_is_refused_in_one_line(suffix: str) -> None:
    whole = make_docx([("Normal", "text " * 50)], [])
    for data in (
        whole[: len(whole) // 2],
        b"hello",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 99,
    ):
        with pytest.raises(SourceError, match="not a readable") as raised:
            parse(f"a{suffix}", data)
        assert suffix in str(raised.value)
        assert "\n" not in str(raised.value)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked() -> None:
    bomb = make_docx([("Normal", "a" * 3_000_000)], [])
    assert len(bomb) < 10_000
    with pytest.raises(SourceError, match=r"unpacks to 3,000,\d+ bytes: the limit is 1,000,000"):
        parse("bomb.docx", bomb, ParseOptions(limits=ParseLimits(max_bytes=1_000_000)))


def test_a_deck_of_too_many_slides_is_refused() -> None:
    with pytest.raises(SourceError, match=r"it has 3 pages: the limit is 2 \(max_pages\)"):
        parse(
            "deck.pptx", make_pptx(["a", "b", "c"]), ParseOptions(limits=ParseLimits(max_pages=2))
        )


def test_without_the_package_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kreuzberg", None)
    with pytest.raises(SourceError, match=r"pip install 'resift\[office\]'"):
        parse("a.docx", make_docx([("Normal", "x")], []))


def test_all_of_them_are_documents() -> None:
    assert set(OFFICE_SUFFIXES) <= SUFFIXES
