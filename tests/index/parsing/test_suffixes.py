"""Proves that the suffix of a key is the one that pathlib reads, without its cost."""

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from resift.index.parsing.formats import is_supported, unread_kind

PARTS = st.text(st.sampled_from("ab. TXtgzM"), min_size=1, max_size=9)
KEYS = st.lists(PARTS.filter(lambda part: part.strip(".")), min_size=1, max_size=3)


@given(KEYS)
def test_the_kind_of_a_file_is_its_suffix_in_small_letters(parts: list[str]) -> None:
    key = "/".join(parts)
    if not is_supported(key):
        assert unread_kind(key) == (PurePosixPath(key).suffix.lower() or "no suffix")


@given(KEYS, st.sampled_from([".md", ".TXT", ".md.gz", ".Md.GZ"]))
def test_a_supported_suffix_makes_any_name_supported(parts: list[str], suffix: str) -> None:
    assert is_supported("/".join(parts) + suffix)
    assert unread_kind("/".join(parts) + suffix) is None
