"""Files: atomic writes that never replace a file of another kind; reads that never block.

Knows no format: the caller recognises its files by their beginning.
"""

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, BinaryIO

from resift.errors import InputError, OutputError

HEAD_BYTES = 65_536
"""The most bytes that are read to recognise a file."""

PART_NAME = re.compile(r"\.resift-[0-9a-f]{16}\.part")
"""Names of the temporary files of `replacing`."""

STDOUT = "-"

Recognise = Callable[[bytes], bool]
"""Whether a file with this beginning is of the kind to be written."""

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)
_RIGHTS = "permission denied: check the rights of the files and folders"
_OPEN = "too many files are open: raise the limit with  ulimit -n"
_REASONS = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EMFILE: _OPEN,
    errno.ENFILE: _OPEN,
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the disk",
    errno.EFBIG: "a file would be larger than the limit: raise it with  ulimit -f",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the quota is used up: free some space, or raise it",
}
# Without O_NONBLOCK, opening a pipe waits for its other end.
_NO_WAIT = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_DESCRIPTOR_FOLDER = re.compile(r"/dev/fd|/proc/(\d+)(/task/\d+)?/fd")
_MAX_LINKS = 40  # the limit of the system

_TAG_FILE = "CACHEDIR.TAG"
# The signature of the Cache Directory Tagging specification: backups leave the folder out.
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n"


def remedy(number: int | None) -> str | None:
    """A remedy for an error number of the system; None if its message is enough."""
    return _REASONS.get(number) if number is not None else None


def reason(error: OSError) -> str:
    """The reason of an error in a few words, with a remedy if there is one."""
    if error.strerror and error.errno and error.strerror != os.strerror(error.errno):
        return error.strerror  # written in this module, such as "a pipe, not a file"
    return remedy(error.errno) or (error.strerror or str(error) or type(error).__name__).lower()


def irregular(mode: int) -> str | None:
    """The kind of file with this mode, such as "a pipe"; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "something else")


def check_regular(path: str | bytes | os.PathLike[str], mode: int) -> None:
    """Raise `OSError` for anything but a regular file: reading a pipe may wait for ever."""
    kind = irregular(mode)
    if kind:
        raise OSError(errno.EINVAL, f"is {kind}, expected a file", os.fspath(path))


def open_regular(path: str | bytes | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading, without blocking; raise `OSError` for anything else.

    Follows links. Checks the opened file again, since it may have been replaced.
    """
    check_regular(path, os.stat(path).st_mode)  # first: a socket cannot be opened
    stream = os.fdopen(os.open(path, _NO_WAIT), "rb")
    try:
        check_regular(path, os.fstat(stream.fileno()).st_mode)
    except BaseException:
        stream.close()
        raise
    return stream


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The bytes of a regular file; raise `OSError` for anything else or a larger file."""
    with open_regular(path) as stream:
        is_larger = os.fstat(stream.fileno()).st_size > max_bytes
        content = b"" if is_larger else stream.read(max_bytes + 1)
    if is_larger or len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"has more than {max_bytes:,} bytes", os.fspath(path))
    return content


def from_home(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` expanded; raise `InputError` if that home folder is not known."""
    try:
        if os.environ.get("HOME") == "" and os.fspath(path).startswith("~"):
            raise RuntimeError("HOME is empty")  # else ~ would be the root folder
        return Path(path).expanduser()
    except RuntimeError as error:  # a container without HOME, or no such user
        home = Path(path).parts[0]
        raise InputError(
            f"{os.fspath(path)}: no home folder is known for {home}; expected a whole path"
        ) from error


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Open a new file beside `target` that replaces it once the block ends without an error.

    A killed process leaves the old file or the new one, and perhaps a temporary file (`PART_NAME`).
    The new file has the permissions of `target`. Raises `OSError`.
    """
    part = target.with_name(f".resift-{secrets.token_hex(8)}.part")
    number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(number, "wb") as stream:
            if target.exists():
                with suppress(OSError):  # a file system without permissions
                    os.chmod(part, stat.S_IMODE(target.stat().st_mode))
            yield stream
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def output(path: str | os.PathLike[str], what: str, recognise: Recognise) -> Iterator[IO[bytes]]:
    """Open a file for writing; it is replaced atomically when the block ends without an error.

    ``-`` is stdout. Pipes, character devices and descriptors of this process (``/dev/stdout``,
    ``/dev/fd/63``) are written directly. Links are followed. An existing file is replaced only if
    it is empty or `recognise` accepts its beginning; `what` names the kind of file in messages ("a
    TREC run"). Raises `OutputError`.
    """
    if os.fspath(path) == STDOUT:
        stdout = _stdout()
        sys.stdout.flush()  # earlier prints go first
        yield stdout
        stdout.flush()
        return
    named = Path(path)
    with _one_line(named):
        number = descriptor(named)
        if number is not None:
            check_writable(number)
            if number == 1 and sys.stdout is not None:
                sys.stdout.flush()
            with os.fdopen(os.dup(number), "wb") as stream:
                yield stream
            return
        target = check_output(named, what, recognise)
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                yield stream
            return
        with replacing(target) as stream:
            yield stream
            check_output(named, what, recognise)  # another program may have created it


def check_output(path: str | os.PathLike[str], what: str, recognise: Recognise) -> Path:
    """The file that `output` would write, with links followed; raise `OutputError` as it would.

    Call it before long work, so that no result is lost.
    """
    named = Path(path)
    if os.fspath(path) == STDOUT:
        _stdout()
        return named
    with _one_line(named):
        number = descriptor(named)
        if number is not None:
            check_writable(number)
            return named
        target = Path(os.path.realpath(named, strict=False))
        if target.is_symlink():
            raise OutputError(f"{named}: a link that leads to itself; name another file")
        if not target.parent.is_dir():
            raise OutputError(f"{named}: there is no folder {target.parent}; make it first")
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            return target
        if stat.S_ISDIR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no file"
            raise OutputError(f"{named}: is {kind}; expected the name of a file")
        if stat.S_ISREG(mode) and not _is_replaceable(target, recognise):
            raise OutputError(
                f"{named}: exists and is not {what}; name another file, or delete it first"
            )
        return target


def is_stdout(path: str | os.PathLike[str] | None) -> bool:
    """Whether a path is stdout: ``-``, ``/dev/stdout``, ``/dev/fd/1`` or a link to these."""
    return path is not None and (os.fspath(path) == STDOUT or descriptor(path) == 1)


def _stdout() -> BinaryIO:
    """Stdout for bytes; raises `OutputError` if there is none."""
    stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
    if stream is None:
        raise OutputError(f"{STDOUT}: stdout is closed or takes no bytes; name a file")
    return stream


def _is_replaceable(file: Path, recognise: Recognise) -> bool:
    with open_regular(file) as stream:
        head = stream.read(HEAD_BYTES)
    return not head or recognise(head)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
    except ValueError as error:  # a NUL in the name
        if isinstance(error, OutputError) or "null" not in str(error):
            raise
        raise OutputError(f"{os.fspath(path)!r}: not a valid file name") from error


def descriptor(path: str | os.PathLike[str]) -> int | None:
    """The descriptor of this process that a path names; None for any other path.

    Such paths are ``/dev/stdout``, ``/dev/fd/63`` and links to these. Use the descriptor instead of
    opening the path: that would fail for a pipe, and a file would lose its mode (``>>``).
    """
    link = Path(os.path.abspath(path))
    for _ in range(_MAX_LINKS):
        folder = _DESCRIPTOR_FOLDER.fullmatch(os.path.realpath(link.parent))
        if folder and link.name.isdecimal():
            return int(link.name) if folder[1] in (None, str(os.getpid())) else None
        try:
            link = Path(os.path.abspath(link.parent / os.readlink(link)))
        except (OSError, ValueError):  # no link
            return None
    return None


def check_writable(number: int) -> None:
    """Raise `OSError` if a descriptor is closed or read-only."""
    os.write(number, b"")


def claim_folder(folder: Path, comment: str) -> bool:
    """Create a cache folder with a tag in it; return whether the folder is ours.

    An empty folder, and one with the same tag, is ours. `comment` is a sentence in the tag. Raises
    `OSError`.
    """
    tag_text = f"{_SIGNATURE}# {comment}\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        new = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
        new.mkdir()
        (new / _TAG_FILE).write_text(tag_text)
        with suppress(OSError):  # another process was first: its folder is checked below
            new.rename(folder)
            return True
        (new / _TAG_FILE).unlink()
        new.rmdir()
    try:
        return read_regular(folder / _TAG_FILE, len(tag_text)) == tag_text.encode()
    except OSError:
        return False
