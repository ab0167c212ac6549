"""Plain text and Markdown: sections, titles, front matter, headings and tables."""

import time

import pytest

from resift.errors import SourceError
from resift.index.parsing.chunking import chunk_document, token_starts
from resift.index.parsing.documents import ParsedDocument
from resift.index.parsing.formats import parse


def parse_one(key: str, data: bytes) -> ParsedDocument:
    parsed = parse(key, data)
    assert not parsed.problems
    (document,) = parsed.documents
    return document


def outline(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(s.heading, document.text[s.start : s.end].strip()) for s in document.sections]


def test_plain_text_is_one_section_named_after_its_file() -> None:
    document = parse_one("notes/today.txt", "Grüße\r\nzwei".encode())
    assert (document.id, document.title) == ("notes/today.txt", "today")
    assert outline(document) == [("", "Grüße\nzwei")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_text_is_read_in_the_usual_encodings(encoding: str) -> None:
    assert (
        parse_one("a.txt", "Müller – naïve “quote”".encode(encoding)).text
        == "Müller – naïve “quote”"
    )


def test_markdown_headings_are_paths_and_code_is_no_heading() -> None:
    text = (
        "Intro.\n# Guide\nHello.\n## Set up ##\n~~~sh\n# not one\n```\n~~~\n### Linux\nx\n## Use\ny"
    )
    document = parse_one("guide.md", text.encode())
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
    document = parse_one("a.md", b'---\ntitle: "The Name"\ntags: [x]\n---\n# Other\nBody')
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
        document = parse_one("page.md", page.replace("\n", line_end).encode(encoding))
        assert (document.title, outline(document)) == (title, [("", "Body")])


def test_front_matter_may_be_toml() -> None:
    page = '+++\ntitle = "The Name"\n[extra]\ntags = [\n  "a",\n]\n+++\nBody'
    document = parse_one("page.md", page.encode())
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
    document = parse_one("page.md", page.encode())
    assert document.title in ("page", "A heading")
    covered = "".join(document.text[s.start : s.end] for s in document.sections)
    assert covered == page


def test_front_matter_that_is_long_or_never_ends_takes_no_time() -> None:
    started = time.thread_time()
    for line in ("key: value", "", " ", "  x", "- a", "-", "# c", "  # c", "a" * 40, "]", "k = 1"):
        for first in ("---\n", "---\na: b\n", "+++\n", "+++\na = b\n"):
            parse_one("page.md", (first + 3_000 * (line + "\n") + "the end").encode())
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
    chunk_document(parse_one("a.md", page.encode()), token_starts)
    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    ("line", "name"),
    [("# a", "a"), ("## a ##", "a"), ("# a#", "a#"), ("# a # b", "a # b"), ("#", ""), ("# #", ""),
     ("   ###\ta  #  ", "a"), ("# C# #", "C#")],
)  # fmt: skip
def test_the_end_of_a_heading_is_no_part_of_it(line: str, name: str) -> None:
    document = parse_one("a.md", f"# Title\n{line}\ntext".encode())
    assert document.sections[-1].heading == name


def test_markdown_without_a_heading_is_named_after_its_file() -> None:
    assert parse_one("a/read me.md", b"#hashtag is no heading").title == "read me"


def test_a_heading_with_nothing_under_it_stands_with_the_next_one() -> None:
    text = "# Guide\n\n## Set up\n\n### Linux\nx\n## Empty\n## Use\ny\n## Last\n"
    page = "<h1>Guide</h1><h2>Set up</h2><h3>Linux</h3>x<h2>Empty</h2><h2>Use</h2>y<h2>Last</h2>"
    for key, data in (("guide.md", text), ("guide.html", f"<title>Guide</title>{page}")):
        document = parse_one(key, data.encode())
        assert [heading for heading, _ in outline(document)] == ["Set up > Linux", "Use", "Last"]
        words = [" ".join(body.replace("#", "").split()) for _, body in outline(document)]
        assert words == ["Guide Set up Linux x", "Empty Use y", "Last"]


def test_an_underlined_line_is_a_heading() -> None:
    text = (
        "Guide\n=====\n\nHello.\n\nSet up\n------\nx\n\n- item\n---\ntwo lines\nof text\n---\n"
        "> quote\n---\n\n    code\n    ---\n| a |\n---\n```\nfenced\n---\n```\nLinux\n\n"
        "---\nUse\n-\ny"
    )
    document = parse_one("guide.md", text.encode())
    assert document.title == "Guide"
    assert [heading for heading, _ in outline(document)] == ["", "Set up", "Use"]
    assert outline(document)[2][1] == "Use\n-\ny"
    assert outline(parse_one("a.md", b"# A\n\nB\n---\n\n### C\nx")) == [
        ("B > C", "# A\n\nB\n---\n\n### C\nx")
    ]
