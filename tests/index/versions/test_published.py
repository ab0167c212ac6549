"""Versions are a line that nothing changes; a damaged one is named and hides no other."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from index.shelf import entry
from resift.errors import IndexMismatch, IndexNotFound, StoreError
from resift.index.analysis.spec import RULES
from resift.index.storage.location import locate
from resift.index.versions.published import Damaged, Versions
from resift.index.versions.record import FORMAT, SHARDED_FORMAT, VectorIndex, Version

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
    return Versions(locate(str(tmp_path)))


def record(tmp_path: Path, number: int = 1) -> Path:
    return tmp_path / "versions" / f"{number:08}.json"


def test_a_version_comes_back_as_it_was_published(versions: Versions, tmp_path: Path) -> None:
    assert versions.publish(ONE, ENTRIES) and versions.publish(TWO, {})
    other = Versions(locate(str(tmp_path)))
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


def test_numbers_are_sorted_and_other_files_ignored(versions: Versions, tmp_path: Path) -> None:
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


def test_a_missing_index_has_no_versions_and_nothing_is_created(tmp_path: Path) -> None:
    versions = Versions(locate(str(tmp_path / "nowhere")))
    assert (versions.numbers(), versions.newest(), versions.readable()) == ([], None, [])
    with pytest.raises(IndexNotFound, match="no index there"):
        versions.get(3)
    assert not list(tmp_path.iterdir())


def test_a_record_without_its_manifest_says_so(versions: Versions, tmp_path: Path) -> None:
    versions.publish(ONE, ENTRIES)
    (tmp_path / ONE.manifest).unlink()
    with pytest.raises(StoreError, match="version 1 has lost its manifest: it was cleaned up"):
        versions.entries(ONE)
    (tmp_path / ONE.manifest).write_bytes(b"PAR1 no more")
    with pytest.raises(Damaged, match=r"aaaa\.parquet is damaged: restore it"):
        versions.entries(ONE)


def without(name: str) -> dict[str, Any]:
    facts = {"format": FORMAT} | asdict(ONE)
    del facts[name]
    return facts


@pytest.mark.parametrize(
    "body",
    [
        "",
        '{"format": 4, "numb',
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
def test_a_damaged_record_is_named_in_one_line_and_hides_no_other(
    versions: Versions, tmp_path: Path, body: str
) -> None:
    versions.publish(ONE, ENTRIES)
    versions.publish(TWO, ENTRIES)
    record(tmp_path, 2).write_text(body)
    with pytest.raises(Damaged, match=r"00000002\.json is damaged.*roll back to another") as raised:
        versions.newest()
    assert "\n" not in str(raised.value)
    assert versions.readable() == [ONE]


def test_messages_name_only_versions_that_exist(versions: Versions, tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match="no index there: make one with  resift index"):
        versions.get(1)
    versions.publish(ONE, ENTRIES)
    with pytest.raises(IndexNotFound, match="no version 7: resift versions --index lists them"):
        versions.get(7)
    with pytest.raises(StoreError, match=r"lost 2 of its 2 files.*restore it, or build a new"):
        versions.check_files_exist(ONE)
    record(tmp_path, 1).write_text("")
    with pytest.raises(Damaged, match=r"damaged \(.*\): restore it, or build a new index$"):
        versions.newest()
    versions.publish(TWO, ENTRIES)
    with pytest.raises(StoreError, match="roll back to another version"):
        versions.check_files_exist(TWO)


def test_an_index_that_may_not_be_read_is_an_error_of_one_line(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, **options: object) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    versions.publish(ONE, ENTRIES)
    monkeypatch.setattr("resift.index.storage.local.os.scandir", refuse)
    with pytest.raises(StoreError, match="permission denied: check the rights of the files"):
        versions.numbers()
    monkeypatch.setattr(Path, "stat", refuse)  # nor at the folder that it lies in
    with pytest.raises(StoreError, match="permission denied: check the rights of the files"):
        versions.numbers()


@pytest.mark.parametrize(
    ("number", "remedy"), [(SHARDED_FORMAT + 1, "update resift"), (FORMAT - 1, "build a new index")]
)
def test_another_format_is_refused_and_never_skipped(
    versions: Versions, tmp_path: Path, number: int, remedy: str
) -> None:
    versions.publish(ONE, ENTRIES)
    record(tmp_path).write_text(json.dumps({"format": number, "what": "else"}))
    message = f"index format {number}, expected {FORMAT}: {remedy}"
    for read in (versions.newest, versions.readable):
        with pytest.raises(IndexMismatch, match=message):
            read()


def changed(**changes: Any) -> str:
    return json.dumps({"format": FORMAT} | asdict(ONE) | changes)


EVIL_PATHS = [
    *("../evil", "/etc/x", "a/../../x", "a//b", "./a", "", "a\\..\\b", "a\0b", "a\nb"),
    "x" * 2_000,
]
ODD_FILES: list[Any] = [{}, [["a"]], ["ab"], [["a", 1], ["a", 1]]]
ODD_VECTORS: list[dict[str, Any]] = [
    *({"recall": 2}, {"effort": -1}, {"kind": "IVF_HNSW_SQ"}, {"kind": []}),
]
WORDS = {"name": "words", "language": "english", "rules": RULES}
ODD_ANALYSERS: list[Any] = [
    *(None, "words", [], {}, {"name": "words"}, WORDS | {"odd": 1}, WORDS | {"rules": "1"}),
    *(WORDS | {"language": language} for language in ("../de", "klingon", 7, None)),
    *(WORDS | {"name": name} for name in ("a b", "bytes", "\x1b[2J", 7)),
    *(WORDS | {"rules": rules} for rules in (0, -1, True, 1.0, None)),
]


@pytest.mark.parametrize(
    "body",
    [
        *(changed(analyser=analyser) for analyser in ODD_ANALYSERS),
        *(changed(files=[[path, 5]]) for path in EVIL_PATHS),
        *(changed(manifest=path) for path in (*EVIL_PATHS, "passages.lance/data/x")),
        *(changed(table=name) for name in (*EVIL_PATHS, "a/b", "..", ".hidden", 7, None)),
        *(changed(files=[["a", size]]) for size in (-1, 1.5, "9", None, True, 2**63)),
        *(changed(files=files) for files in ODD_FILES),
        *(changed(number=number) for number in (0, -1, 2, "1", 1.0, True)),
        *(changed(passages=count) for count in (-1, 2**64, float("nan"))),
        *(changed(created=time) for time in ("", "soon", "2026-01-01", 3)),
        *(changed(embedder=name) for name in (None, "a\x1b[2J", 7)),
        *(changed(vectors=asdict(VectorIndex()) | change) for change in ODD_VECTORS),
        "[" * 200_000,
        '{"format": ' + "9" * 5_000 + "}",
    ],
)
def test_a_hostile_record_is_refused_when_it_is_read(
    versions: Versions, tmp_path: Path, body: str
) -> None:
    versions.publish(ONE, ENTRIES)
    record(tmp_path).write_text(body)
    with pytest.raises(Damaged) as raised:
        versions.get(1)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400 and message.isprintable()
    assert versions.readable() == []


def test_a_huge_record_is_not_read_into_memory(versions: Versions, tmp_path: Path) -> None:
    versions.publish(ONE, ENTRIES)
    with record(tmp_path).open("ab") as file:
        file.truncate(1 << 32)  # sparse: nothing is written
    with pytest.raises(Damaged, match="has more than 67,108,864 bytes"):
        versions.get(1)


def test_odd_names_beside_records_are_no_versions(versions: Versions, tmp_path: Path) -> None:
    versions.publish(ONE, ENTRIES)
    odd = ("²²²²²²²².json", "1.json", "000000002.json", "x/00000003.json", f"{'9' * 30}.json")
    for name in odd:
        path = tmp_path / "versions" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    assert versions.numbers() == [1]


@pytest.mark.parametrize("name", ["versions", "manifests"])
def test_a_link_out_of_the_index_is_refused(tmp_path: Path, name: str) -> None:
    elsewhere, index = tmp_path / "elsewhere", tmp_path / "index"
    elsewhere.mkdir()
    index.mkdir()
    (index / name).symlink_to(elsewhere)
    with pytest.raises(StoreError, match="a link that leads out of the index"):
        Versions(locate(str(index))).publish(ONE, ENTRIES)
    assert not list(elsewhere.iterdir())
