"""The ``resift`` command: its exit codes, and what becomes of errors.

0 done, 1 a clear error in one line, 2 wrong usage, 3 a gate not met, 130 interrupted.
"""

import errno
import sys
import traceback
from typing import NoReturn

REPORT = "this is a bug in resift: please report it with what RESIFT_DEBUG=1 prints"

_OUTPUT = {errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO}
"""What writing to stdout fails with, and nothing that a verb lets through of its files."""


def run() -> NoReturn:
    """Run the command line; ends the process with an exit code and never with a traceback."""
    try:
        code = _run()
    except KeyboardInterrupt:  # while it is still importing, or already ending
        code = 130
    sys.exit(code)


def _run() -> int:
    from resift.cli import streams

    streams.prepare()
    code = _guarded()
    try:
        streams.finish()
    except (OSError, ValueError) as error:
        streams.discard(streams.STDOUT)
        code = code or _stdout_failed(error)
    return code


def _guarded() -> int:
    """The exit code of the verb, after saying what went wrong."""
    from resift.cli import streams
    from resift.errors import ResiftError

    try:
        from resift.cli.app import app

        app()
    except SystemExit as end:
        return _code(end)
    except ResiftError as error:
        _say(str(error), error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OUTPUT and not error.filename:
            streams.discard(streams.STDOUT)
            return _stdout_failed(error)
        _say(f"{type(error).__name__}: {error}; {REPORT}", error)
    return 1


def _code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    _say(str(end.code), end)
    return 1


def _stdout_failed(error: Exception) -> int:
    """A reader that is gone (``| head``) has what it wanted; a full disk is said."""
    if not (isinstance(error, OSError) and error.errno == errno.EPIPE):
        reason = getattr(error, "strerror", None) or error
        _say(f"the output cannot be written: {reason}", error)
    return 1


def _say(message: str, error: BaseException) -> None:
    """One line on stderr, and with ``RESIFT_DEBUG`` where it came from."""
    from resift.cli.output import errors, printable
    from resift.settings import debugging

    line = " ".join(printable(message).split())
    errors.print(f"[bold red]error:[/] {_escaped(line)}", soft_wrap=True, highlight=False)
    if debugging():
        trace = "".join(traceback.format_exception(error))
        errors.print(trace, markup=False, highlight=False, soft_wrap=True)


def _escaped(line: str) -> str:
    from rich.markup import escape

    return escape(line)
