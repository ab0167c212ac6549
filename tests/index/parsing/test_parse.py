"""Proves that each kind of file becomes the text its reader sees, and what is refused and why."""

import io
import json
import time

import pypdfium2
import pytest

from index.parsing.pdfs import make_pdf
from resift.errors import SourceError
from resift.index.parsing import parse_pdf
from resift.index.parsing.chunking import chunk_document, token_starts
from resift.index.parsing.documents import ParsedDocument
from resift.index.parsing.formats import parse, parsing_fingerprint
from resift.index.parsing.options import Columns, ParseLimits, ParseOptions


def one(key: str, data: bytes) -> ParsedDocument:
    parsed = parse(key, data)
    assert not parsed.problems
    (document,) = parsed.documents
    return document


def outline(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(s.heading, document.text[s.start : s.end].strip()) for s in document.sections]


def test_plain_text_is_one_section_named_after_its_file() -> None:
    document = one("notes/today.txt", "Grüße\r\nzwei".encode())
    assert (document.id, document.title) == ("notes/today.txt", "today")
    assert outline(document) == [("", "Grüße\nzwei")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_text_is_read_in_the_usual_encodings(encoding: str) -> None:
    assert one("a.txt", "Müller – naïve “quote”".encode(encoding)).text == "Müller – naïve “quote”"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\x02\x00\x00", "control bytes"),
        (b"caf\xe9 \x81\x8d", "neither UTF-8"),
        (b"\xff\xfea\x00" + b"\x00\xd8" * 3, "broken UTF-16"),
        (b"", "empty file"),
        (b" \n\t\n", "empty file"),
        (b"\xef\xbb\xbf \n", "no text in it"),
    ],
)
def test_what_is_no_text_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as raised:
        parse("a.txt", data)
    assert "\n" not in str(raised.value)


def test_markdown_headings_are_paths_and_code_is_no_heading() -> None:
    text = (
        "Intro.\n# Guide\nHello.\n## Set up ##\n~~~sh\n# not one\n```\n~~~\n### Linux\nx\n## Use\ny"
    )
    document = one("guide.md", text.encode())
    assert document.title == "Guide"
    assert document.text == text
    assert outline(document) == [
        ("", "Intro."),
        ("", "# Guide\nHello."),
        ("Set up", "## Set up ##\n~~~sh\n# not one\n```\n~~~"),
        ("Set up > Linux", "### Linux\nx"),
        ("Use", "## Use\ny"),
    ]


def test_front_matter_names_a_page_and_is_no_text_of_it() -> None:
    document = one("a.md", b'---\ntitle: "The Name"\ntags: [x]\n---\n# Other\nBody')
    assert document.title == "The Name"
    assert outline(document) == [("Other", "# Other\nBody")]


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ('title: "The Name"\ntags:\n- x\n- y\n', "The Name"),
        ("# a comment\n\ntitle: The Name\n", "The Name"),
        ("tags: [\n  a,\n]\ntitle: >-\n  The Name\nmore: |\n  Text: of\n\n  it.\n", "The Name"),
        ("'quoted key': 1\ndate: 2020-01-01\n", "page"),
        ("", "page"),
    ],
)
@pytest.mark.parametrize("end", ["---", "...", "---  "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_mapping_from_the_first_line_on_is_front_matter(
    front: str, title: str, end: str, encoding: str
) -> None:
    for line_end in ("\n", "\r\n"):
        page = f"---\n{front}{end}\nBody"
        document = one("page.md", page.replace("\n", line_end).encode(encoding))
        assert (document.title, outline(document)) == (title, [("", "Body")])


def test_front_matter_may_be_toml() -> None:
    page = '+++\ntitle = "The Name"\n[extra]\ntags = [\n  "a",\n]\n+++\nBody'
    document = one("page.md", page.encode())
    assert (document.title, outline(document)) == ("The Name", [("", "Body")])


@pytest.mark.parametrize("end", ["", "\n", "\n \n\n"])
@pytest.mark.parametrize(
    "front", ["---\ntitle: all there is\n---", "+++\ntitle = 'all'\n+++", "---\n---"]
)
def test_of_a_page_that_is_front_matter_alone_nothing_is_searched(front: str, end: str) -> None:
    with pytest.raises(SourceError, match=r"^no text in it$"):
        parse("page.md", (front + end).encode())


@pytest.mark.parametrize(
    "page",
    [
        "---\nText between two rules.\n---\nMore.",
        "---\n\nIn short: this is a sentence, and so on.\n\n---\nMore.",
        "---\nThe sentence goes on\nauthor: Ann\n---\nMore.",
        "---\n# A heading\n\nText.\n\n---\nMore.",
        "---\ntitle: never ends\nText.",
        "---\n- a\n- b\n---\nMore.",
        "\n---\ntitle: not at the first line\n---\nMore.",
        "----\ntitle: a longer rule\n----\nMore.",
        "+++\nText between.\n+++\nMore.",
        "+++\ntitle = 'never ends'\nText.",
        "---",
        "---\nhttp://example.org\n---\nMore.",
    ],
)
def test_text_between_two_rules_is_text(page: str) -> None:
    document = one("page.md", page.encode())
    assert document.title in ("page", "A heading")
    covered = "".join(document.text[s.start : s.end] for s in document.sections)
    assert covered == page


def test_front_matter_that_is_long_or_never_ends_takes_no_time() -> None:
    started = time.thread_time()
    for line in ("key: value", "", " ", "  x", "- a", "-", "# c", "  # c", "a" * 40, "]", "k = 1"):
        for first in ("---\n", "---\na: b\n", "+++\n", "+++\na = b\n"):
            one("page.md", (first + 3_000 * (line + "\n") + "the end").encode())
    assert time.thread_time() - started < 20


@pytest.mark.parametrize(
    "page",
    [
        "# a" + " " * 100_000 + "b",
        "# " + "# " * 50_000 + "b",
        "a|b\n" + " " * 100_000 + "|x",
        "a|b\n" + "-" * 100_000 + "|x",
        "a|b\n" + "|-" * 50_000 + "x",
        "<!-- -->" * 250 + "x",
        "." + " " * 100_000 + "x",
        "\n" * 100_000 + "x",
        "\n " * 100_000 + "- x",
    ],
)
def test_no_line_takes_for_ever(page: str) -> None:
    started = time.thread_time()
    chunk_document(one("a.md", page.encode()), token_starts)
    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    ("line", "name"),
    [("# a", "a"), ("## a ##", "a"), ("# a#", "a#"), ("# a # b", "a # b"), ("#", ""), ("# #", ""),
     ("   ###\ta  #  ", "a"), ("# C# #", "C#")],
)  # fmt: skip
def test_the_end_of_a_heading_is_no_part_of_it(line: str, name: str) -> None:
    document = one("a.md", f"# Title\n{line}\ntext".encode())
    assert document.sections[-1].heading == name


def test_markdown_without_a_heading_is_named_after_its_file() -> None:
    assert one("a/read me.md", b"#hashtag is no heading").title == "read me"


def test_html_is_what_a_reader_sees() -> None:
    page = b"""<html><head><title> A &amp; B </title><style>p{}</style></head><body>
    <nav>Menu</nav><script>var x</script><!-- no -->
    <h1>A &amp; B</h1><p>One <b>two</b>three,&nbsp;four.<br>Next</p>
    <pre><span>def f():</span>\n<span>    pass</span></pre>
    <h2>More <em>here</em></h2><ul><li>a</li><li>b</li></ul></body></html>"""
    document = one("page.html", page)
    assert document.title == "A & B"
    assert outline(document) == [
        ("", "A & B\n\nOne twothree, four.\nNext\n\ndef f():\n    pass"),
        ("More here", "More here\n\na\nb"),
    ]


def test_html_declares_its_charset() -> None:
    page = "<meta charset='shift_jis'><p>日本語".encode("shift_jis")
    assert one("p.htm", page).text == "日本語"


def test_html_may_nest_deeper_than_the_stack() -> None:
    assert one("deep.html", b"<div>" * 5_000 + b"bottom").text == "bottom"


def test_html_of_scripts_alone_has_no_text() -> None:
    with pytest.raises(SourceError, match="no text in it"):
        parse("p.html", b"<script>let a = 1</script>")


def test_pdf_keeps_its_pages() -> None:
    document = one("paper.pdf", make_pdf(["First page.", "", "Third page."]))
    assert document.title == "paper"
    spans = [(s.page, document.text[s.start : s.end]) for s in document.sections]
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


def test_jsonl_is_a_document_a_line_with_its_other_fields() -> None:
    lines = [
        {"_id": "d1", "title": "T", "text": "<p>stays</p>", "year": 2024},
        {"id": 7, "text": "number"},
        {"text": "nameless"},
        {"_id": "t", "title": "only a title", "text": ""},
    ]
    documents = parse("c.jsonl", "\n\n".join(map(json.dumps, lines)).encode()).documents
    assert [d.id for d in documents] == ["d1", "7", "line-5", "t"]
    assert [d.text for d in documents] == ["<p>stays</p>", "number", "nameless", "only a title"]
    assert documents[0].metadata == {"year": 2024}
    assert [d.title for d in documents] == ["T", "", "", "only a title"]


def test_bad_jsonl_lines_are_named_and_the_others_kept() -> None:
    lines = [
        '{"_id": "a", "text": "good"}',
        "not json",
        '["list"]',
        '{"_id": "b"}',
        '{"_id": "a", "text": "again"}',
        '{"_id": "c", "text": " "}',
        '{"_id": true, "text": "x"}',
        '{"_id": "z", "title": 3, "text": "x"}',
        "[" * 100_000,
        '{"_id": "d", "text": "last"}',
    ]
    parsed = parse("c.jsonl", "\n".join(lines).encode())
    assert [d.text for d in parsed.documents] == ["good", "last"]
    assert [p.partition(":")[0] for p in parsed.problems] == [f"line {n}" for n in range(2, 10)]
    assert "not JSON" in parsed.problems[0]
    assert "used before" in parsed.problems[3]


def test_a_suffix_nobody_reads_is_refused() -> None:
    with pytest.raises(SourceError, match=r"\.doc: not a kind of document"):
        parse("a.doc", b"x")


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


def test_xml_declares_its_charset() -> None:
    page = '<?xml version="1.0" encoding="windows-1250"?><p>Zażółć'.encode("cp1250")
    assert one("p.html", page).text == "Zażółć"


def test_the_same_bytes_give_the_same_documents() -> None:
    for key, data in (("a.md", b"# A\nx"), ("a.pdf", make_pdf(["x"])), ("a.csv", b"text,n\na,1\n")):
        assert parse(key, data) == parse(key, data)


def test_fingerprints_name_the_kind_of_file_and_for_rows_the_columns() -> None:
    assert parsing_fingerprint("a/b.TXT") == parsing_fingerprint("c.txt") != ""
    assert parsing_fingerprint("a.txt") != parsing_fingerprint("a.pdf")
    other = Columns(text="body")
    assert parsing_fingerprint("a.txt", other) == parsing_fingerprint("a.txt")
    for key in ("a.csv", "a.jsonl", "a.parquet"):
        assert parsing_fingerprint(key, other) != parsing_fingerprint(key, Columns())
    assert parsing_fingerprint("a.exe") == ""


def test_a_heading_with_nothing_under_it_stands_with_the_next_one() -> None:
    text = "# Guide\n\n## Set up\n\n### Linux\nx\n## Empty\n## Use\ny\n## Last\n"
    page = "<h1>Guide</h1><h2>Set up</h2><h3>Linux</h3>x<h2>Empty</h2><h2>Use</h2>y<h2>Last</h2>"
    for key, data in (("guide.md", text), ("guide.html", f"<title>Guide</title>{page}")):
        document = one(key, data.encode())
        assert [heading for heading, _ in outline(document)] == ["Set up > Linux", "Use", "Last"]
        words = [" ".join(body.replace("#", "").split()) for _, body in outline(document)]
        assert words == ["Guide Set up Linux x", "Empty Use y", "Last"]


@pytest.mark.parametrize("key", ["a.txt", "a.md", "a.html", "a.csv", "a.jsonl"])
def test_what_is_broken_in_a_text_is_read_and_told(key: str) -> None:
    lines = {
        "a.csv": ["text", "Größe, wählen".replace(",", ""), "Maß X"],
        "a.jsonl": ['{"text": "a b"}', '{"text": "Größe wählen"}', '{"text": "Maß X"}'],
    }.get(key, ["Titel", "Größe wählen", "Maß X"])
    data = "\n".join(lines).encode().replace(b"X", b"\xff\xfe")
    parsed = parse(key, data)
    assert "Maß \ufffd\ufffd" in parsed.documents[-1].text
    assert parsed.problems == ("2 × no UTF-8, read as \ufffd, first in line 3",)
    assert not parse(key, "\n".join(lines).encode()).problems


def test_an_underlined_line_is_a_heading() -> None:
    text = (
        "Guide\n=====\n\nHello.\n\nSet up\n------\nx\n\n- item\n---\ntwo lines\nof text\n---\n"
        "> quote\n---\n\n    code\n    ---\n| a |\n---\n```\nfenced\n---\n```\nLinux\n\n"
        "---\nUse\n-\ny"
    )
    document = one("guide.md", text.encode())
    assert document.title == "Guide"
    assert [heading for heading, _ in outline(document)] == ["", "Set up", "Use"]
    assert outline(document)[2][1] == "Use\n-\ny"
    assert outline(one("a.md", b"# A\n\nB\n---\n\n### C\nx")) == [
        ("B > C", "# A\n\nB\n---\n\n### C\nx")
    ]


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
