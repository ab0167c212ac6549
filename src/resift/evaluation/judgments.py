"""A file of judgments that grows: each change is on disk before it counts."""

import gzip
import os
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.qrels import read_qrels
from resift.files import STDOUT, check_output, descriptor

try:
    import fcntl
except ImportError:  # Windows: two judges are then told apart by the file's size alone
    fcntl = None  # type: ignore[assignment]

HEADING = "query-id\tcorpus-id\tscore\tresift\n"
"""Of a new file: BEIR's readers pass over the first line, whatever it says; here it says whose."""

WHAT = "a file that resift judge wrote"


class Judgments:
    """What others have judged, and a file of one's own that grows by a line a judgment.

    Nothing but that file is written, and of it nothing but its end: whoever reads it, and whoever
    comes after a crash, finds all that was judged before. One judge at a time has it.
    """

    def __init__(
        self, file: Path, published: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        """Read what is there; `published` is what is judged elsewhere, and stays there.

        Raises `OutputError` for a file that somebody else made, and `DatasetError` where it cannot
        be read or somebody else has it open.
        """
        self.file = check_output(file, WHAT, is_own)
        is_opened = str(file) == STDOUT or descriptor(file) is not None
        if is_opened or (self.file.exists() and not self.file.is_file()):
            raise DatasetError(f"{file}: is no file; judgments are read again, so name one")
        self._descriptor: int | None = None
        self._added: dict[tuple[str, str], int] = {}
        self._ends: list[int] = []
        self._end = 0
        with ExitStack() as failed:
            failed.callback(self.close)
            if self.file.exists():
                self._open(0)
            written = read_qrels(self.file) if self._end else {}
            failed.pop_all()
        self.begun = tuple(written)
        """Queries of the file, in the order in which they were begun."""
        self._known = {
            query_id: {**written.get(query_id, {}), **(published or {}).get(query_id, {})}
            for query_id in dict.fromkeys([*(published or {}), *written])
        }

    @property
    def known(self) -> Mapping[str, Mapping[str, float]]:
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
        before = self._checked_end()
        line = f"{query_id}\t{doc_id}\t{grade}\n"
        self._append(line if before else HEADING + line)
        self._ends.append(before)
        self._added[query_id, doc_id] = grade

    def remove(self, query_id: str, doc_id: str) -> int:
        """Take back what was added last, and say what it was; raises as `add` does."""
        if not self._added or next(reversed(self._added)) != (query_id, doc_id):
            raise DatasetError(f"{doc_id} of query {query_id}: was not judged last")
        self._checked_end()
        self._cut(self._ends[-1])
        self._ends.pop()
        return self._added.pop((query_id, doc_id))

    def close(self) -> None:
        """Let others judge into the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self, flags: int) -> int:
        """The file, opened once and held against other judges."""
        if self._descriptor is None:
            flags |= os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
            try:
                self._descriptor = os.open(self.file, flags, 0o666)
                self._hold(self._descriptor)
                self._end = os.fstat(self._descriptor).st_size
                self._mend()
            except FileExistsError as error:
                raise self._changed() from error
            except OSError as error:
                raise self._unwritten(error) from error
        return self._descriptor

    def _hold(self, descriptor: int) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise DatasetError(
                f"{self.file}: somebody else is judging into it; wait, or name another by --output"
            ) from error
        except OSError:  # a file system without locks: sizes tell
            return

    def _mend(self) -> None:
        """End a last line that has no end; one that a crash cut short was never promised, and goes.

        A packed file that is cut short cannot be read, and is refused then.
        """
        if self.file.suffix == ".gz" or not self._end:
            return
        data = self.file.read_bytes()
        whole = data.rfind(b"\n") + 1
        last = data[whole:]
        if not last:
            return
        if last.startswith(b"#") or (last.count(b"\t") == 2 and last[-1:].isdigit()):
            self._append("\n")
        else:
            self._cut(whole)

    def _checked_end(self) -> int:
        """Where the file ends; raises where that is not where this left it."""
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
            self._end += _written(descriptor, data)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise self._unwritten(error) from error

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
            f"{self.file}: somebody else has changed it meanwhile; start again to go on there"
        )

    def _unwritten(self, error: OSError) -> DatasetError:
        return DatasetError(f"{self.file}: cannot be written ({error.strerror})")


def _written(descriptor: int, data: bytes) -> int:
    """Write all of it, to the disk; how much that was."""
    left = data
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)
    return len(data)


def is_own(head: bytes) -> bool:
    """Whether a file that begins like this was made by judging here, packed or not."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 4096)
        except zlib.error:
            return False
    return head.startswith(HEADING.encode())
