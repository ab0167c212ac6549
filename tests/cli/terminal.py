"""The command in a terminal of its own: a real pty, whose screen can be read and typed at."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from cli.command import PROGRAM

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x07")
_CLEAR = "\x1b[2J"
WAIT_S = 60.0


class Terminal:
    """``resift`` with a screen. `wait_for` searches what was printed after its last match.

    `program` is what runs instead; `variables` are added to the environment.
    """

    def __init__(
        self,
        *arguments: object,
        rows: int = 40,
        columns: int = 100,
        program: str = PROGRAM,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (rows, columns))
        self._modes = termios.tcgetattr(theirs)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
        environment |= variables or {}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
        )  # fmt: skip
        self._theirs = theirs
        self._text = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def type(self, keys: str) -> None:
        """Send them as one piece."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str) -> None:
        """Until the text was printed, after what was waited for before."""
        until = time.monotonic() + WAIT_S
        while (at := _CONTROL.sub("", self._text).find(text, self._seen)) < 0:
            assert time.monotonic() < until, f"{text!r} does not come:\n{self.screen}"
            self._read(0.1)
        self._seen = at + len(text)

    def is_asked(self) -> None:
        """Until a key is waited for: then the terminal hands each on, and shows none."""
        until = time.monotonic() + WAIT_S
        while termios.tcgetattr(self._theirs)[3] & termios.ICANON:
            assert time.monotonic() < until, "no key is asked for"
            time.sleep(0.01)

    def stays(self, seconds: float = 0.5) -> str:
        """The screen after a while in which something might have happened."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._read(0.05)
        return self.screen

    def ends(self) -> int:
        """The exit code; reads what comes until then."""
        until = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < until, f"it goes on:\n{self.screen}"
            self._read(0.05)
        self._read(0.05)
        return self.process.returncode

    @property
    def raw(self) -> str:
        """All that was printed since the screen was last cleared, as it was sent."""
        return self._text.rpartition(_CLEAR)[2]

    @property
    def screen(self) -> str:
        """The same, without what steers the terminal."""
        return _CONTROL.sub("", self.raw)

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal's modes are those that it had before the command."""
        return termios.tcgetattr(self._theirs) == self._modes

    def _read(self, seconds: float) -> None:
        if select.select([self._ours], [], [], seconds)[0]:
            self._text += os.read(self._ours, 65536).decode("utf-8", "replace")
