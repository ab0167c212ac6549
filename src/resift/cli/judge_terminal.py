"""Judging in a terminal: one candidate a screen, one key a judgment."""

import sys
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from resift.cli.judge_text import harmless, marked
from resift.cli.keys import BACKSPACES, keys
from resift.cli.output import console, errors, printable
from resift.errors import InputError
from resift.evaluation.judging import BACK, NEXT, SKIP, Judging, Sheet

WIDTH = 100  # longer lines are hard to read
QUIT = "q"


def judge_in_terminal(judging: Judging) -> None:
    """Show and ask until nothing is left, ``q`` or the end of the input.

    Raises `InputError` for a key that means nothing where it comes from a pipe; in a terminal
    nothing happens.
    """
    if not _show(judging):
        return
    for key in keys():
        if key == QUIT:
            return
        try:
            judging.press(BACK if key in BACKSPACES else key)
        except InputError:
            if not sys.stdin.isatty():
                raise
            continue
        if not _show(judging):
            return


def _show(judging: Judging) -> bool:
    """The next candidate on a fresh screen; whether there is one."""
    with errors.status("looking for candidates"):
        sheet = judging.sheet()
    if sheet is None:
        return False
    screen = screenful(sheet, judging)
    width = min(console.width, WIDTH)
    foot: list[RenderableType] = [keys_line(judging.grades)]
    lines = console.render_lines(Group(*screen), console.options.update(width=width))
    if console.is_terminal and len(lines) + 2 > console.height:
        foot.insert(0, _query(sheet))  # the first one has scrolled away
    console.clear()
    console.print(*screen, *foot, sep="\n", width=width)
    return True


def screenful(sheet: Sheet, judging: Judging) -> list[RenderableType]:
    """Where we are, the query, and the candidate as a whole."""
    place = (
        f"query {sheet.query_number} of {sheet.queries} · "
        f"candidate {sheet.number} of {sheet.count} · {judging.judged} judged now"
    )
    if sheet.taken_back is not None:
        place += f" · took back: {sheet.taken_back} {judging.grades[sheet.taken_back]}"
    document = sheet.document
    head: list[RenderableType] = [Text(place, style="dim")]
    head += [Text(printable(problem), style="yellow") for problem in sheet.problems]
    head += [_query(sheet), Text("")]
    if document.title:
        head.append(_words(printable(document.title), sheet.query, "bold"))
    head.append(Text(printable(document.id), style="dim"))
    return [*head, Text(""), _words(harmless(document.text), sheet.query), Text("")]


def keys_line(grades: Sequence[str]) -> Text:
    """What each key does."""
    meanings = [(str(grade), meaning) for grade, meaning in enumerate(grades)]
    meanings += [(BACK, "back"), (SKIP, "skip"), (NEXT, "next query"), (QUIT, "quit")]
    line = Text()
    for key, meaning in meanings:
        whole = meaning.replace(" ", "\xa0")  # a key and its meaning stay on one line
        line.append(f"{key}\xa0", style="bold").append(f"{whole}  ")
    return line


def _query(sheet: Sheet) -> Text:
    return Text(f"? {printable(sheet.query)}", style="bold cyan")


def _words(text: str, query: str, style: str = "") -> Text:
    words = Text(style=style)
    for piece, is_marked in marked(text, query):
        words.append(piece, style="bold yellow" if is_marked else None)
    return words
