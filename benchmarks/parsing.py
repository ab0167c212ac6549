"""How fast are files of each format parsed, in MB a second of one core, without cutting passages?

    python benchmarks/parsing.py FOLDER [FOLDER …]

Reads at most `--files` files of each suffix below the folders, parses each in this process and
counts processor time, so that other programs hardly matter. The last line is JSON: for each suffix
the files, their bytes, MB/s, and the files that could not be read.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from resift.errors import SourceError
from resift.index.parsing.formats import is_supported, parse

MAX_BYTES = 5_000_000


def main() -> None:
    """Parse the files of each suffix, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=300, help="of each suffix")
    options = parser.parse_args()
    files: dict[str, list[Path]] = defaultdict(list)
    for path in _paths(options.folders):
        suffix = path.suffix.lower()
        if len(files[suffix]) < options.files and path.stat().st_size <= MAX_BYTES:
            files[suffix].append(path)
    results = {suffix: _measure(paths) for suffix, paths in sorted(files.items()) if paths}
    for suffix, result in results.items():
        print(f"{suffix:12} {result['files']:4} files {result['bytes'] / 1e6:7.2f} MB", end="")
        print(f" {result['mb_per_second']:8.2f} MB/s, {result['unread']} not read")
    print(json.dumps(results))


def _paths(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in sorted(names):
                path = Path(root, name)
                if is_supported(name) and path.is_file():
                    yield path


def _measure(paths: list[Path]) -> dict[str, float]:
    contents = [(str(path), path.read_bytes()) for path in paths]
    _can_read(*contents[0])  # loads the parser
    started = time.process_time()
    unread = sum(not _can_read(key, data) for key, data in contents)
    seconds = max(time.process_time() - started, 1e-9)
    size = sum(len(data) for _, data in contents)
    return {
        "files": len(contents),
        "bytes": size,
        "mb_per_second": round(size / 1e6 / seconds, 2),
        "unread": unread,
    }


def _can_read(key: str, data: bytes) -> bool:
    try:
        parse(key, data)
    except SourceError:
        return False
    return True


if __name__ == "__main__":
    main()
