"""How does a sync handle a folder in which a twentieth of the files is broken, in twenty ways?

``python benchmarks/broken_objects.py [--objects 10000] [--broken 500] [--embedder wordllama]``
writes the folder, indexes it twice and checks that good files are indexed, that broken files are
named, and that the second run publishes nothing. The last line of stdout is JSON.
"""

import argparse
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from resift.index.report import SyncReport
from resift.search.index import Index
from resift.settings import Settings

_SPARSE = 101_000_000  # bytes: over the limit of 100 MB; a sparse file takes no disk space


def _content(suffix: str, data: bytes) -> Callable[[Path, int], None]:
    def make(folder: Path, n: int) -> None:
        (folder / f"broken {n}{suffix}").write_bytes(data)

    return make


def _link(target: str) -> Callable[[Path, int], None]:
    return lambda folder, n: (folder / f"broken {n}.md").symlink_to(target)


def _named(name: bytes) -> Callable[[Path, int], None]:
    def make(folder: Path, n: int) -> None:
        path = os.fsencode(folder) + b"/" + name % n
        with open(path, "wb") as file:
            file.write(b"A good text under a bad name.")

    return make


def _socket(folder: Path, n: int) -> None:
    working_folder = os.getcwd()
    os.chdir(folder)  # the path of a socket has to be short
    try:
        with socket.socket(socket.AF_UNIX) as unix_socket:
            unix_socket.bind(f"broken {n}.txt")
    finally:
        os.chdir(working_folder)


def _loop(folder: Path, n: int) -> None:
    (folder / f"broken {n}.md").symlink_to(f"broken {n}.md")


def _large(folder: Path, n: int) -> None:
    with (folder / f"broken {n}.txt").open("wb") as file:
        file.truncate(_SPARSE)


def _pipe(folder: Path, n: int) -> None:
    os.mkfifo(folder / f"broken {n}.md")


DEFECTS: dict[str, Callable[[Path, int], None]] = {
    "a name that is not UTF-8": _named(b"broken %d \xff.md"),
    "a tab in its name": _named(b"broken\t%d.md"),
    "a line feed in its name": _named(b"broken\n%d.md"),
    "an escape in its name": _named(b"broken\x1b[31m%d.md"),
    "a link out of the folder": _link("/etc/hostname"),
    "a link to a folder": _link("/etc"),
    "a link to a device": _link("/dev/zero"),
    "a link to nowhere": _link("nowhere.md"),
    "a link to itself": _loop,
    "a pipe": _pipe,
    "a socket": _socket,
    "too large": _large,
    "empty": _content(".md", b""),
    "blanks only": _content(".txt", b" \n\t \n"),
    "binary": _content(".txt", b"\x00\x01\x02" * 50),
    "a cut PDF": _content(".pdf", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog"),
    "no Parquet file": _content(".parquet", b"PAR1 and then nothing"),
    "rows without a text": _content(".csv", b"a,b\n1,2\n"),
    "lines that are no JSON": _content(".jsonl", b"{not json\n"),
    "a page without words": _content(".html", b"<html><body><img src='x.png'></body></html>"),
}


def make(folder: Path, objects: int, broken: int) -> None:
    """Write `objects` files, `broken` of them with one of the defects."""
    for n in range(objects - broken):
        subfolder = folder / f"{n % 50:02}"
        subfolder.mkdir(parents=True, exist_ok=True)
        text = f"# Page {n}\n\nThe word{n} of page {n} is good, and so is word{n * 7 % 997}."
        (subfolder / f"page {n}.md").write_text(text)
    defects = list(DEFECTS.values())
    for n in range(broken):
        defects[n % len(defects)](folder / f"{n % 50:02}", n)


def measure(folder: Path, index: Index) -> tuple[SyncReport, SyncReport]:
    """Index the folder twice."""
    return index.sync(str(folder)), index.sync(str(folder))


def main() -> None:
    """Write and index the files, check and print the reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--broken", type=int, default=500)
    parser.add_argument("--embedder", default="wordllama")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        folder = Path(root) / "docs"
        make(folder, options.objects, options.broken)
        settings = replace(Settings.load(), embedder=options.embedder)
        started = time.perf_counter()
        first, second = measure(folder, Index(str(Path(root) / "index"), settings=settings))
        result = {
            "listed": first.listed,
            "indexed": first.added,
            "named": len({uri for uri, _ in first.skipped}),
            "defects": len(DEFECTS),
            "seconds": round(first.seconds, 1),
            "seconds_again": round(second.seconds, 1),
            "published_again": second.version != first.version,
            "seconds_total": round(time.perf_counter() - started, 1),
        }
        reasons = sorted({reason[:70] for _, reason in first.skipped})
    print("\n".join(reasons))
    good = options.objects - options.broken
    assert (first.added, second.unchanged) == (good, good)
    assert result["named"] == first.unindexed == second.unindexed == options.broken
    assert not result["published_again"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
