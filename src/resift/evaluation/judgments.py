"""A file of judgments that grows: each change is on disk before it counts."""

import gzip
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.lines import unpacked_head
from resift.evaluation.trec import read_qrels
from resift.files import STDOUT, check_output, descriptor

try:
    import fcntl
except ImportError:  # Windows: two judges are then noticed by the file's size alone
    fcntl = None  # type: ignore[assignment]

HEADING = "query-id\tcorpus-id\tscore\tresift\n"
"""The first line of a new file. BEIR's readers ignore it; it marks the file as ours."""

KIND = "a file that resift judge wrote"


class Judgments:
    """Existing judgments, and a file of new ones that grows by a line a judgment.

    Only the end of that file is ever written, so that a reader, and a session after a crash, finds
    all earlier judgments. It is locked against other sessions.
    """

    def __init__(
        self, file: Path, published: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        """Read the file, if there is one; `published` are judgments of other files.

        Raises `OutputError` for a file that is not ours, and `DatasetError` where it cannot be read
        or another session has it open.
        """
        self.file = check_output(file, KIND, is_judgment_file)
        is_opened = str(file) == STDOUT or descriptor(file) is not None
        if is_opened or (self.file.exists() and not self.file.is_file()):
            raise DatasetError(f"{file}: is not a file; judgments are read again, so name one")
        self._descriptor: int | None = None
        self._added: dict[tuple[str, str], tuple[int, int]] = {}  # grade, and where its line begins
        self._end = 0
        with ExitStack() as on_error:
            on_error.callback(self.close)
            if self.file.exists():
                self._open(0)
            written = read_qrels(self.file) if self._end else {}
            on_error.pop_all()
        self.started = tuple(written)
        """Queries of the file, in the order of their first judgment."""
        self.earlier: Mapping[str, Mapping[str, float]] = {
            query_id: {**written.get(query_id, {}), **(published or {}).get(query_id, {})}
            for query_id in dict.fromkeys([*(published or {}), *written])
        }
        """Query ids to their documents' grades, as they were when this was opened."""

    @property
    def added(self) -> int:
        """How many judgments were added since."""
        return len(self._added)

    def has(self, query_id: str, doc_id: str) -> bool:
        """Whether this pair is judged, now or earlier."""
        return doc_id in self.earlier.get(query_id, ()) or (query_id, doc_id) in self._added

    def add(self, query_id: str, doc_id: str, grade: int) -> None:
        """Judge a pair; it is on disk when this returns.

        Raises `DatasetError`, and changes nothing, where the file cannot be written or another
        program has changed it.
        """
        before = self._checked_end()
        line = f"{query_id}\t{doc_id}\t{grade}\n"
        self._append(line if before else HEADING + line)
        self._added[query_id, doc_id] = grade, before

    def remove(self, query_id: str, doc_id: str) -> int:
        """Remove the judgment that was added last and return its grade; raises as `add` does."""
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
        """The file's descriptor; opened and locked at the first call."""
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
        except OSError:  # a file system without locks: `_checked_end` compares sizes
            return

    def _repair(self) -> None:
        """End a last line without a line end, or remove it where a crash has cut it short.

        A gzipped file that is cut short cannot be read, which raises later.
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
        """Where the file ends; raises where another program has changed that."""
        descriptor = self._open(os.O_CREAT | os.O_EXCL)
        try:
            now = os.fstat(descriptor)
            is_same = os.path.samestat(now, os.stat(self.file)) and now.st_size == self._end
        except OSError:
            is_same = False
        if not is_same:
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
            f"{self.file}: another program has changed it meanwhile; start again to continue"
        )

    def _unwritten(self, error: OSError) -> DatasetError:
        return DatasetError(f"{self.file}: cannot be written ({error.strerror})")


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, to the disk."""
    left = data
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def is_judgment_file(head: bytes) -> bool:
    """Whether a file that begins like this was written by `Judgments`, gzipped or not."""
    return unpacked_head(head).startswith(HEADING.encode())
