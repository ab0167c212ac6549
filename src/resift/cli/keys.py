"""Keys, one at a time: from a terminal as they are pressed, from anything else as characters."""

import sys
from collections.abc import Iterator

BACKSPACES = "\x7f\x08"
_ENDS = "\x04\x1a"  # Ctrl-D, Ctrl-Z


def keys() -> Iterator[str]:
    """One character a key, until there are no more.

    From a terminal, what was pressed before a key was asked for is dropped, as are keys that are no
    character (arrows). From a pipe or file all characters count but spaces and line ends.
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

    _PATIENCE_S = 0.05  # an escape sequence comes in one piece, over a slow line almost

    def _press() -> str:
        """What one press sends: a character, an escape sequence, or nothing at the end."""
        file = sys.stdin.fileno()
        before = termios.tcgetattr(file)
        try:
            tty.setcbreak(file, termios.TCSAFLUSH)  # drops what was typed ahead
            sent = os.read(file, 64)
            while sent.startswith(b"\x1b") and select.select([file], [], [], _PATIENCE_S)[0]:
                sent += os.read(file, 64)
        finally:
            termios.tcsetattr(file, termios.TCSANOW, before)
        return sent.decode("utf-8", "replace")
