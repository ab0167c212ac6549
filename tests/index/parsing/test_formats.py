"""Whatever bytes a file holds, it gives text or one reason, and harms no other file."""

import gzip
import io
import zipfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from index.parsing.office import make_docx
from index.parsing.pdfs import make_pdf
from resift.errors import SourceError
from resift.index.normalisation import is_visible
from resift.index.parsing.documents import ChunkedFile
from resift.index.parsing.formats import (
    SUFFIXES,
    may_exceed,
    parse,
    parsing_fingerprint,
    unread_kind,
)
from resift.index.parsing.options import Columns, ParseLimits, ParseOptions
from resift.index.parsing.pool import ParserPool

PAGE = "<!DOCTYPE html><html><body><p>Text.</body></html>"


@pytest.fixture(scope="module")
def parsers() -> Iterator[ParserPool]:
    options = ParseOptions(limits=ParseLimits(max_seconds=20), with_text=True)
    with ParserPool(options, processes=1) as opened:
        yield opened


def check(outcome: ChunkedFile | SourceError) -> None:
    """Text that can be stored, or one line that says why there is none."""
    if isinstance(outcome, SourceError):
        assert str(outcome).isprintable()
        assert 5 < len(str(outcome)) < 500
        return
    assert outcome.documents or outcome.problems
    for document in outcome.documents:
        assert document.chunks
        assert document.text is not None
        for piece in document.chunks:
            assert document.text[piece.start : piece.end] == piece.text
            assert is_visible(piece.text)
            assert "\0" not in piece.text
            piece.text.encode()


PARTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.sampled_from(
        [b"---\n", b"a: b\n", b"| a | b |\n|---|---|\n", b"# h\n", b"<table><tr><td>", b"<form>",
         b"<p>", b"</td>", b"text,id\n", b'"', b'{"text": "a"}\n', b'{"text": "\\ud800"}', b"\r\n",
         b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\x1a", b"PK\x03\x04", b"%PDF-1.7\n", b"PAR1",
         b"&#0;", b"&#xD800;", b"&shy;", "\u200b".encode(), b"<![CDATA[", b"<?xml?>", b"{\\rtf1 "]
    ),
)  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(SUFFIXES)), st.lists(PARTS, max_size=8).map(b"".join)),
        min_size=1,
        max_size=8,
    )
)
@example([(".html", b"<!\x80\xc2\x80\xc2\x80")])  # broken bytes, but no text
def test_any_bytes_are_text_or_one_reason(
    parsers: ParserPool, files: list[tuple[str, bytes]]
) -> None:
    good = ("good.txt", "good.txt", b"good")
    given_files = [(f"f{suffix}", f"f{suffix}", data) for suffix, data in files]
    *outcomes, last = [outcome for _, outcome in parsers.map([*given_files, good])]
    for outcome in outcomes:
        check(outcome)
    assert isinstance(last, ChunkedFile)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_file_that_is_damaged_anywhere_is_text_or_one_reason(
    parsers: ParserPool, data: st.DataObject
) -> None:
    key, whole = data.draw(st.sampled_from(WHOLE))
    at = data.draw(st.integers(0, len(whole)))
    put = data.draw(st.binary(max_size=4))
    cut = data.draw(st.booleans())
    damaged = whole[:at] + put + (b"" if cut else whole[at + len(put) :])
    for _, outcome in parsers.map([(None, key, damaged)]):
        check(outcome)


def archive(name: str, content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, content)
    return sink.getvalue()


WHOLE = [
    ("a.pdf", make_pdf(["one page", "two"])),
    ("a.docx", make_docx([("Normal", "text")], [["a", "b"]])),
    ("a.html", PAGE.encode()),
]


@pytest.mark.parametrize(
    ("key", "data", "reason"),
    [
        ("a.txt", make_pdf(["text"]), "it is a PDF: name it .pdf"),
        ("a.md", make_pdf(["text"]), "it is a PDF: name it .pdf"),
        ("a.csv", gzip.compress(b"text\na\n", mtime=0), "it is a gzip file"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), "it is a gzip file"),
        ("a.pdf", make_docx([("Normal", "text")], []), "it is a ZIP archive"),
        ("a.txt", make_docx([("Normal", "text")], []), "it is a ZIP archive"),
        ("a.docx", make_pdf(["text"]), "it is a PDF"),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            "encrypted or old office file",
        ),
        ("a.parquet", b"text\na\n", "not a readable Parquet file"),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(100), "it is a PNG image"),
        ("a.txt", b"", "empty file"),
        ("a.pdf", b"", "empty file"),
        ("a.docx", b"", "empty file"),
        ("a.parquet", b"", "empty file"),
        ("a.txt", b" \r\n\t\f\n", "empty file"),
        ("a.txt", bytes(5_000), "control bytes"),
        ("a.txt", "\ufeff \u200b\n".encode(), "no text in it"),
        ("a.txt", "\u00ad\u200b".encode(), "no text in it"),
        ("a.md", "# \u200b\n".encode("utf-16"), None),
        ("a.csv", b"text\n", "no text in it"),
        ("a.csv", b"text", "no text in it"),
        ("a.html", b"<p>&#8203;&shy;</p>", "no text in it"),
        ("a.exe", b"MZ", "not a kind of document"),
        ("data", b"text", "no suffix: not a kind of document"),
        (".txt", b"text", "no suffix: not a kind of document"),
        ("a.pdf", make_pdf(["", ""]), "without a text layer"),
        ("a.pdf", b"%PDF-1.7\n%%EOF", "not a readable PDF"),
    ],
)
def test_what_is_not_what_it_is_called_says_so(key: str, data: bytes, reason: str | None) -> None:
    if reason is None:
        assert parse(key, data).documents
        return
    with pytest.raises(SourceError, match=reason) as raised:
        parse(key, data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["A.TXT", "a.Md", "a.HTM", "b/c.d.txt", "ü .txt"])
def test_names_are_read_in_any_case(key: str) -> None:
    assert parse(key, b"<p>words</p>").documents[0].text.strip()


@pytest.mark.parametrize("suffix", [".docx", ".xlsx"])
def test_an_archive_that_lies_about_what_it_unpacks_to_costs_itself(
    parsers: ParserPool, suffix: str
) -> None:
    bomb = archive("word/document.xml", b"<a>" + b"x" * 150_000_000)
    lying = bytearray(bomb)
    # The size that the central directory claims, from its 24th byte on.
    at = bomb.rindex(b"PK\x01\x02")
    lying[at + 24 : at + 28] = (100).to_bytes(4, "little")
    files = [(None, f"a{suffix}", bomb), (None, f"b{suffix}", bytes(lying)), (None, "c.txt", b"c")]
    honest, liar, good = [outcome for _, outcome in parsers.map(files)]
    assert "max_bytes" in str(honest)
    assert isinstance(liar, SourceError)
    assert isinstance(good, ChunkedFile)


def test_names_without_a_suffix_that_tell_what_they_are_are_read() -> None:
    (readme,) = parse("docs/README", b"Words of it.").documents
    (makefile,) = parse("src/Makefile", b"all:\n\tcc a.c\n").documents
    assert (readme.title, makefile.title) == ("README", "src/Makefile")
    assert [readme.sections[0].by_lines, makefile.sections[0].by_lines] == [False, True]
    assert parsing_fingerprint("README") == parsing_fingerprint("a.txt")
    with pytest.raises(SourceError, match=r"not a readable text: it is a PDF: name it \.pdf"):
        parse("README", make_pdf(["text"]))


def test_an_unknown_suffix_is_refused() -> None:
    with pytest.raises(SourceError, match=r"\.doc: not a kind of document"):
        parse("a.doc", b"x")


@pytest.mark.parametrize(
    ("key", "data", "rows"),
    [
        ("a/b.txt.gz", b"words", [None]),
        ("a.md.GZ", b"# Name\nwords", [None]),
        ("a.py.gz", b"def f():\n    pass\n", [None]),
        ("a.jsonl.gz", b'{"text": "one"}\n{"text": "two"}\n', [1, 2]),
        ("a.csv.gz", b"text\none\n", [2]),
    ],
)
def test_packed_text_is_read_under_its_name(key: str, data: bytes, rows: list[int | None]) -> None:
    packed = gzip.compress(data[:5], mtime=0) + gzip.compress(data[5:], mtime=0)  # two members
    documents = parse(key, packed).documents
    plain = parse(key[:-3], data).documents
    assert [document.row for document in documents] == rows
    assert [document.text for document in documents] == [document.text for document in plain]
    assert documents[0].title == plain[0].title
    assert documents[0].id == (key if rows == [None] else plain[0].id)
    assert parsing_fingerprint(key) == parsing_fingerprint(key[:-3]) != ""


@pytest.mark.parametrize(
    ("key", "data", "reason"),
    [
        ("a.txt.gz", b"words", "not a readable gzip file"),
        ("a.txt.gz", gzip.compress(b"words" * 100, mtime=0)[:-9], "not a readable gzip file"),
        ("a.txt.gz", gzip.compress(b" \n", mtime=0), "empty file"),
        ("a.txt.gz", gzip.compress(gzip.compress(b"words", mtime=0), mtime=0), "it is a gzip file"),
        ("a.pdf.gz", gzip.compress(make_pdf(["text"]), mtime=0), r"\.gz: not a kind of document"),
        ("a.tar.gz", gzip.compress(b"words", mtime=0), r"\.gz: not a kind of document"),
    ],
    ids=range(6),
)
def test_what_cannot_be_unpacked_is_one_reason(key: str, data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        parse(key, data)


def test_packed_text_is_unpacked_up_to_the_limit_on_bytes() -> None:
    packed = gzip.compress(b"words " * 100_000, mtime=0)
    options = ParseOptions(limits=ParseLimits(max_bytes=500_000))
    with pytest.raises(SourceError, match=r"it unpacks to more than 500,000 bytes \(max_bytes\)"):
        parse("a.txt.gz", packed, options)


def test_a_lower_limit_on_bytes_concerns_packed_files_of_any_size() -> None:
    before, now = ParseLimits(), ParseLimits(max_bytes=1_000)
    assert may_exceed("a.txt.gz", 10, before, now)
    assert not may_exceed("a.txt", 10, before, now)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("a/b.py", None),
        ("a.jsonl.gz", None),
        ("a.PNG", ".png"),
        ("a.tar.gz", ".gz"),
        ("data", "no suffix"),
        ("src/Makefile", None),
        ("README", None),
        ("LICENSE.gz", ".gz"),
        ("web/package-lock.json", "lock file"),
        ("pnpm-lock.yaml", "lock file"),
        ("web/jquery-3.1.min.js", "minified"),
        ("web/package.json", None),
        ("admin.js", None),
    ],
)
def test_the_kind_of_a_file_that_is_not_read_is_told_by_its_name(
    key: str, kind: str | None
) -> None:
    assert unread_kind(key) == kind


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


@pytest.mark.parametrize("key", ["a.txt", "a.md", "a.html", "a.csv", "a.jsonl"])
def test_what_is_broken_in_a_text_is_read_and_named(key: str) -> None:
    lines = {
        "a.csv": ["text", "Größe, wählen".replace(",", ""), "Maß X"],
        "a.jsonl": ['{"text": "a b"}', '{"text": "Größe wählen"}', '{"text": "Maß X"}'],
    }.get(key, ["Titel", "Größe wählen", "Maß X"])
    data = "\n".join(lines).encode().replace(b"X", b"\xff\xfe")
    parsed = parse(key, data)
    assert "Maß \ufffd\ufffd" in parsed.documents[-1].text
    assert parsed.problems == ("2 × no UTF-8, read as \ufffd, first in line 3",)
    assert not parse(key, "\n".join(lines).encode()).problems
