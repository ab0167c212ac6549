"""A file of judgments that grows: each change is on disk before it counts."""

import gzip
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.collection import read_qrels

HEADING = "query-id\tcorpus-id\tscore\n"
"""Of a new file: BEIR's readers pass over the first line, whatever it says."""

Stamp = tuple[int, int, int]


class Judgments:
    """What a qrels file says, and what is added to it. One writer at a time.

    The file is replaced as a whole at each change: whoever reads it, and whoever comes after a
    crash, finds it as it was before or after. What was in it stays, byte for byte, in front. A file
    with TREC's four columns gets lines of four.
    """

    def __init__(self, file: Path) -> None:
        """Read what is there; raises `DatasetError` where it, or its folder, cannot be used."""
        self.file = file.resolve()  # a link stays one
        if not self.file.parent.is_dir():
            raise DatasetError(f"{file}: the folder {file.parent} does not exist; make it first")
        self._stamp = self._stamp_now()
        self._before = b"" if self._stamp is None else self._bytes()
        self._known = read_qrels(self.file) if self._before else {}
        self._added: dict[tuple[str, str], int] = {}

    @property
    def known(self) -> Mapping[str, Mapping[str, int]]:
        """Query ids to their documents' grades, as they were when this was opened."""
        return self._known

    @property
    def added(self) -> int:
        """How many judgments have come since."""
        return len(self._added)

    def has(self, query_id: str, doc_id: str) -> bool:
        """Whether this pair is judged, now or before."""
        return doc_id in self._known.get(query_id, ()) or (query_id, doc_id) in self._added

    def add(self, query_id: str, doc_id: str, grade: int) -> None:
        """Judge a pair; when this returns it is on disk.

        Raises `DatasetError`, and changes nothing, where the file cannot be written or somebody
        else has changed it.
        """
        self._save({**self._added, (query_id, doc_id): grade})

    def remove(self, query_id: str, doc_id: str) -> int:
        """Take back what was added, and say what it was; raises as `add` does."""
        left = dict(self._added)
        grade = left.pop((query_id, doc_id))
        self._save(left)
        return grade

    def _save(self, added: dict[tuple[str, str], int]) -> None:
        if self._stamp_now() != self._stamp:
            raise DatasetError(
                f"{self.file}: somebody else has changed it meanwhile; start again to go on there"
            )
        data = self._before or HEADING.encode()
        if not data.endswith(b"\n"):
            data += b"\n"
        zero = "\t0" if _columns(self._before) == 4 else ""
        lines = (f"{query}{zero}\t{doc}\t{grade}\n" for (query, doc), grade in added.items())
        data += "".join(lines).encode()
        try:
            self._replace(gzip.compress(data) if self.file.suffix == ".gz" else data)
        except OSError as error:
            raise DatasetError(f"{self.file}: cannot be written ({error.strerror})") from error
        self._stamp = self._stamp_now()
        self._added = added

    def _replace(self, data: bytes) -> None:
        partial = self.file.with_name(f".{self.file.name}.partial")
        try:
            with partial.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            if self._stamp is not None:
                shutil.copymode(self.file, partial)
            partial.replace(self.file)
        finally:
            partial.unlink(missing_ok=True)
        if os.name == "posix":  # elsewhere a folder cannot be opened, and need not
            folder = os.open(self.file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _bytes(self) -> bytes:
        try:
            data = self.file.read_bytes()
            return gzip.decompress(data) if self.file.suffix == ".gz" else data
        except (OSError, EOFError, ValueError) as error:
            raise DatasetError(f"{self.file}: cannot be read ({error})") from error

    def _stamp_now(self) -> Stamp | None:
        try:
            now = self.file.stat()
        except FileNotFoundError:
            return None
        return now.st_ino, now.st_size, now.st_mtime_ns


def _columns(data: bytes) -> int:
    """Of the last line; those before it may be a heading."""
    lines = data.rstrip().splitlines()
    return len(lines[-1].split(b"\t" if b"\t" in lines[-1] else None)) if lines else 0
