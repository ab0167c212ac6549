"""Proves where the shards of an index lie, and that an object always belongs to the same one."""

import subprocess
import sys
from collections import Counter

import pytest

from resift.errors import IndexMismatch
from resift.index.shards.layout import (
    by_shard,
    check_shard_count,
    shard_location,
    shard_of,
    shards_of,
)
from resift.index.storage.location import Location, locate

URIS = [f"s3://bucket/folder/{number}.txt" for number in range(8_000)]


def test_an_object_belongs_to_the_same_shard_in_each_process() -> None:
    assert [shard_of(uri, 8) for uri in URIS[:6]] == [0, 1, 0, 1, 7, 4]
    code = "from resift.index.shards.layout import shard_of; print(shard_of('s3://bucket/ä', 1000))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(process.stdout) == shard_of("s3://bucket/ä", 1_000)


def test_a_name_that_is_not_utf_8_belongs_to_a_shard() -> None:
    assert 0 <= shard_of("/docs/\udcff.txt", 3) < 3


def test_shards_get_about_as_many_objects_each() -> None:
    counts = Counter(shard_of(uri, 8) for uri in URIS)
    assert sorted(counts) == list(range(8))
    assert min(counts.values()) > 900 and max(counts.values()) < 1_100


def test_objects_are_divided_as_each_one_alone_is() -> None:
    parts = by_shard({uri: uri for uri in URIS}, 8)
    assert [{shard_of(uri, 8) for uri in part} for part in parts] == [{n} for n in range(8)]
    assert sum(map(len, parts)) == len(URIS)
    assert shards_of(URIS[:5], 8) == {0, 1, 7}


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        (Location("bucket", "some/index"), "s3://bucket/some/index/shards/012"),
        (Location("bucket", ""), "s3://bucket/shards/012"),
        (locate("/some/index"), "/some/index/shards/012"),
    ],
)
def test_a_shard_lies_below_its_index(location: Location, uri: str) -> None:
    assert shard_location(location, 12).uri == uri


def test_a_choice_must_be_the_recorded_number_of_shards() -> None:
    check_shard_count("/index", 8, None)
    check_shard_count("/index", 8, 8)
    with pytest.raises(IndexMismatch, match="/index: shards=4: it has 8, and this never changes"):
        check_shard_count("/index", 8, 4)
    with pytest.raises(IndexMismatch, match="/index: shards=4: it has none, and this never"):
        check_shard_count("/index", 1, 4)
