"""Proves that versions are a line that nothing changes, and what is said of torn ones."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from index.shelf import LOCAL, entry
from resift.errors import IndexMismatch, IndexNotFound, StoreError
from resift.index.location import locate
from resift.index.versions import FORMAT, Damaged, VectorIndex, Version, Versions

ONE = Version(
    number=1,
    table="t",
    table_version=7,
    created="2026-01-02T03:04:05.678+00:00",
    embedder="hashing",
    fingerprint="hashing-64",
    passages=2,
    documents=1,
    manifest="manifests/00000007-aaaa.parquet",
    files=(("data/ü.lance", 5), ("_versions/7.manifest", 9)),
    vectors=VectorIndex("IVF_HNSW_SQ", 10_000, 1, 300, 0.9876, 64),
    note="version 3 again",
)
TWO = replace(ONE, number=2, manifest="manifests/00000008-bbbb.parquet")
ENTRIES = {"/d/a": entry("/d/a")}


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(locate(str(tmp_path)), LOCAL)


def record(tmp_path: Path, number: int = 1) -> Path:
    return tmp_path / "versions" / f"{number:08}.json"


def test_a_version_comes_back_as_it_was_published(versions: Versions, tmp_path: Path) -> None:
    assert versions.publish(ONE, ENTRIES) and versions.publish(TWO, {})
    other = Versions(locate(str(tmp_path)), LOCAL)
    assert (other.get(1), other.newest(), other.numbers()) == (ONE, TWO, [1, 2])
    assert other.readable() == [ONE, TWO]
    assert (other.entries(ONE), other.entries(TWO)) == (ENTRIES, {})
    assert json.loads(record(tmp_path).read_text())["format"] == FORMAT


def test_of_two_that_publish_a_number_the_second_loses_and_leaves_nothing(
    versions: Versions, tmp_path: Path
) -> None:
    assert versions.publish(ONE, ENTRIES)
    files = sorted(tmp_path.rglob("*"))
    other = replace(ONE, passages=99, manifest="manifests/00000009-cccc.parquet")
    assert not versions.publish(other, {})
    assert (versions.get(1), versions.entries(ONE)) == (ONE, ENTRIES)
    assert sorted(tmp_path.rglob("*")) == files


def test_numbers_are_numbers_and_other_files_are_none(versions: Versions, tmp_path: Path) -> None:
    for number in (9, 100_000_000, 10):
        versions.publish(replace(ONE, number=number), {})
    (tmp_path / "versions" / "readme.txt").write_text("x")
    (tmp_path / "versions" / "old-1.json").write_text("x")
    assert versions.numbers() == [9, 10, 100_000_000]


def test_a_removed_version_is_not_found_and_the_others_are(
    versions: Versions, tmp_path: Path
) -> None:
    versions.publish(ONE, ENTRIES)
    versions.publish(TWO, ENTRIES)
    versions.remove(ONE)
    with pytest.raises(IndexNotFound, match="no version 1: resift versions --index lists them"):
        versions.get(1)
    assert (versions.numbers(), versions.entries(TWO)) == ([2], ENTRIES)
    assert not (tmp_path / ONE.manifest).exists()


def test_where_nothing_is_there_is_nothing_and_nothing_is_made(tmp_path: Path) -> None:
    versions = Versions(locate(str(tmp_path / "nowhere")), LOCAL)
    assert (versions.numbers(), versions.newest(), versions.readable()) == ([], None, [])
    with pytest.raises(IndexNotFound, match="no version 3"):
        versions.get(3)
    assert not list(tmp_path.iterdir())


def test_a_record_without_its_manifest_says_so(versions: Versions, tmp_path: Path) -> None:
    versions.publish(ONE, ENTRIES)
    (tmp_path / ONE.manifest).unlink()
    with pytest.raises(StoreError, match="version 1 has lost its manifest: it was cleaned up"):
        versions.entries(ONE)
    (tmp_path / ONE.manifest).write_bytes(b"PAR1 no more")
    with pytest.raises(Damaged, match=r"aaaa\.parquet is damaged: roll back"):
        versions.entries(ONE)


def without(name: str) -> dict[str, Any]:
    facts = {"format": FORMAT} | asdict(ONE)
    del facts[name]
    return facts


@pytest.mark.parametrize(
    "body",
    [
        "",
        '{"format": 3, "numb',
        "[]",
        "7",
        "\0",
        json.dumps(without("format")),
        json.dumps(without("files")),
        json.dumps(without("format") | {"format": FORMAT, "files": [1]}),
        json.dumps(without("format") | {"format": FORMAT, "vectors": {"kind": "x", "odd": 1}}),
        json.dumps(without("format") | {"format": "3"}),
    ],
)
def test_a_damaged_record_is_told_in_a_line_and_hides_no_other(
    versions: Versions, tmp_path: Path, body: str
) -> None:
    versions.publish(ONE, ENTRIES)
    versions.publish(TWO, ENTRIES)
    record(tmp_path, 2).write_text(body)
    with pytest.raises(Damaged, match=r"00000002\.json is damaged.*roll back to another") as raised:
        versions.newest()
    assert "\n" not in str(raised.value)
    assert versions.readable() == [ONE]


@pytest.mark.parametrize(
    ("number", "remedy"), [(FORMAT + 1, "update resift"), (FORMAT - 1, "index into a new place")]
)
def test_another_format_is_refused_and_never_passed_over(
    versions: Versions, tmp_path: Path, number: int, remedy: str
) -> None:
    versions.publish(ONE, ENTRIES)
    record(tmp_path).write_text(json.dumps({"format": number, "what": "else"}))
    message = f"index format {number}, expected {FORMAT}: {remedy}"
    for read in (versions.newest, versions.readable):
        with pytest.raises(IndexMismatch, match=message):
            read()
