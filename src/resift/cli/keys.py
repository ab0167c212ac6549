"""Keys one at a time: from a terminal when pressed, from a pipe or file as characters."""

import sys
from collections.abc import Iterator

BACKSPACES = "\x7f\x08"
_ENDS = "\x04\x1a"  # Ctrl-D, Ctrl-Z


def keys() -> Iterator[str]:
    """One character a key, until the input ends.

    A terminal's keys are dropped if they are pressed too early or send no single character
    (arrows). Of a pipe or file all characters count except spaces and line ends.
    """
    if not sys.stdin.isatty():
        for line in sys.stdin:
            yield from "".join(line.split())
        return
    while True:
        pressed = _press()
        if not pressed or pressed in _ENDS:
            return
        if len(pressed) == 1:
            yield pressed


if sys.platform == "win32":
    import msvcrt

    def _press() -> str:
        while msvcrt.kbhit():
            msvcrt.getwch()
        char = msvcrt.getwch()
        if char == "\x03":
            raise KeyboardInterrupt
        if char in "\x00\xe0":  # an arrow or another key that is no character: a second code
            return char + msvcrt.getwch()
        return char

else:
    import os
    import select
    import termios
    import tty

    _ESCAPE_WAIT_S = 0.05  # a slow line may split an escape sequence

    def _press() -> str:
        """The characters of one key: one, an escape sequence, or none at the end."""
        file = sys.stdin.fileno()
        before = termios.tcgetattr(file)
        try:
            tty.setcbreak(file, termios.TCSAFLUSH)  # drops earlier keys
            sent = os.read(file, 64)
            while sent.startswith(b"\x1b") and select.select([file], [], [], _ESCAPE_WAIT_S)[0]:
                sent += os.read(file, 64)
        finally:
            termios.tcsetattr(file, termios.TCSANOW, before)
        return sent.decode("utf-8", "replace")
