"""Files are read in other processes: in order, within limits, whatever they are."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from index.parsing.forked import start_as_users_do
from index.parsing.office import make_docx
from index.parsing.pdfs import make_pdf
from resift.errors import InputError, ResiftError, SourceError
from resift.index.parsing import pool
from resift.index.parsing.chunking import chunk_document, token_starts
from resift.index.parsing.documents import ChunkedFile
from resift.index.parsing.formats import parse
from resift.index.parsing.options import Columns, ParseLimits, ParseOptions
from resift.index.parsing.pool import ParserPool
from resift.index.parsing.protocol import from_json, read_untrusted

File = tuple[str, str, bytes | SourceError]
SLOW = b"<div>" * 400_000 + b"bottom"
"""HTML takes time that grows with the square of its depth: this page some minutes."""


@pytest.fixture(autouse=True, scope="module")
def _started_as_users_do() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_start_worker", start_as_users_do)
        yield


@pytest.fixture(scope="module")
def parsers(_started_as_users_do: None) -> Iterator[ParserPool]:
    with ParserPool(limited(max_seconds=30), processes=2) as opened:
        yield opened


def limited(**limits: float) -> ParseOptions:
    return ParseOptions(limits=ParseLimits(**limits))  # type: ignore[arg-type]


def read(parsers: ParserPool, *files: tuple[str, bytes]) -> list[ChunkedFile | SourceError]:
    """Each file's outcome."""
    return [outcome for _, outcome in parsers.map((key, key, data) for key, data in files)]


def texts(outcome: ChunkedFile | SourceError) -> list[str]:
    assert isinstance(outcome, ChunkedFile), outcome
    return [chunk.text for document in outcome.documents for chunk in document.chunks]


def children_of(parent: int) -> list[int]:
    """Process ids of a process's parsers."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = status.with_name("cmdline").read_bytes()
        except OSError:  # gone meanwhile
            continue
        if (
            fields[1] == str(parent)
            and fields[0] != "Z"
            and b"resift.index.parsing.worker" in command
        ):
            children.append(int(status.parent.name))
    return children


@pytest.fixture
def others(parsers: ParserPool) -> list[int]:
    """ParserPool that are no business of this test."""
    read(parsers, *((f"{n}.txt", b"x" * 300_000) for n in range(4)))
    return children_of(os.getpid())


def mine(others: list[int]) -> list[int]:
    return [child for child in children_of(os.getpid()) if child not in others]


def test_what_comes_back_is_what_parsing_here_gives(parsers: ParserPool) -> None:
    data = b"# One\nFirst sentence. " + b"More words follow here. " * 99 + b"\n## Two\nEnd."
    (outcome,) = read(parsers, ("a/b.md", data))
    (document,) = parse("a/b.md", data).documents
    assert outcome == ChunkedFile((chunk_document(document, token_starts),))
    assert len(texts(outcome)) > 2


def test_rows_and_pages_are_kept(parsers: ParserPool) -> None:
    rows, pdf = read(
        parsers,
        ("r.jsonl", b'{"id": 5, "text": "words", "n": [1, null]}\n\nno json'),
        ("p.pdf", make_pdf(["one", "two"])),
    )
    assert isinstance(rows, ChunkedFile)
    assert isinstance(pdf, ChunkedFile)
    (document,) = rows.documents
    assert (document.id, document.row, document.metadata) == ("5", 1, {"n": [1, None]})
    assert rows.problems[0].startswith("line 3: not JSON")
    assert [chunk.page for chunk in pdf.documents[0].chunks] == [1, 2]


def test_the_order_is_kept_whatever_is_quick(parsers: ParserPool) -> None:
    files: list[File] = [
        (f"item {n}", f"{n}.txt", b"word " * (40_000 if n % 50 == 0 else 2)) for n in range(300)
    ]
    files[7] = ("item 7", "7.txt", SourceError("gone since the source was listed"))
    files[8] = ("item 8", "8.bin", b"\x00")
    outcomes = list(parsers.map(files))
    assert [item for item, _ in outcomes] == [item for item, _, _ in files]
    assert str(outcomes[7][1]) == "gone since the source was listed"
    assert ".bin" in str(outcomes[8][1])
    assert all(isinstance(outcome, ChunkedFile) for _, outcome in outcomes[9:])


@pytest.mark.parametrize(
    "key",
    ["a b.txt", "../../etc/passwd.txt", "ü/日本 😀.txt", "new\nline.txt", "-x --y.txt", "'.txt"],
)
def test_a_name_is_a_name_and_never_a_path(parsers: ParserPool, key: str) -> None:
    (outcome,) = read(parsers, (key, b"fine"))
    assert isinstance(outcome, ChunkedFile)
    assert outcome.documents[0].id == key


def test_a_name_that_is_no_text_costs_its_own_file(parsers: ParserPool) -> None:
    odd, fine = read(parsers, ("odd\udcff.txt", b"x"), ("fine.txt", b"fine"))
    assert "no answer that can be read" in str(odd)
    assert texts(fine) == ["fine"]


def test_the_whole_text_comes_where_it_is_asked_for() -> None:
    with ParserPool(ParseOptions(with_text=True), processes=1) as parsers:
        (outcome,) = read(parsers, ("a.txt", b"One. Two. " * 500))
    assert isinstance(outcome, ChunkedFile)
    (document,) = outcome.documents
    assert document.text == "One. Two. " * 500
    assert len(document.chunks) > 1
    assert all(document.text[chunk.start : chunk.end] == chunk.text for chunk in document.chunks)


def test_columns_reach_the_parser() -> None:
    with ParserPool(ParseOptions(Columns(text="body")), processes=1) as parsers:
        (outcome,) = read(parsers, ("a.csv", b"body\nwords\n"))
    assert texts(outcome) == ["words"]


def test_many_rows_come_in_parts_and_are_one_file(parsers: ParserPool) -> None:
    (outcome,) = read(parsers, ("many.csv", b"text\n" + b"a row\n" * 2_500 + b'"x"y\n'))
    assert isinstance(outcome, ChunkedFile)
    assert [document.row for document in outcome.documents] == list(range(2, 2_502))
    assert len(outcome.problems) == 1


def test_a_file_that_is_too_large_is_not_sent() -> None:
    with ParserPool(limited(max_bytes=10)) as parsers:
        large, small = read(parsers, ("a.txt", b"x" * 11), ("b.txt", b"x" * 10))
    assert str(large) == "the file has 11 bytes: the limit is 10 (max_bytes)"
    assert texts(small) == ["x" * 10]


def test_a_file_that_takes_too_long_costs_its_time_and_no_more() -> None:
    with ParserPool(limited(max_seconds=1), processes=1) as parsers:
        started = time.monotonic()
        before, slow, after = read(
            parsers, ("a.txt", b"before"), ("slow.html", SLOW), ("b.txt", b"after")
        )
        assert time.monotonic() - started < 15
    assert str(slow) == "took longer than 1 s to read (max_seconds)"
    assert texts(before) + texts(after) == ["before", "after"]


def test_a_file_that_needs_too_much_memory_costs_only_itself() -> None:
    sink = io.BytesIO()
    table = pyarrow.table({"text": ["x" * 1_000_000] * 600})
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    assert len(sink.getvalue()) < 1_000_000
    with ParserPool(limited(memory_mb=512), processes=1) as parsers:
        hungry, after = read(parsers, ("big.parquet", sink.getvalue()), ("b.txt", b"after"))
    assert str(hungry) == "needs more than 512 MB of memory to read (memory_mb)"
    assert texts(after) == ["after"]


def is_reading(child: int) -> bool:
    """Whether a parser is in the middle of a page: only then is the library for it loaded."""
    try:
        return "selectolax" in Path(f"/proc/{child}/maps").read_text()
    except OSError:
        return False


def test_two_parsers_that_are_killed_over_a_file_cost_that_file(others: list[int]) -> None:
    def kill_two() -> None:
        killed: list[int] = []
        while len(killed) < 2:
            time.sleep(0.1)
            new = [child for child in mine(others) if child not in killed and is_reading(child)]
            for child in new:
                os.kill(child, signal.SIGKILL)
            killed += new

    with ParserPool(limited(max_seconds=10), processes=1) as parsers:
        read(parsers, ("a.txt", b"started"))
        threading.Thread(target=kill_two).start()
        slow, after = read(parsers, ("slow.html", SLOW), ("b.txt", b"after"))
    assert "was ended by SIGKILL" in str(slow)
    assert texts(after) == ["after"]


def test_a_parser_that_was_killed_between_two_files_costs_none(others: list[int]) -> None:
    with ParserPool(processes=1) as parsers:
        read(parsers, ("a.txt", b"started"))
        (child,) = mine(others)
        os.kill(child, signal.SIGKILL)
        while mine(others):
            time.sleep(0.01)
        (after,) = read(parsers, ("b.txt", b"after"))
    assert texts(after) == ["after"]


def test_a_parser_that_no_longer_moves_is_too_slow(others: list[int]) -> None:
    with ParserPool(limited(max_seconds=1), processes=1) as parsers:
        read(parsers, ("a.txt", b"started"))
        (child,) = mine(others)
        os.kill(child, signal.SIGSTOP)
        still, after = read(parsers, ("large.txt", b"word " * 100_000), ("b.txt", b"after"))
    assert "took longer than 1 s" in str(still)
    assert texts(after) == ["after"]


def test_a_parser_that_has_grown_is_replaced_and_no_file_is_lost(others: list[int]) -> None:
    pytest.importorskip("kreuzberg")
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["row"]}), sink)
    with ParserPool(limited(memory_mb=512), processes=1) as parsers:
        read(parsers, ("a.txt", b"started"))
        first = mine(others)
        outcomes = read(
            parsers,
            # What these two need to be read at all is more than half of 512 MB.
            ("r.parquet", sink.getvalue()),
            ("w.docx", make_docx([("Normal", "word")], [])),
            ("b.txt", b"after"),
        )
        assert mine(others) != first
    assert [texts(outcome) for outcome in outcomes] == [["row"], ["word"], ["after"]]


def test_a_parser_that_is_killed_while_it_starts_costs_no_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = pool._start_worker
    started: list[subprocess.Popen[bytes]] = []

    def start_and_kill_the_first() -> "subprocess.Popen[bytes]":
        child = start()
        if not started:
            child.kill()
        started.append(child)
        return child

    monkeypatch.setattr(pool, "_start_worker", start_and_kill_the_first)
    with ParserPool(processes=1) as parsers:
        (outcome,) = read(parsers, ("a.txt", b"read"))
    assert texts(outcome) == ["read"]
    assert len(started) == 2


def test_no_parser_is_left_behind(others: list[int]) -> None:
    with ParserPool(processes=2) as parsers:
        read(parsers, *((f"{n}.txt", b"x" * 300_000) for n in range(4)))
        assert mine(others)
    assert mine(others) == []


def test_leaving_in_the_middle_does_not_wait_for_what_is_being_read() -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), ParserPool(processes=1) as parsers:
        for item, _ in parsers.map([("a", "a.txt", b"x" * 300_000), ("slow", "s.html", SLOW)]):
            assert item == "a"
            raise KeyboardInterrupt
    assert time.monotonic() - started < 15


_ORPHANS = """
from resift.index.parsing import pool
from resift.index.parsing.options import ParseLimits, ParseOptions
pool._SECONDS_BETWEEN_CHECKS = 60  # this parent never ends a file that takes too long
limits = ParseLimits(max_seconds=1)
with pool.ParserPool(ParseOptions(limits=limits), processes=2) as parsers:
    slow = b"<div>" * 400_000
    for _ in parsers.map([(1, "a.txt", b"x" * 300_000), (2, "s.html", slow), (3, "b.txt", b"x")]):
        print("reading", flush=True)
"""


def test_parsers_of_a_parent_that_was_killed_end_by_themselves() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _ORPHANS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        parent.stdout.readline()
        time.sleep(0.3)
        orphans = children_of(parent.pid)
        parent.kill()
    assert len(orphans) == 2  # one waits for work, the other is in the middle of a file
    deadline = time.monotonic() + 120  # three seconds of a processor that others use too
    while any(Path(f"/proc/{child}").exists() for child in orphans):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_parsers_know_nothing_of_credentials(
    monkeypatch: pytest.MonkeyPatch, others: list[int]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ParserPool(processes=1) as parsers:
        read(parsers, ("a.txt", b"started"))
        (child,) = mine(others)
        assert b"secret" not in Path(f"/proc/{child}/environ").read_bytes()


def test_starting_a_parser_loads_no_runtime_and_no_index() -> None:
    heavy = (
        "{'openvino', 'onnxruntime', 'lancedb', 'pyarrow', 'pypdfium2', 'kreuzberg', 'selectolax'}"
    )
    code = f"import sys, resift.index.parsing.worker; print({heavy} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert printed.stdout.strip() == b"set()"


def test_files_are_taken_only_as_far_ahead_as_there_is_room(parsers: ParserPool) -> None:
    taken = 0

    def files() -> Iterable[File]:
        nonlocal taken
        for number in range(60):
            taken += 1
            yield "item", f"{number}.html", b"<!--" + b"x" * 4_000_000 + b"-->text"

    outcomes = parsers.map(files())
    next(outcomes)
    assert taken < 30
    assert sum(1 for _ in outcomes) == 59


def test_parsers_that_are_not_open_say_so() -> None:
    with pytest.raises(InputError, match="with statement"):
        next(ParserPool().map([("a", "a.txt", b"x")]))


def test_a_parser_that_does_not_start_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(ResiftError, match="no parser process starts"),
        ParserPool(processes=1) as parsers,
    ):
        read(parsers, ("a.txt", b"x"))


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"documents": [], "problems": [1]},
        {"documents": [["id", "t", {}, None, None]], "problems": []},
        {"documents": [["id", "t", {}, "1", None, []]], "problems": []},
        {"documents": [["id", "t", [], None, None, []]], "problems": []},
        {"documents": [["id", "t", {}, None, None, [[5, 2, "", None, "x"]]]], "problems": []},
        {"documents": [["id", "t", {}, None, None, [[0, 2, "", None, "x"]]]], "problems": []},
        {"documents": [["id", "t", {}, None, None, [[True, 2, "", None, "x"]]]], "problems": []},
    ],
)
def test_an_answer_of_another_shape_is_not_believed(answer: object) -> None:
    with pytest.raises(ValueError):
        from_json(answer)


@pytest.mark.parametrize("data", [b"x" * 50, b"[" + b" " * 50 + b"]\n", b"{x\n", b"\xff\xff\n"])
def test_a_message_that_is_too_long_or_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_untrusted(io.BytesIO(data), 40)


@pytest.mark.parametrize("data", [b"", b"[1, 2"])
def test_a_message_that_ends_early_is_the_end(data: bytes) -> None:
    with pytest.raises(EOFError):
        read_untrusted(io.BytesIO(data), 40)


@pytest.mark.parametrize(
    "values",
    [
        {"max_bytes": 0},
        {"max_pages": -1},
        {"max_seconds": 0},
        {"max_seconds": 1e-9},
        {"max_seconds": float("nan")},
        {"max_seconds": float("inf")},
        {"memory_mb": 10},
        {"memory_mb": 10**13},
    ],
)
def test_limits_that_nothing_could_be_read_with_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        ParseLimits(**values)
