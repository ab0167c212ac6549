"""Proves that a manifest reads back as written, and which attempt at an object stays."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.shelf import entry
from resift.index.manifest import Entry, from_parquet, latest_attempts, to_parquet
from resift.index.table.rows import Origin

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SIZES = st.integers(0, 2**63 - 1)
ENTRIES = st.builds(
    Entry,
    st.builds(Origin, TEXTS, TEXTS, SIZES, st.binary(max_size=16), TEXTS, TEXTS, st.none() | TEXTS),
    SIZES,
    st.none() | TEXTS,
    st.lists(TEXTS, max_size=3).map(tuple),
)


@given(st.lists(ENTRIES, max_size=5))
def test_a_manifest_reads_back_as_it_was_written(entries: list[Entry]) -> None:
    by_uri = {entry.origin.uri: entry for entry in entries}
    assert from_parquet(to_parquet(by_uri)) == by_uri


def test_objects_are_in_order_whoever_writes_them() -> None:
    entries = {uri: entry(uri) for uri in ("/d/b", "/d/a", "/d/ü")}
    backwards = dict(reversed(entries.items()))
    assert to_parquet(entries) == to_parquet(backwards)
    assert list(from_parquet(to_parquet(entries))) == ["/d/a", "/d/b", "/d/ü"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123"), st.integers(1, 9))))
def test_of_each_object_the_last_attempt_stays_and_the_others_are_replaced(
    written: list[tuple[str, str, int]],
) -> None:
    groups = [entry(uri, attempt, passages) for uri, attempt, passages in written]
    groups = list({(group.origin.uri, group.origin.attempt): group for group in groups}.values())
    current, replaced = latest_attempts(groups)
    assert sorted([*current.values(), *replaced], key=repr) == sorted(groups, key=repr)
    for uri in {group.origin.uri for group in groups}:
        last = max(group.origin.attempt for group in groups if group.origin.uri == uri)
        assert current[uri].origin.attempt == last


def test_an_attempt_is_later_whatever_it_found() -> None:
    old, new = entry("/d/a", "1", passages=9), entry("/d/a", "2", passages=1)
    old = replace(old, problems=("line 3",))
    for groups in ([old, new], [new, old]):
        assert latest_attempts(groups) == ({"/d/a": new}, [old])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
def test_a_manifest_is_read_in_the_callers_thread_alone() -> None:
    """A thread of Arrow's that releases bytes while Python ends aborts the process."""
    script = (
        "import os, pyarrow.parquet\n"
        "from resift.index.manifest import from_parquet, to_parquet\n"
        "data = to_parquet({})\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "from_parquet(data)\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "0\n"
