"""A cache file is written only where it is provably ours, and no fault of it costs a score."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from resift import Reranker
from resift.errors import SettingsError
from resift.rerank import cache_file as cache_file_module
from resift.rerank.cache_file import APPLICATION_ID, Score
from resift.rerank.caches import PairCache
from resift.settings import Settings

KEYS = [bytes([n]) * 16 for n in range(20)]
SCORES = {key: Score((n / 7, n / 3), n, 2 * n, 3 * n, bytes([n])) for n, key in enumerate(KEYS)}
ENDS = ("", "-wal", "-shm", "-journal")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a folder with its inode and its bytes."""
    return {
        path.name: (path.stat().st_ino, path.read_bytes())
        for path in folder.iterdir()
        if path.is_file()
    }


def execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def write_foreign(file: Path, kind: str) -> None:
    """Something that is no cache of ours."""
    if kind == "text":
        file.write_text("my notes\n" * 50)
    elif kind == "short":
        file.write_bytes(b"x")
    elif kind == "torn database":
        file.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    elif kind == "our id in no database":
        file.write_bytes(b"x" * 68 + APPLICATION_ID.to_bytes(4) + b"x" * 500)
    else:
        execute(file, "CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')")
        if kind == "database with a table pairs":
            execute(file, "CREATE TABLE pairs (key, logit)")
        if kind == "database in WAL":
            execute(file, "PRAGMA journal_mode = WAL")
        if kind == "our id over other tables":
            execute(file, f"PRAGMA application_id = {APPLICATION_ID}")


@pytest.mark.parametrize(
    "kind",
    [
        "text",
        "short",
        "torn database",
        "our id in no database",
        "database",
        "database with a table pairs",
        "database in WAL",
        "our id over other tables",
    ],
)
def test_what_is_not_ours_is_refused_and_untouched(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "pairs.db"
    write_foreign(file, kind)
    before = snapshot(tmp_path)
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"cache_file=.*pairs\.db.*no cache.*another file"):
            PairCache("model", 1, file)
    assert snapshot(tmp_path) == before


def test_an_older_cache_without_the_id_is_refused_and_untouched(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    execute(file, "CREATE TABLE pairs (number, key, logit)", "PRAGMA user_version = 1")
    before = snapshot(tmp_path)
    with pytest.raises(SettingsError, match="delete it yourself"):
        PairCache("model", 1, file)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("end", ENDS[1:])
@pytest.mark.parametrize("made", [False, True])
def test_what_lies_beside_a_file_and_is_not_sqlites_is_untouched(
    tmp_path: Path, end: str, made: bool
) -> None:
    file = tmp_path / "pairs.db"
    if made:
        subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    Path(f"{file}{end}").write_text("my notes")
    before = snapshot(tmp_path)
    with pytest.raises(SettingsError, match=rf"pairs\.db{end} exists"):
        PairCache("model", 1, file)
    assert snapshot(tmp_path) == before


WRITE = """
import sys
from pathlib import Path
from resift.rerank.caches import PairCache
from resift.rerank.cache_file import Score
PairCache("model", 1, Path(sys.argv[1])).put({b"k" * 16: Score((1.0,), 1, 0, 1)})
"""


def test_a_link_is_followed_and_what_it_leads_to_is_looked_at(tmp_path: Path) -> None:
    notes, link, loop = (tmp_path / name for name in ("notes.txt", "link.db", "loop.db"))
    notes.write_text("mine")
    link.symlink_to(notes)
    loop.symlink_to(loop)
    for file in (link, loop):
        with pytest.raises(SettingsError, match="cache_file"):
            PairCache("model", 1, file)
    assert notes.read_text() == "mine" and link.is_symlink() and loop.is_symlink()
    new = tmp_path / "new.db"
    new.symlink_to(tmp_path / "real.db")
    PairCache("model", 1, new).put(SCORES)
    assert new.is_symlink() and PairCache("model", 1, tmp_path / "real.db").get(KEYS) == SCORES


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    names = [folder, pipe, Path("/dev/null"), tmp_path / "no" / "pairs.db", Path("a\0b")]
    for file in [*names, tmp_path / ("n" * 300)]:
        with pytest.raises(SettingsError, match="cache_file"):
            PairCache("model", 1, file)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, which: str) -> None:
    file = tmp_path / "pairs.db"
    PairCache("model", 1, file).put(SCORES)
    (file if which == "file" else tmp_path).chmod(0o500)
    with pytest.raises(SettingsError, match="cannot be written"):
        PairCache("model", 1, file)
    tmp_path.chmod(0o700)


def test_a_reranker_says_so_at_once(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(SettingsError, match=r"RESIFT_CACHE_FILE"):
        Reranker(settings=Settings(cache_file=str(file)))
    assert file.read_text() == "mine"


def test_an_empty_file_becomes_a_cache(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    file.touch()
    PairCache("model", 1, file).put(SCORES)
    assert PairCache("model", 1, file).get(KEYS) == SCORES


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA user_version = 2",
        "ALTER TABLE pairs ADD COLUMN more",
        "ALTER TABLE pairs DROP COLUMN score",
        "DROP TABLE pairs",
    ],
)
def test_a_cache_of_another_version_is_replaced(tmp_path: Path, statement: str) -> None:
    file = tmp_path / "pairs.db"
    subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    execute(file, statement)
    with pytest.warns(RuntimeWarning, match="older resift was emptied"):
        cache = PairCache("model", 1, file)
    assert cache.get([b"k" * 16]) == {}
    cache.put(SCORES)
    assert PairCache("model", 1, file).get(KEYS) == SCORES


def test_a_cache_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    execute(file, "PRAGMA user_version = 99")
    before = file.read_bytes()
    with pytest.raises(SettingsError, match="schema 99, this resift reads 4; update resift"):
        PairCache("model", 1, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("start", [100, 72, 16])
def test_a_broken_cache_of_ours_is_replaced_with_a_warning(tmp_path: Path, start: int) -> None:
    file = tmp_path / "pairs.db"
    subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    content = bytearray(file.read_bytes())
    content[start:68] = b"\xff" * max(68 - start, 0)
    content[max(start, 72) :] = b"\xff" * (len(content) - max(start, 72))
    file.write_bytes(content)
    with pytest.warns(
        RuntimeWarning, match=r"pairs\.db: the cache was broken.*replaced by an empty one"
    ):
        cache = PairCache("model", 1, file)
        cache.get(KEYS)
    cache.put(SCORES)
    assert PairCache("model", 1, file).get(KEYS) == SCORES


def test_a_cache_cut_short_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    os.truncate(file, 5000)
    with pytest.warns(RuntimeWarning, match="replaced by an empty one"):
        cache = PairCache("model", 1, file)
        cache.get([b"k" * 16])
        cache.put(SCORES)
    cache.put(SCORES)
    assert PairCache("model", 1, file).get(KEYS) == SCORES


@pytest.mark.parametrize(
    "change",
    [
        "score = x''",
        "score = x'0000'",
        "score = x'000000000000f87f'",
        "score = 'text'",
        "score = cast(x'ff80' AS TEXT)",
        "score = 3",
        "score = 1e300",
        "score = substr(score, 1, length(score) - 1)",
        "score = cast(score || x'00' AS BLOB)",
        "score = cast(substr(score, 1, 8) || x'0900000000000000' || substr(score, 17) AS BLOB)",
        "key = x'05050505050505050505050505050505'",
    ],
)
def test_a_row_that_is_not_as_it_was_written_is_skipped(tmp_path: Path, change: str) -> None:
    file = tmp_path / "pairs.db"
    cache = PairCache("model", 1, file)
    cache.put({key: SCORES[key] for key in KEYS[:2]})
    execute(file, f"UPDATE pairs SET {change} WHERE key = x'{KEYS[1].hex()}'")
    assert PairCache("model", 1, file).get(KEYS) == {KEYS[0]: SCORES[KEYS[0]]}


def test_a_full_disk_gives_one_warning_and_memory_is_used(tmp_path: Path) -> None:
    cache = PairCache("model", 1, tmp_path / "pairs.db")
    connection = cache._file._open[1]  # type: ignore[union-attr, index]
    connection.execute("PRAGMA max_page_count = 1")
    many = {n.to_bytes(16): Score((1.0,), 1, 0, 1, bytes(4000)) for n in range(20)}
    with pytest.warns(RuntimeWarning, match="full.*scoring without it") as warned:
        cache.put(many)
        cache.put(SCORES)
        assert cache.get(KEYS) == SCORES and cache.get([b"unknown"]) == {}
    assert len(warned) == 1


def test_a_file_that_another_holds_while_it_is_opened_is_used_later(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        cache = PairCache("model", 1, file)
        cache.put({KEYS[0]: SCORES[KEYS[0]]})
        other.rollback()
    cache.put({KEYS[1]: SCORES[KEYS[1]]})
    assert set(PairCache("model", 1, file).get(KEYS)) == {KEYS[1]}
    assert cache.get([b"k" * 16])


def test_two_processes_that_begin_a_file_at_once_share_it(tmp_path: Path) -> None:
    for number in range(3):
        file = tmp_path / f"{number}.db"
        writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(file)]) for _ in range(3)]
        assert [writer.wait() for writer in writers] == [0, 0, 0]
        assert PairCache("model", 1, file).get([b"k" * 16])


def test_what_took_its_place_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    PairCache("model", 1, file).put(SCORES)
    cache = PairCache("model", 1, file)
    for end in ENDS:
        Path(f"{file}{end}").unlink(missing_ok=True)
    file.write_text("mine")
    error = sqlite3.DatabaseError("malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    with pytest.warns(RuntimeWarning, match="no cache.*scoring without it"):
        cache._file._handle(error)  # type: ignore[union-attr]
    assert file.read_text() == "mine"


def test_a_copy_is_as_good(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "one.db")], check=True)
    shutil.copy(tmp_path / "one.db", tmp_path / "two.db")
    assert PairCache("model", 1, tmp_path / "two.db").get([b"k" * 16])


def test_the_id_is_one_that_sqlite_can_hold() -> None:
    assert 0 < APPLICATION_ID < 2**31 and cache_file_module.SCHEMA > 1
