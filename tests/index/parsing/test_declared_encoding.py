"""Text in the encoding that it declares, where its letters alone would be read as another one."""

import pytest

from index.parsing.properties import one_document
from resift.index.parsing.declared_encoding import declared_encoding
from resift.index.parsing.formats import parse

CYRILLIC = "о данных"
"""In KOI8-R these bytes are as likely Cyrillic capitals in Windows-1251."""


@pytest.mark.parametrize(
    ("key", "head"),
    [
        ("a.py", "# -*- coding: cp866 -*-"),
        ("a.pyx", "#!/usr/bin/env python\n# coding=cp866"),
        ("a.rb", "# encoding: cp866"),
        ("a.rb", "#!/usr/bin/ruby\r\n# -*- encoding: cp866; frozen_string_literal: true -*-"),
        ("a.c", "/* -*- mode: c; coding: cp866-unix -*- */"),
        ("a.cpp", "// vim: set fileencoding=cp866 :"),
        ("a.sql", "-- vim: fenc=cp866 ts=4"),
        ("a.el", ";;; a.el --- -*- coding: cp866-dos; -*-"),
        ("a.php", "<?php // -*- coding: cp866 -*-"),
        ("a.css", '@charset "cp866";'),
        ("a.yaml", "# -*- coding: cp866 -*-"),
        ("a.ini", "; -*- coding: cp866 -*-"),
        ("a.tex", "% !TEX encoding = cp866"),
        ("a.tex", "\\documentclass{book}\n\n\\usepackage[cp866]{inputenc}"),
        ("a.rst", ".. -*- coding: cp866 -*-"),
        ("a.org", "# -*- coding: cp866 -*-"),
        ("a.adoc", "// -*- coding: cp866 -*-"),
        ("a.txt", "-*- coding: cp866 -*-"),
        ("a.md", "<!-- -*- coding: cp866 -*- -->"),
    ],
)
def test_the_declared_encoding_is_used(key: str, head: str) -> None:
    words = "Текст о данных"
    document = one_document(key, f"{head}\n\n{words}\n".encode("cp866"))
    assert words in document.text


def test_the_declaration_is_stronger_than_the_letters() -> None:
    data = f"# -*- coding: koi8-r -*-\nname = '{CYRILLIC}'\n".encode("koi8_r")
    assert CYRILLIC in one_document("a.py", data).text
    undeclared = data.replace(b"koi8-r", b"unknown")
    assert CYRILLIC not in one_document("a.py", undeclared).text


@pytest.mark.parametrize("declared", ["cp866", "latin-1", "no-such-thing", "utf-7", "idna", "hex"])
def test_utf8_stays_utf8_whatever_is_declared(declared: str) -> None:
    text = f"# -*- coding: {declared} -*-\n# Größe, размер\n"
    assert one_document("a.py", text.encode()).text == text


@pytest.mark.parametrize("declared", ["utf-8", "no-such-thing", "utf-16", "hex"])
def test_an_encoding_that_does_not_fit_is_passed_over(declared: str) -> None:
    data = f"# -*- coding: {declared} -*-\n# Größe\n".encode("cp1252")
    assert "Größe" in one_document("a.py", data).text


@pytest.mark.parametrize(
    ("data", "has_comments"),
    [
        (b"x = 1\ny = 2\n# coding: cp866", True),  # in the third line
        (b"coding: cp866", True),  # in no comment
        (b"# The encoding: cp866 is old.", False),  # a heading of Markdown
        (b'"""Encoding: cp866 to cp1251."""', True),  # a docstring
        (b"#" * 600 + b" coding: cp866", True),
        (b"", True),
    ],
)
def test_what_is_no_declaration(data: bytes, has_comments: bool) -> None:
    assert declared_encoding(data, has_comments=has_comments) is None


def test_a_commented_inputenc_is_no_declaration() -> None:
    data = "%\\usepackage[cp866]{inputenc}\n\\usepackage[cp1251]{inputenc}\nДанные и размер"
    assert "Данные" in parse("a.tex", data.encode("cp1251")).documents[0].text


@pytest.mark.parametrize(
    ("key", "head"),
    [
        ("a.xml", '<?xml version="1.0" encoding="ENCODING"?><a>TEXT</a>'),
        ("a.html", '<html><meta charset="ENCODING"><body>TEXT</body></html>'),
        ("a.py", "# -*- coding: ENCODING -*-\n# TEXT"),
        ("a.eml", "Subject: x\nContent-Type: text/plain; charset=ENCODING\n\nTEXT"),
    ],
)
@pytest.mark.parametrize("encoding", ["iso-2022-jp", "hz-gb-2312"])
def test_an_encoding_in_seven_bits_is_read_although_its_bytes_are_ascii(
    key: str, head: str, encoding: str
) -> None:
    """Japanese mail and old pages switch character sets by escapes of ASCII."""
    data = head.replace("ENCODING", encoding).replace("TEXT", "日本").encode(encoding)
    assert "日本" in one_document(key, data).text


def test_ascii_that_declares_an_encoding_in_seven_bits_stays_as_it_is() -> None:
    text = "# -*- coding: iso-2022-jp -*-\nprint('plain')\n"
    assert one_document("a.py", text.encode()).text == text
    broken = text + "\x1b$BF"
    parsed = parse("a.py", broken.encode())
    assert parsed.documents[0].text == f"{text}\ufffd"
    assert parsed.problems == ("1 × no ISO2022_JP, read as \ufffd",)
