"""Front matter becomes title and metadata, for filters; broken front matter is text."""

import json
import time

import pytest
from hypothesis import example, given

from index.parsing.properties import any_bytes, one_document, parse_or_reason
from resift.errors import SourceError
from resift.index.parsing.formats import parse

YAML = """---
title: The Name
tags: [a, 'b c']
list:
  - 1
  - two
lang: no
date: 2020-01-02
time: 12:30
count: 007
price: 1.5
draft: false
nothing:
folded: >-
  one
  two
nested: {author: {name: Ann}}
---
Body
"""


@pytest.mark.parametrize("key", ["a.md", "a.mdx", "a.rst", "a.adoc", "a.org", "a.tex"])
def test_keys_of_yaml_are_metadata_and_the_title_is_the_title(key: str) -> None:
    document = one_document(key, YAML)
    assert document.title == "The Name"
    assert document.metadata == {
        "tags": ["a", "b c"],
        "list": [1, "two"],
        "lang": "no",
        "date": "2020-01-02",
        "time": "12:30",
        "count": 7,
        "price": 1.5,
        "draft": False,
        "folded": "one two",
        "nested": {"author": {"name": "Ann"}},
    }
    (section,) = document.sections
    assert document.text[section.start : section.end].strip() == "Body"
    assert document.text == YAML


def test_toml_has_dates_as_iso_text() -> None:
    page = (
        '+++\ntitle = "The Name"\ndate = 2020-01-02T10:00:00Z\nday = 2020-01-02\nat = 10:00:00\n'
        "[extra]\nn = [1, 2]\n+++\nBody"
    )
    document = one_document("a.md", page.replace("\n", "\r\n"))
    assert document.title == "The Name"
    assert document.metadata == {
        "date": "2020-01-02T10:00:00+00:00",
        "day": "2020-01-02",
        "at": "10:00:00",
        "extra": {"n": [1, 2]},
    }


@pytest.mark.parametrize(
    "front", ["+++\ntitle = {0}\n{1} = [{1}]\n+++\n", "---\ntitle: {0}\n{1}: [{1}]\n---\n"]
)
def test_escaped_control_characters_are_spaces(front: str) -> None:
    document = one_document("a.md", front.format(r'"a\u0000b"', r'"x\u0001y"') + "Body")
    assert (document.title, document.metadata) == ("a b", {"x y": ["x y"]})


@pytest.mark.parametrize(
    "front",
    [
        "---\ntitle: T\ntags: [a, b\n---\n",
        "---\ntitle: 'T\n---\n",
        "---\na: &x [*x]\n---\n",
        "---\na: *unknown\n---\n",
        "---\n? [a]\n: b\n---\n",
        "---\na: !!python/object:os.system x\nb: @x\n---\n",
        "+++\ntitle = T\n+++\n",
        "+++\na = 1\na = 2\n+++\n",
    ],
)
def test_broken_front_matter_is_text(front: str) -> None:
    document = one_document("page.md", front + "Body")
    assert document.title == "page"
    assert document.metadata == {}
    assert document.text[document.sections[0].start :].startswith(front[:4])


def test_tags_construct_nothing() -> None:
    document = one_document("a.md", "---\na: !!python/name:os.system x\nb: !!int '5'\n---\nBody")
    assert document.metadata == {"a": "x", "b": "5"}


def test_a_title_that_is_a_number_is_a_title_and_a_list_is_metadata() -> None:
    assert one_document("a.md", "---\ntitle: 2020\n---\nBody").title == "2020"
    document = one_document("a.md", "---\ntitle: [x]\n---\n# Heading\nBody")
    assert (document.title, document.metadata) == ("Heading", {"title": ["x"]})


@pytest.mark.parametrize(
    "value", ["1e400", "99999999999999999999999", "9" * 10_000, ".inf", "0x1F", "1_000", "1.2.3"]
)
def test_what_is_no_number_of_64_bits_is_text(value: str) -> None:
    assert one_document("a.md", f"---\na: {value}\n---\nBody").metadata == {"a": value}


@pytest.mark.parametrize(
    "front",
    ["---\na: ['" + "é" * 20_000 + "']\nb: 1\n---\n", f"+++\na = {10**30}\nb = 1\n+++\n",
     "+++\na = inf\nb = 1\n+++\n"],
)  # fmt: skip
def test_a_value_that_cannot_be_stored_costs_itself(front: str) -> None:
    parsed = parse("a.md", f"{front}Body".encode())
    (line,) = parsed.problems
    assert line.startswith("front matter: ")
    assert parsed.documents[0].metadata == {"b": 1}


def _doubled(levels: int) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "front",
    [
        _doubled(40),
        "a: " + "[" * 60_000,
        "a: " + "{b: " * 15_000,
        "a:\n  " + "- " * 30_000 + "x",
        "a:\n" + "\n".join(" " * n + "- x:" for n in range(1, 300)),
        "\n".join(f"key{n}: value" for n in range(6_000)),
        "a: " + "x" * 200_000,
    ],
    ids=range(7),
)
def test_hostile_front_matter_is_read_in_bounded_time(front: str) -> None:
    started = time.thread_time()
    document = one_document("page.md", f"---\n{front}\n---\nBody")
    assert document.text.endswith("Body")
    assert time.thread_time() - started < 10


def test_without_libyaml_the_same_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = one_document("a.md", YAML).metadata
    monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert one_document("a.md", YAML).metadata == fast
    page = '---\na: "\\ud800"\nb: 1\n---\nBody'  # only this reader accepts the escape
    assert one_document("a.md", page).metadata == {"a": "?", "b": 1}


@given(
    any_bytes(
        b"---\n", b"+++\n", b"a: ", b"a = ", b"title: x\n", b"[b]\n", b"- c\n", b"&x", b"*x", b"{",
        b"}", b"'", b'"\\ud800"', b"!!int ", b"2020-13-99\n", b"? ", b"<<: *x\n", b"\x00\n", b"\n",
    )
)  # fmt: skip
@example(b'---\na: "\\ud800"\n---\nBody')
@example(b"---\n---\n---\n")
def test_any_front_matter_is_metadata_or_text(data: bytes) -> None:
    for first in (b"---\n", b"+++\n"):
        try:
            parsed = parse("a.md", first + data + b"\n" + first + b"Body")
        except SourceError as error:
            assert "\n" not in str(error)
            continue
        (document,) = parsed.documents
        json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False).encode()
        assert document.text.rstrip().endswith("Body")
    parse_or_reason("a.rst", data)
