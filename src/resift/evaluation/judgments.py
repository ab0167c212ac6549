"""A file of judgments. Each judgment is on disk before the call returns."""

import gzip
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.lines import unpacked_head
from resift.evaluation.trec import read_qrels
from resift.files import STDOUT, check_output, descriptor, reason

try:
    import fcntl
except ImportError:  # Windows, where only the file's size reveals a second session
    fcntl = None  # type: ignore[assignment]

HEADING = "query-id\tcorpus-id\tscore\tresift\n"
"""The first line of a new file. Marks it as written by resift; BEIR's readers ignore it."""

KIND = "a file that resift judge wrote"


class Judgments:
    """Existing judgments, and a file to which each new judgment is appended as a line.

    Only the end of the file is changed, so that earlier judgments survive a crash. The file is
    locked against other sessions.
    """

    def __init__(
        self, file: Path, published: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        """Read the file if it exists; `published` are judgments of other files.

        Raises `OutputError` for a file that resift did not write, and `DatasetError` if the file
        cannot be read or another session uses it.
        """
        self.file = check_output(file, KIND, is_judgment_file)
        is_opened = str(file) == STDOUT or descriptor(file) is not None
        if is_opened or (self.file.exists() and not self.file.is_file()):
            raise DatasetError(
                f"{file}: is not a file; expected one, since judgments are read again"
            )
        self._descriptor: int | None = None
        self._added: dict[tuple[str, str], tuple[int, int]] = {}  # grade, start of its line
        self._end = 0
        with ExitStack() as on_error:
            on_error.callback(self.close)
            if self.file.exists():
                self._open(0)
            written = read_qrels(self.file) if self._end else {}
            on_error.pop_all()
        self.started = tuple(written)
        """Query ids of the file, in the order of their first judgment."""
        self.earlier: Mapping[str, Mapping[str, float]] = {
            query_id: {**written.get(query_id, {}), **(published or {}).get(query_id, {})}
            for query_id in dict.fromkeys([*(published or {}), *written])
        }
        """Query ids to grades by document id, as of the start of the session."""

    @property
    def added(self) -> int:
        """The number of judgments that this session added."""
        return len(self._added)

    def has(self, query_id: str, doc_id: str) -> bool:
        """Whether this pair is judged, in this session or earlier."""
        return doc_id in self.earlier.get(query_id, ()) or (query_id, doc_id) in self._added

    def add(self, query_id: str, doc_id: str, grade: int) -> None:
        """Judge a pair; it is on disk when this returns.

        Raises `DatasetError`, and changes nothing, if the file cannot be written or another program
        has changed it.
        """
        before = self._checked_end()
        line = f"{query_id}\t{doc_id}\t{grade}\n"
        self._append(line if before else HEADING + line)
        self._added[query_id, doc_id] = grade, before

    def remove(self, query_id: str, doc_id: str) -> int:
        """Remove the last judgment and return its grade; raises the errors of `add`."""
        if not self._added or next(reversed(self._added)) != (query_id, doc_id):
            raise DatasetError(f"{doc_id} of query {query_id}: was not judged last")
        self._checked_end()
        grade, start = self._added[query_id, doc_id]
        self._cut(start)
        del self._added[query_id, doc_id]
        return grade

    def close(self) -> None:
        """Release the file for other sessions."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self, flags: int) -> int:
        """The file's descriptor. The first call opens and locks the file."""
        if self._descriptor is None:
            flags |= os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
            try:
                self._descriptor = os.open(self.file, flags, 0o666)
                self._lock(self._descriptor)
                self._end = os.fstat(self._descriptor).st_size
                self._repair()
            except FileExistsError as error:
                raise self._changed() from error
            except OSError as error:
                raise self._unwritten(error) from error
        return self._descriptor

    def _lock(self, descriptor: int) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise DatasetError(
                f"{self.file}: another session is judging into it; wait, or name another file by "
                "--output"
            ) from error
        except OSError:  # no locks on this file system; `_checked_end` compares sizes
            return

    def _repair(self) -> None:
        """Complete a last line that lacks its line end, or remove it if a crash truncated it.

        A truncated gzip file raises an error when it is read.
        """
        if self.file.suffix == ".gz" or not self._end:
            return
        data = self.file.read_bytes()
        end_of_lines = data.rfind(b"\n") + 1
        last = data[end_of_lines:]
        if not last:
            return
        if last.startswith(b"#") or (last.count(b"\t") == 2 and last[-1:].isdigit()):
            self._append("\n")
        else:
            self._cut(end_of_lines)

    def _checked_end(self) -> int:
        """The file's size; raises `DatasetError` if another program has changed it."""
        descriptor = self._open(os.O_CREAT | os.O_EXCL)
        try:
            status = os.fstat(descriptor)
            is_changed = (
                not os.path.samestat(status, os.stat(self.file)) or status.st_size != self._end
            )
        except OSError:
            is_changed = True
        if is_changed:
            raise self._changed()
        return self._end

    def _append(self, text: str) -> None:
        descriptor, before = self._open(0), self._end
        data = gzip.compress(text.encode()) if self.file.suffix == ".gz" else text.encode()
        try:
            _write(descriptor, data)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise self._unwritten(error) from error
        self._end += len(data)

    def _cut(self, end: int) -> None:
        descriptor, tail = self._open(0), self.file.read_bytes()[end:]
        try:
            os.ftruncate(descriptor, end)
            os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):
                if os.fstat(descriptor).st_size == end:
                    os.write(descriptor, tail)
            raise self._unwritten(error) from error
        self._end = end

    def _changed(self) -> DatasetError:
        return DatasetError(
            f"{self.file}: another program has changed it; repeat the command to continue"
        )

    def _unwritten(self, error: OSError) -> DatasetError:
        return DatasetError(f"{self.file}: cannot be written ({reason(error)})")


def _write(descriptor: int, data: bytes) -> None:
    """Write all bytes through to the disk."""
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def is_judgment_file(head: bytes) -> bool:
    """Whether these first bytes are those of a file of `Judgments`, gzipped or not."""
    return unpacked_head(head).startswith(HEADING.encode())
