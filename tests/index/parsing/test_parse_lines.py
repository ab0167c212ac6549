"""Configuration and logs: whole lines, with top-level keys and tables as headings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.parsing.properties import (
    MAX_TOKENS,
    any_bytes,
    headings,
    one_document,
    parse_or_reason,
    token_counts,
)
from resift.errors import SourceError
from resift.index.parsing.chunking import chunk_document, token_starts
from resift.index.parsing.formats import parse
from resift.index.parsing.parse_lines import LINE_SUFFIXES

LONG = "  key: value of it\n" * 40


def test_top_level_keys_of_yaml_are_headings_and_small_neighbours_share_a_section() -> None:
    text = f'version: 1\nname: x\nservices:\n{LONG}"volumes":\n{LONG}# end\nlast: !!python/x 1\n'
    document = one_document("deploy/app.yaml", text)
    assert (document.title, document.text) == ("deploy/app.yaml", text)
    assert headings(document) == ["version; name", "services", "volumes", "last"]


@pytest.mark.parametrize("suffix", [".toml", ".ini", ".cfg", ".conf"])
def test_tables_are_headings(suffix: str) -> None:
    text = f"top = 1\n[one.two]\n{LONG}\n [[ list ]] # c\n{LONG}"
    assert headings(one_document(f"a{suffix}", text)) == ["", "one.two", "list"]


def test_a_log_is_cut_between_lines() -> None:
    lines = [f"2020-01-01T00:00:{n:02} ERROR. Request {n} failed. Retry" for n in range(200)]
    document = one_document("a.log", "\n".join(lines))
    chunks = chunk_document(document, token_starts).chunks
    assert len(chunks) > 10
    assert [line for piece in chunks for line in piece.text.split("\n")] == lines
    assert max(token_counts(document)) <= MAX_TOKENS
    assert chunks[1].line == chunks[0].text.count("\n") + 2


def test_secrets_in_env_files_are_not_read() -> None:
    for key in (".env", "prod.env", "a/.env"):
        with pytest.raises(SourceError, match="not a kind of document"):
            parse(key, b"PASSWORD=x")


@given(
    st.sampled_from(LINE_SUFFIXES),
    any_bytes(b"a:\n", b"a: b\n", b"[t]\n", b"[[t]]\n", b"  x: y\n", b"# c\n", b"'", b"[", b":"),
)
def test_any_bytes_are_lines_or_a_reason(suffix: str, data: bytes) -> None:
    parse_or_reason(f"a{suffix}", data)
