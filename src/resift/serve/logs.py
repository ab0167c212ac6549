"""Logs as lines of JSON on stderr: one a request, without texts, keys and ids of documents.

A thread writes them, so that a slow reader of stderr stops no request: lines that find no room are
dropped and counted. Messages of other libraries, and of exceptions that are not resift's, may quote
what a caller sent: only where they come from is logged.
"""

import json
import logging
import os
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Full, Queue
from typing import Any, TextIO

from resift.errors import EmbedderError, InputError, ResiftError
from resift.serve.gate import Finished
from resift.serve.record import Record, current

MAX_LINES = 10_000
"""Lines that may wait for stderr."""

MAX_CHARACTERS = 2_000
"""The length of a message; what is in the middle of a longer one is left out."""

MAX_FRAMES, MAX_CAUSES = 50, 10
AT_ONCE = 100
CLOSE_S = 2.0
"""How long the end of the process waits for lines that are not written yet."""

STDERR = 2
END = ""
"""In place of a line: the thread ends."""

SHOWN = ("resift", "uvicorn")
"""Loggers whose messages are logged."""

_SOURCE = Path(__file__).parent.parent
_requests = logging.getLogger("resift.requests")


def log_request(finished: Finished, record: Record) -> None:
    """Log one request."""
    if not _requests.isEnabledFor(logging.INFO):
        return
    fields: dict[str, Any] = {
        "request_id": finished.request_id,
        "trace_id": record.trace_id,
        "dialect": finished.dialect,
        "method": finished.method,
        "path": record.path,
        "status": finished.status,
        "problem": record.problem,
        "ms": round(finished.seconds * 1000, 1),
        "bytes": finished.bytes,
    }
    if record.receipts:
        fields["model"] = record.model
        fields["documents"] = record.documents
        fields["tokens"] = record.tokens
        fields["partial"] = record.partial
    _requests.info("request", extra={"fields": fields})


class JSONLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        created = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        request = current()
        if request is not None:
            line |= {"request_id": request.request_id, "trace_id": request.trace_id}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = _traceback(record.exc_info[1])
        line = {name: value for name, value in line.items() if value is not None}
        return json.dumps(line, default=str)


class LineWriter(logging.Handler):
    """Writes records to a file descriptor, in a thread; `dropped` counts what was not written.

    Not to a stream of Python's: the end of the process would wait for its lock.
    """

    def __init__(self, descriptor: int = STDERR, max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: Queue[str] = Queue(max_lines)
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="resift-logs", daemon=True)
        self._thread.start()
        self.setFormatter(JSONLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        try:
            self._lines.put_nowait(self.format(record) + "\n")
        except Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and end the thread."""
        if self._closed:  # at the end of the process, logging closes all handlers again
            return
        self._closed = True
        with suppress(Full):  # nobody reads any more
            self._lines.put(END, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)
        super().close()

    def _write(self) -> None:
        told = 0
        lines: list[str] = []
        while not lines or lines[-1] != END:
            lines = self._take()
            if self.dropped > told:
                lines.insert(0, _dropped_line(self.dropped - told))
                told = self.dropped
            rest = "".join(lines).encode("ascii")
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:  # the reader has gone
                self.dropped += rest.count(b"\n")

    def _take(self) -> list[str]:
        """The lines that wait, at least one."""
        lines = [self._lines.get()]
        while lines[-1] != END and len(lines) < AT_ONCE and not self._lines.empty():
            lines.append(self._lines.get())
        return lines


def log_to_stderr() -> LineWriter:
    """Send the logs of the process, and Python's warnings, to stderr."""
    writer = LineWriter()
    logging.getLogger().addHandler(writer)
    logging.getLogger("resift").setLevel(logging.INFO)
    warnings.showwarning = _log_warning
    return writer


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """`log_to_stderr` until the end of the block, in place of handlers of the command line."""
    logger, show_warning = logging.getLogger("resift"), warnings.showwarning
    level, handlers = logger.level, logger.handlers
    logger.handlers = []
    writer = log_to_stderr()
    try:
        yield
    finally:
        warnings.showwarning = show_warning
        logger.handlers = handlers
        logger.setLevel(level)
        logging.getLogger().removeHandler(writer)
        writer.close()


def dropped_lines() -> int:
    """How many lines this process has dropped."""
    handlers = logging.getLogger().handlers
    return sum(handler.dropped for handler in handlers if isinstance(handler, LineWriter))


def _message(record: logging.LogRecord) -> str:
    """The message of a logger that is `SHOWN`; of others, where it comes from."""
    if record.name.partition(".")[0] not in SHOWN:
        return f"a message of {record.module}.{record.funcName}, line {record.lineno}; not shown"
    try:
        return _shortened(record.getMessage())
    except (TypeError, ValueError):
        return f"{record.msg} (its arguments do not fit)"


def _traceback(error: BaseException) -> list[str]:
    """The frames of an error and of its causes, first causes first, each with its type."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.insert(0, cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    lines: list[str] = []
    for link in chain[-MAX_CAUSES:]:
        if isinstance(link, BaseExceptionGroup):
            lines += _traceback(link.exceptions[0])
        for frame in traceback.extract_tb(link.__traceback__)[-MAX_FRAMES:]:
            lines.append(f"{frame.filename}:{frame.lineno} in {frame.name}")
        lines.append(f"{type(link).__module__}.{type(link).__qualname__}{_safe_message(link)}")
    return lines


def _safe_message(error: BaseException) -> str:
    """The message of an error that cannot quote a caller, after a colon; else nothing."""
    if isinstance(error, ResiftError) and not isinstance(error, (InputError, EmbedderError)):
        return f": {_shortened(str(error))}"
    return ""


def _shortened(text: str) -> str:
    """The begin and the end of a long text."""
    side = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:side]} … {text[-side:]}"


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log a warning of Python's; the text of those that resift's code does not give is left out."""
    text = str(message) if _SOURCE in Path(filename).parents else "not shown"
    logging.getLogger("resift.warnings").warning(
        "%s:%d: %s: %s", filename, lineno, category.__name__, text
    )


def _dropped_line(count: int) -> str:
    record = logging.LogRecord(
        "resift.logs", logging.WARNING, __file__, 0, f"{count} lines were dropped: stderr is slow",
        None, None,
    )  # fmt: skip
    return JSONLines().format(record) + "\n"
