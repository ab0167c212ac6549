"""reStructuredText, AsciiDoc, Org and LaTeX: headings are sections, the text is the file's."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.parsing.properties import any_bytes, one_document, outline, parse_or_reason
from resift.index.parsing.formats import parse

RST = """=====
Title
=====

Intro.

First
=====

.. include:: /etc/passwd

.. note:: Text of a note.

Sub ``one``
-----------

::

    code
    ====

A paragraph of text
that has two lines
==================

Second
======
End.
"""


def test_levels_of_restructuredtext_are_those_of_first_use() -> None:
    document = one_document("a.rst", RST)
    assert (document.title, document.text) == ("Title", RST)
    assert [heading for heading, _ in outline(document)] == [
        "",
        "First",
        "First > Sub ``one``",
        "Second",
    ]
    sections = dict(outline(document))
    assert ".. include:: /etc/passwd" in sections["First"]
    assert "root:" not in document.text
    assert "that has two lines" in sections["First > Sub ``one``"]


def test_a_file_without_a_title_alone_at_its_level_is_named_after_itself() -> None:
    document = one_document("guide.rst", "One\n===\na\n\nTwo\n===\nb\n")
    assert document.title == "guide"
    assert outline(document) == [("One", "One\n===\na"), ("Two", "Two\n===\nb")]


ASCIIDOC = """= Doc Title
:toc:

Intro.

== One

----
== not a heading
----

=== Sub
Text.

////
== nor this
////

Two
---
include::/etc/passwd[]
"""


def test_headings_of_asciidoc_are_those_outside_of_blocks() -> None:
    document = one_document("a.adoc", ASCIIDOC)
    assert (document.title, document.text) == ("Doc Title", ASCIIDOC)
    assert [heading for heading, _ in outline(document)] == ["", "One", "One > Sub", "Two"]
    assert "root:" not in document.text


def test_headings_of_org_are_without_keywords_and_tags() -> None:
    text = (
        "#+TITLE: My Org\n* TODO [#A] One :tag:other:\ntext\n** Sub\n#+begin_src org\n* not\n"
        "#+END_SRC\n* Two\nx"
    )
    document = one_document("a.org", text)
    assert document.title == "My Org"
    assert [heading for heading, _ in outline(document)] == ["", "One", "One > Sub", "Two"]


def test_headings_of_latex_are_without_macros_and_comments() -> None:
    text = (
        r"\documentclass{article}\title{My \emph{Paper}}"
        "\n\\begin{document}\n"
        r"\section{Intro}Hello. % \section{no}"
        "\n"
        r"\subsection*[short]{Sub {\bf x} \& y}"
        "\nmore\n"
        r"\input{/etc/passwd}"
        "\n\\section{never ends"
    )
    document = one_document("a.tex", text)
    assert (document.title, document.text) == ("My Paper", text)
    assert [heading for heading, _ in outline(document)] == ["", "Intro", "Intro > Sub x & y"]


@pytest.mark.parametrize("key", ["a.rst", "a.adoc", "a.org", "a.tex"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_line_ends_and_encodings_do_not_matter(key: str, encoding: str) -> None:
    text = "Größe\n=====\n\nÜber – alles.\n"
    document = one_document(key, text.replace("\n", "\r\n").encode(encoding))
    assert document.text == text


@pytest.mark.parametrize("key", ["a.rst", "a.adoc", "a.org", "a.tex"])
@pytest.mark.parametrize(
    "text",
    [
        "=" * 500_000,
        "a\n" + "=" * 500_000,
        "a\n=\n" * 50_000,
        "=" * 5 + " " * 500_000 + "x",
        "* " * 100_000,
        "\\section{" * 20_000,
        "\\section[" * 50_000,
        "\\title{" + "{" * 100_000,
        "x :a" + ":a" * 100_000,
        "* x " + ":a" * 100_000 + "!",
        "----\n" * 50_000,
        "#+begin_src\n" * 20_000,
        "\n" * 200_000 + "x",
    ],
    ids=range(13),
)
def test_odd_lines_take_no_time(key: str, text: str) -> None:
    started = time.thread_time()
    parse(key, text.encode())
    assert time.thread_time() - started < 10


@pytest.mark.parametrize(
    ("key", "text", "names"),
    [
        ("a.tex", "%\\section{a} \\section{b}\n\\section{c} x\n\\section{d} x", ["c", "d"]),
        ("a.rst", "x\n\n===\n Longer title\n===\nx\n\nLonger\n===\nx", ["Longer"]),
        ("a.adoc", "A listing\n-----\n== no\n-----\n== One\nx\n\n== Two\nx", ["One", "Two"]),
        ("a.adoc", "text\nlast line\n---------\n== no\n---------\n== One\nx\n== Two\nx",
         ["One", "Two"]),
    ],
)  # fmt: skip
def test_what_looks_like_a_heading_is_text(key: str, text: str, names: list[str]) -> None:
    document = one_document(key, text)
    assert [heading or document.title for heading, _ in outline(document)][-len(names) :] == names
    assert len(document.sections) == len(names) + 1


@given(
    st.sampled_from(["a.rst", "a.adoc", "a.org", "a.tex"]),
    any_bytes(
        b"Title\n", b"=====\n", b"-----\n", b"~~~~~\n", b"= a\n", b"== b\n", b"* c\n", b"** d\n",
        b"----\n", b"////\n", b"#+title: x\n", b"#+begin_x\n", b"\\section{a}\n", b"\\title{", b"}",
        b".. include:: /etc/passwd\n", b"---\na: b\n---\n", b"\\section[", b"%", b":a:\n",
    ),
)  # fmt: skip
def test_any_bytes_are_markup_or_a_reason(key: str, data: bytes) -> None:
    parse_or_reason(key, data)
