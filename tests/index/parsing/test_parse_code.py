"""Source code: sections are functions, methods and class headers; lines are those of the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.parsing.properties import (
    MAX_TOKENS,
    any_bytes,
    headings,
    one_document,
    outline,
    parse_or_reason,
    token_counts,
)
from resift.errors import SourceError
from resift.index.parsing import parse_code
from resift.index.parsing.chunking import chunk_document, token_starts
from resift.index.parsing.code_languages import LANGUAGES, OTHER_CODE_SUFFIXES
from resift.index.parsing.formats import parse
from resift.index.parsing.sections import SMALL

PAD = "    x = call(first, second, third)  \n" * 20
"""The body of a function that is too large to share a section."""
FIELDS = "    a_field_with_a_name: i32,\n" * 22
C_PAD = "    call(first, second, third);\n" * 22


def test_functions_methods_and_headers_of_python_are_sections() -> None:
    text = f'''"""Reads a store."""

import os

LIMIT = 5


# Opens the store; a comment that belongs to the function.
@cache
def open_store(path: str, *, mode: str = "r") -> Store:
    """Open it."""
{PAD}

class Store(Base):
    """Holds documents."""

    size = 1

    def put(
        self,
        key: str,
    ) -> None:
{PAD.replace("    x", "        x")}
    @property
    def name(self) -> str:
        return "a"

    async def close(self) -> None:
        pass


if __name__ == "__main__":
{PAD}
    def main(): ...
'''
    document = one_document("src/app/store.py", text)
    assert (document.title, document.text) == ("src/app/store.py", text)
    assert headings(document) == [
        "",
        'def open_store(path: str, *, mode: str = "r") -> Store',
        "class Store(Base)",
        "Store > def put(self, key: str) -> None",
        "Store > def name(self) -> str; async def close(self) -> None",
        "",
        "def main()",
    ]
    sections = dict(outline(document))
    assert sections[headings(document)[1]].startswith("# Opens the store; a comment")
    assert sections["class Store(Base)"].endswith("size = 1")
    assert sections[headings(document)[4]].startswith("@property\n")


def test_a_passage_knows_its_line_and_a_large_function_is_cut_between_lines() -> None:
    body = "".join(f"    value_{n} = compute(value_{n - 1}, other)\n" for n in range(1, 200))
    text = f"import a\r\n\r\n\r\ndef large():\r\n{body}\r\n\r\ndef small():\n    pass\n"
    document = one_document("a.py", text)
    chunks = chunk_document(document, token_starts).chunks
    lines = text.replace("\r\n", "\n").split("\n")
    assert len(chunks) > 10
    for piece in chunks:
        assert piece.line is not None
        first = piece.text.split("\n")[0]
        assert lines[piece.line - 1].strip() == first.strip()  # whole lines
    assert [piece.line for piece in chunks[:2]] == [1, 4]
    assert {piece.heading for piece in chunks} == {"", "def large()", "def small()"}


def test_a_comment_behind_code_belongs_to_that_code() -> None:
    body = PAD.replace("    x", "        x")
    text = f"class A:\n    size = 1  # bytes\n    def large(self):\n{body}"
    first, second = one_document("a.py", text).sections
    assert text[first.start : first.end].strip().endswith("# bytes")
    assert text[second.start : second.end].startswith("def large")


def test_small_neighbours_of_a_class_share_a_section_and_others_do_not() -> None:
    methods = "".join(f"    def get_{n}(self):\n        return {n}\n\n" for n in range(40))
    document = one_document("a.py", f"class A:\n{methods}\n\ndef last():\n    pass\n")
    *inside, last = document.sections
    assert last.heading == "def last()"
    assert all(section.end - section.start <= SMALL for section in inside)
    assert 3 <= len(inside) <= 6
    assert inside[0].heading.startswith("A > def get_0(self); def get_1(self)")
    assert max(heading.count(";") for heading in headings(document)) <= 10


SAMPLES = {
    "a.js": (
        f"import a from 'a';\n/** Doc. */\nfunction first(a, b) {{\n{C_PAD}}}\n"
        f"class Box extends Base {{\n  constructor() {{\n{C_PAD}}}\n  get(a) {{\n{C_PAD}}}\n}}\n"
        f"const made = async (a) => {{\n{C_PAD}}};\nexport default {{ first }};\n",
        ["function first(a, b)", "class Box extends Base", "Box > constructor()", "Box > get(a)",
         "const made = async (a) =>"],
    ),
    "a.tsx": (
        f"export interface Options {{ a: string }}\nexport abstract class Box<T> {{\n"
        f"  @Input() name: string;\n  async get(a?: number): Promise<T> {{\n{C_PAD}}}\n}}\n"
        f"export const View = (props: Props) => {{\n{C_PAD} return <b>hi</b>; }};\n",
        ["interface Options", "abstract class Box<T>",
         "Box > async get(a?: number): Promise<T>", "const View = (props: Props) =>"],
    ),
    "a.go": (
        "package main\n\nimport \"fmt\"\n\n// Start starts.\n"
        f"func (s *Server) Start(a int) error {{\n{C_PAD}}}\n\ntype Server struct {{\n{C_PAD}}}\n",
        ["func (s *Server) Start(a int) error", "type Server struct"],
    ),
    "a.rs": (
        f"use std::fmt;\n/// Doc.\n#[derive(Debug)]\npub struct Point {{\n{FIELDS}}}\n"
        f"impl Display for Point {{\n  #[inline]\n  fn show(&self) -> Result {{\n{C_PAD}}}\n}}\n",
        ["pub struct Point", "impl Display for Point", "Point > fn show(&self) -> Result"],
    ),
    "a.java": (
        f"package a;\n/** Doc. */\n@Service\npublic class Box extends Base {{\n  @Override\n"
        f"  public List<String> get(String a) throws IOException {{\n{C_PAD}}}\n"
        f"  Box() {{\n{C_PAD}}}\n}}\n",
        ["public class Box extends Base", "Box > Box()",
         "Box > public List<String> get(String a) throws IOException"],
    ),
    "a.c": (
        f"#include <a.h>\n/* Adds. */\nstatic int add(int a, int b)\n{{\n{C_PAD}}}\n"
        f"typedef struct {{\n{C_PAD}}} point_t;\n#ifdef X\nint main(void) {{\n{C_PAD}}}\n#endif\n",
        ["static int add(int a, int b)", "typedef struct point_t", "int main(void)"],
    ),
    "a.cpp": (
        f"namespace ns {{\ntemplate <typename T>\nclass Box : public Base {{\n public:\n"
        f"  int get(int a) const override {{\n{C_PAD}}}\n}};\n"
        f"int Box::other(int x) {{\n{C_PAD}}}\n}}\n",
        ["ns > class Box : public Base", "ns > Box > int get(int a) const override",
         "ns > int Box::other(int x)"],
    ),
    "a.cs": (
        f"using System;\nnamespace A.B {{\n  [ApiController]\n  public class Box : Base {{\n"
        f"    [HttpGet(\"x\")]\n    public async Task<int> Get(int a) {{\n{C_PAD}}}\n  }}\n}}\n",
        ["A.B > public class Box : Base", "A.B > Box > public async Task<int> Get(int a)"],
    ),
    "a.rb": (
        f"module M\n  class Box < Base\n    # Doc.\n    def get(a, b = 1)\n{PAD}    end\n"
        f"    def self.make\n{PAD}    end\n  end\nend\n",
        ["M > class Box < Base", "M > Box > def get(a, b = 1)", "M > Box > def self.make"],
    ),
    "a.php": (
        f"<?php\nnamespace A;\nclass Box extends Base {{\n  #[Route('/x')]\n"
        f"  public function get(int $a): string {{\n{C_PAD}}}\n}}\n"
        f"function top($x) {{\n{C_PAD}}}\n",
        ["class Box extends Base", "Box > public function get(int $a): string",
         "function top($x)"],
    ),
    "a.sh": (
        f"#!/bin/bash\n# Deploys.\ndeploy() {{\n{C_PAD}}}\nfunction other {{\n{C_PAD}}}\n",
        ["deploy()", "function other"],
    ),
    "a.kt": (
        f"package a\nclass Box(val a: Int) : Base() {{\n  @Test\n  fun get(a: String): Int {{\n"
        f"{C_PAD}}}\n}}\nfun String.top(): Int {{\n{C_PAD}}}\n",
        ["class Box(val a: Int) : Base()", "Box > fun get(a: String): Int",
         "fun String.top(): Int"],
    ),
    "a.scala": (
        f"package a\nobject Box extends Base {{\n  def get(a: String): Int = {{\n{C_PAD}}}\n}}\n",
        ["object Box extends Base", "Box > def get(a: String): Int"],
    ),
    "a.swift": (
        f"import A\npublic class Box: Base {{\n  @objc func get(a: Int) -> String {{\n{C_PAD}}}\n"
        f"  init() {{\n{C_PAD}}}\n}}\n",
        ["public class Box: Base", "Box > func get(a: Int) -> String", "Box > init()"],
    ),
    "a.lua": (
        "local M = {}\nfunction M.get(a)\n  -- a comment\n" + "  call(first, second)\n" * 30
        + "end\nreturn M\n",
        ["function M.get(a)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", SAMPLES)
def test_definitions_are_headings_in_each_language(key: str) -> None:
    text, expected = SAMPLES[key]
    document = one_document(key, text)
    missing = [heading for heading in expected if heading not in headings(document)]
    assert missing == [], headings(document)
    assert document.text == text


def test_each_language_with_a_grammar_has_a_sample() -> None:
    modules = {language.module for language in LANGUAGES.values()}
    sampled = {LANGUAGES[f".{key.partition('.')[2]}"].module for key in SAMPLES}
    assert modules - sampled == {"tree_sitter_python"}


@pytest.mark.parametrize("suffix", sorted({*LANGUAGES, *OTHER_CODE_SUFFIXES}))
def test_every_suffix_is_read_and_the_text_is_that_of_the_file(suffix: str) -> None:
    text = "first part\n\n" + "line of words\n" * 200
    document = one_document(f"dir/a{suffix}", text)
    assert document.text == text
    assert document.has_lines
    assert all(section.by_lines for section in document.sections)
    assert max(token_counts(document)) <= MAX_TOKENS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_offsets_are_characters_in_every_encoding(encoding: str) -> None:
    text = f"# Grüße\nname = 'é'\n\n\ndef größe():\n    # ünï\n{PAD}\n\ndef after():\n{PAD}"
    document = one_document("a.py", text.encode(encoding))
    assert document.text == text
    assert headings(document) == ["", "def größe()", "def after()"]
    assert outline(document)[2][1].startswith("def after():")


@pytest.mark.parametrize("suffix", [".pyx", ".pxd", ".pxi", ".pyw"])
def test_cython_is_read_as_python(suffix: str) -> None:
    text = (
        f"cimport numpy\n\nclass Store:\n    def read(self, key):\n    {PAD}\n\ndef after():\n{PAD}"
    )
    assert "def after()" in headings(one_document(f"a{suffix}", text))


def test_code_with_errors_keeps_the_functions_that_are_whole() -> None:
    text = f"def first():\n{PAD}\n\ndef broken(:\n    return = 5\n\n\ndef last():\n{PAD}"
    document = one_document("a.py", text)
    assert "def first()" in headings(document)
    assert "def last()" in headings(document)


@pytest.mark.parametrize("suffix", [".js", ".css", ".mjs"])
def test_minified_code_is_refused_with_a_reason(suffix: str) -> None:
    with pytest.raises(SourceError, match=rf"a minified \{suffix} file: index the source"):
        parse(f"app{suffix}", b"/* licence */\n" + b"function a(){return 1};" * 1_000)
    assert parse(f"app{suffix}", b"function a(){return 1};\n" * 1_000)


def test_a_grammar_of_another_generation_leaves_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_code, "_parser", lambda language: None)
    document = one_document("a.py", f"def first():\n{PAD}")
    assert headings(document) == [""]


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("a.py", b"(" * 200_000),
        ("a.py", b"".join(b" " * n + b"if x:\n" for n in range(1_000))),
        ("a.py", b"".join(b" " * n + b"class A:\n" for n in range(600))),
        ("a.py", b"x = [" + b"1, " * 300_000 + b"]"),
        ("a.js", b"class A { m() {\n" * 20_000),
        ("a.ts", b"namespace A { " * 20_000),
        ("a.cpp", b"namespace a {\n" * 20_000 + b"}\n" * 20_000),
        ("a.c", b"#if X\n" * 20_000),
        ("a.rs", b"mod a {\n" * 20_000),
        ("a.sh", b"f() {\n" * 5_000),
        ("a.sql", b"x" * 1_000_000),
        ("a.py", b"#" * 4_000_001),
    ],
    ids=range(12),
)
def test_hostile_code_is_read_without_a_deep_stack(key: str, data: bytes) -> None:
    parsed = parse(key, data)
    assert parsed.documents[0].text == data.decode()


def test_a_comment_above_a_blank_line_is_not_of_the_function() -> None:
    text = f"# About the module.\n\ndef f():\n{PAD}"
    assert outline(one_document("a.py", text))[0] == ("", "# About the module.")


def test_a_closing_bracket_belongs_to_the_part_before_it() -> None:
    text = f"class A {{\n  void f() {{\n{C_PAD}  }}\n}}\n"
    document = one_document("a.java", text)
    assert outline(document)[-1][1].endswith("}\n}")


def test_code_that_no_grammar_here_can_parse_is_cut_at_blank_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = f"def f():\n{PAD}\n\ndef g():\n{PAD}"
    assert headings(one_document("a.py", text)) == ["def f()", "def g()"]
    monkeypatch.setattr(parse_code, "_MAX_PARSED", len(text) - 1)
    assert headings(one_document("a.py", text)) == [""]
    monkeypatch.undo()

    def refuse(*_: object) -> None:
        raise ValueError("Incompatible Language version")

    monkeypatch.setattr("tree_sitter.Language", refuse)
    parse_code._parser.cache_clear()
    try:
        assert headings(one_document("a.py", text)) == [""]
    finally:
        parse_code._parser.cache_clear()


@given(
    st.sampled_from(sorted(LANGUAGES)),
    any_bytes(
        b"def f(a):\n", b"    return 1\n", b"class A:\n", b"class A { ", b"}\n", b"{", b"(", b")",
        b"function f() {\n", b"@x\n", b"# c\n", b"// c\n", b"/* ", b"*/", b"#if X\n", b"'", b'"',
        b"impl A for B {\n", b"fn f() -> A {\n", b"namespace a {\n", b"template <T>\n", b"end\n",
        b"export ", b"const f = () => {\n", b"typedef struct {", b"<?php ", b"=", b";\n",
    ),
)  # fmt: skip
def test_any_bytes_are_code_or_a_reason(suffix: str, data: bytes) -> None:
    parse_or_reason(f"a{suffix}", data)
