"""A folder with the partial output of a job, so that a killed job goes on.

``job.json`` says of which job it is. Each other file gets its name when it is complete, and is not
changed any more. What another job or program made is never changed or deleted. Knows no format of
the other files.
"""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from resift.errors import OutputError
from resift.files import PART_NAME, read_regular, reason, replacing

try:
    import fcntl
except ImportError:  # Windows, where two processes may do the same job
    fcntl = None  # type: ignore[assignment]

Identity = Mapping[str, Any]
"""What decides the results of a job, as JSON values; ``program`` is the command."""

_JOB = "job.json"
_FILE = re.compile(r"[0-9a-f]{16}\.jsonl")
_JOB_BYTES = 10_000
_REMEDY = "name another output, or delete the folder"


class JobFolder:
    """The folder of a job, which is made with its first file.

    `identity` is called when it is needed. `follows` are its names whose values change with those
    of others: where such another name differs, a message leaves them out. All methods raise
    `OutputError`.
    """

    def __init__(
        self,
        path: Path,
        identity: Callable[[], Identity],
        follows: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.path = path
        self._identity = identity
        self._follows = follows
        self._lock: int | None = None

    def open(self) -> list[Path]:
        """The files of the folder, if it is there.

        Raises `OutputError` if it is not of this job, or if another process is working on it.
        """
        with self._io():
            if not os.path.lexists(self.path):
                return []
            if self.path.is_symlink() or not self.path.is_dir():
                raise OutputError(f"{self.path}: is not a folder; move it away")
            if not any(self.path.iterdir()):
                return []
            self._check_identity()
            self._hold()
            return [file for file in sorted(self.path.iterdir()) if _FILE.fullmatch(file.name)]

    @contextmanager
    def new_file(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A new file and its stream. It is there when the block ends without an error."""
        with self._io():
            if self._lock is None:
                self._create()
            file = self.path / f"{secrets.token_hex(8)}.jsonl"
            with replacing(file) as stream:
                yield file, stream

    def lines(self, file: Path) -> Iterator[tuple[int, bytes]]:
        """The lines of a file, each with the byte where it begins."""
        with self._io(), file.open("rb") as stream:
            start = 0
            for line in stream:
                yield start, line
                start += len(line)

    def line(self, file: Path, start: int) -> bytes:
        """The line of a file that begins at this byte."""
        with self._io(), file.open("rb") as stream:
            stream.seek(start)
            return stream.readline()

    def remove(self) -> None:
        """Delete the folder if this job has opened or made it; what is not of the job stays."""
        if self._lock is None:
            return
        with self._io():
            for file in list(self.path.iterdir()):
                if _FILE.fullmatch(file.name) or PART_NAME.fullmatch(file.name):
                    file.unlink()
            self.close()
            (self.path / _JOB).unlink()
            with suppress(OSError):  # somebody's files are in it
                self.path.rmdir()

    def close(self) -> None:
        """Let other processes use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _create(self) -> None:
        """Make the folder with ``job.json`` in it, at once."""
        new = self.path.with_name(f".{self.path.name}-{secrets.token_hex(8)}")
        new.mkdir()
        try:
            (new / _JOB).write_text(json.dumps(self._identity(), indent=2) + "\n")
            new.rename(self.path)  # fails if there is a folder, unless that is empty
        except OSError as error:
            (new / _JOB).unlink(missing_ok=True)
            new.rmdir()
            if os.path.lexists(self.path):
                raise OutputError(f"{self.path}: another process has just made it") from error
            raise
        self._hold()

    def _check_identity(self) -> None:
        try:
            recorded = json.loads(read_regular(self.path / _JOB, _JOB_BYTES))
        except (FileNotFoundError, ValueError):
            recorded = {}
        identity = self._identity()
        program = identity["program"]
        if not isinstance(recorded, dict) or recorded.get("program") != program:
            raise OutputError(f"{self.path}: exists and is not of {program}; {_REMEDY}")
        names = sorted(recorded.keys() | identity.keys())
        others = [name for name in names if recorded.get(name) != identity.get(name)]
        others = [name for name in others if not set(self._follows.get(name, ())) & set(others)]
        if others:
            raise OutputError(
                f"{self.path}: is the partial output of another job (with another "
                f"{', '.join(others)}): finish that with the same command as before, {_REMEDY}"
            )

    def _hold(self) -> None:
        """Lock the folder until `close`, or the end of the process."""
        self._lock = os.open(self.path / _JOB, os.O_RDONLY)
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise OutputError(
                f"{self.path}: another process is working on this job; wait, or name another output"
            ) from error
        except OSError:  # no locks on this file system
            return

    @contextmanager
    def _io(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.path}: the partial output failed ({reason(error)})"
            ) from error
