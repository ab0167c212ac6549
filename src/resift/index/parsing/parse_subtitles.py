"""Subtitles (SubRip, WebVTT): the spoken text, with the time as the heading of each section."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from itertools import pairwise
from pathlib import PurePosixPath

from resift.errors import SourceError
from resift.index.parsing.charset import decode
from resift.index.parsing.documents import ParsedFile, TextBuilder
from resift.index.parsing.options import DEFAULTS, ParseOptions

# The times of a cue: hours are optional in WebVTT; a comma or a full stop precedes milliseconds.
_TIMES = re.compile(
    r"[ \t]*(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[,.]\d{1,3}[ \t]*-->[ \t]*[\d:.,]{5,15}"
)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]{1,100})>")
_TAG = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")
_NO_CUES = ("WEBVTT", "NOTE", "STYLE", "REGION")
_MAX_NAME = 40
_MAX_CHARACTERS = 700
"""A section ends after a cue that reaches this many characters, about a passage."""
_MAX_PAUSE = 30
"""Seconds without a cue after which a section ends."""


@dataclass(frozen=True, slots=True)
class _Cue:
    seconds: int
    text: str

    @property
    def time(self) -> str:
        minutes, seconds = divmod(self.seconds, 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def parse_subtitles(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read the cues of a file; raise `SourceError` if there are none.

    Lines that the next cue repeats, as in captions that roll, are read once.
    """
    decoded = decode(data)
    title = PurePosixPath(key).stem
    builder = TextBuilder(title)
    size = last = 0
    for cue in _cues(decoded.text):
        if not size or size > _MAX_CHARACTERS or cue.seconds - last > _MAX_PAUSE:
            builder.add_gap("\n\n")
            builder.start_section(1, cue.time)
            size = 0
        builder.add_gap("\n")
        builder.add_words(cue.text)
        builder.add_gap("\n")
        size += len(cue.text)
        last = cue.seconds
    if builder.is_empty:
        raise SourceError("no subtitles in it: expected lines like 00:00:01,000 --> 00:00:02,000")
    return ParsedFile((builder.build(key, title),), decoded.problems)


def _cues(text: str) -> Iterator[_Cue]:
    """Yield the cues with text, in the order of the file."""
    before: list[str] = []
    for seconds, lines in _timed_lines(text):
        words = " ".join(line for line in lines if line not in before)
        if words:
            yield _Cue(seconds, words)
        before = lines


def _timed_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the start of each cue in seconds, with its lines; a blank line does not end a cue."""
    cue: tuple[int, list[str]] | None = None
    for block in _BLANK_LINES.split(text):
        lines = block.split("\n")
        if lines[0].startswith(_NO_CUES):
            continue
        for line, after in pairwise([*lines, ""]):
            times = _TIMES.match(line)
            if times:
                if cue:
                    yield cue
                hours, minutes, seconds = (int(group or 0) for group in times.groups())
                cue = (3600 * hours + 60 * minutes + seconds, [])
            elif cue and not _is_cue_name(line, after) and (spoken := _spoken(line)):
                cue[1].append(spoken)
    if cue:
        yield cue


def _is_cue_name(line: str, after: str) -> bool:
    """Whether a line is the number or name of the cue whose times come after it."""
    return _TIMES.match(after) is not None and len(line) < _MAX_NAME


def _spoken(line: str) -> str:
    """Return a line without tags; the name of a voice stands before a colon."""
    line = _VOICE.sub(lambda voice: f"{voice[1].strip()}: ", line)
    return " ".join(unescape(_TAG.sub("", line)).split())
