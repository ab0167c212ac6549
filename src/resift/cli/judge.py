"""``resift judge``: judge candidates by hand, in the terminal or on a page, into a qrels file."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from resift.cli.judge_text import harmless, marked
from resift.cli.options import Model, refuse_pointless, uncalibrated
from resift.cli.output import console, print_status, printable, waiting
from resift.errors import InputError
from resift.files import STDOUT as STDIN

if TYPE_CHECKING:
    from resift.evaluation.judging import JudgingItem, JudgingSession
    from resift.evaluation.pool import MakePool

MAX_WIDTH = 100  # of text; longer lines are hard to read
BACKSPACES = "\x7f\x08"
_END_KEYS = "\x04\x1a"  # Ctrl-D, Ctrl-Z


class GradeScale(StrEnum):
    """The grades to choose from."""

    two = "0-1"
    three = "0-2"
    four = "0-3"


def judge(
    queries: Annotated[
        Path, typer.Argument(help="BEIR folder, queries.jsonl, or a text file with a query a line.")
    ],
    uri: Annotated[
        str | None, typer.Option("--index", help="Folder or s3:// URI of the index to search.")
    ] = None,
    run: Annotated[
        list[Path],
        typer.Option(help="TREC run over the BEIR folder, instead of --index; repeatable."),
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(help="Judgments file.  [default: judgments.tsv beside the queries]"),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Existing judgments, if not in the folder; read only.")
    ] = None,
    pool: Annotated[int, typer.Option(help="Number of documents from each system.")] = 10,
    model: Model = None,
    grades: Annotated[
        GradeScale, typer.Option(help="The grades; each is a key.")
    ] = GradeScale.three,
    web: Annotated[
        bool, typer.Option("--web", help="Judge on a web page that only this machine can open.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(help="Port of the page.  [default: 0, a free one]")
    ] = None,
) -> None:
    """Judge by hand the results of lexical, dense, hybrid and reranked search, or of runs.

    Each judgment is saved before the next candidate is shown; a later call continues from there.
    Existing judgments are read and never changed.
    """
    from resift.evaluation.judging import JudgingSession, query_order
    from resift.evaluation.judgments import Judgments
    from resift.evaluation.pool import PrefetchedPools
    from resift.evaluation.queries import read_queries
    from resift.evaluation.trec import JUDGMENTS_FILE, find_qrels, read_qrels

    if not web:
        refuse_pointless("is an option of the page; add --web, or leave it out", port=port)
    _refuse_stdin(queries, *run, qrels)
    texts = {name: text for name, text in read_queries(queries).items() if text.strip()}
    folder = queries if os.path.isdir(queries) else queries.parent
    published_file = qrels or find_qrels(folder)
    published = read_qrels(published_file) if published_file else {}
    with closing(Judgments(output or folder / JUDGMENTS_FILE, published)) as judgments:
        make = _pools(queries, texts, uri, model, run, pool)
        with PrefetchedPools(make, query_order(texts, judgments.started)) as pools:
            session = JudgingSession(texts, pools, judgments, grades.value)
            if web:
                from resift.cli.judge_page import judge_on_page

                judge_on_page(session, port or 0)
            else:
                judge_in_terminal(session)
            is_done = session.current() is None
    end = "nothing is left" if is_done else "repeat the command to continue"
    print_status(f"{judgments.file}: {session.judged} judged; {end}")


def _refuse_stdin(*files: Path | None) -> None:
    if any(str(file) == STDIN for file in files):
        raise InputError("-: stdin is read for keys; name a file")


def _pools(
    path: Path,
    queries: dict[str, str],
    uri: str | None,
    model: str | None,
    files: list[Path],
    size: int,
) -> "MakePool":
    from resift.evaluation.collection import open_collection
    from resift.evaluation.pool import pools_of_index, pools_of_runs
    from resift.evaluation.trec import read_run

    if bool(uri) == bool(files):
        raise InputError("expected candidates from one source: --index URI or --run RUN")
    if uri:
        from resift.search.index import Index

        return pools_of_index(Index(uri, settings=uncalibrated(model)), queries, size)
    refuse_pointless("reranks results of an index; leave it out with --run", model=model)
    runs = {file: read_run(file) for file in files}
    return pools_of_runs(open_collection(path), queries, runs, size)


def judge_in_terminal(session: "JudgingSession") -> None:
    """Show items and read keys until all are judged, ``q`` is pressed or the input ends.

    An unknown key is ignored in a terminal; from a pipe it raises `InputError`.
    """
    from resift.evaluation.judging import BACK, QUIT

    if not _show(session):
        return
    for key in _keys():
        if key == QUIT:
            return
        try:
            session.press(BACK if key in BACKSPACES else key)
        except InputError:
            if not sys.stdin.isatty():
                raise
            continue
        if not _show(session):
            return


def _show(session: "JudgingSession") -> bool:
    """Show the next item on a cleared screen; returns False if there is none."""
    with waiting("looking for candidates"):
        item = session.current()
    if item is None:
        return False
    screen = screenful(item, session)
    width = min(console.width, MAX_WIDTH)
    footer: list[RenderableType] = [keys_line(session.grades)]
    lines = console.render_lines(Group(*screen), console.options.update(width=width))
    if console.is_terminal and len(lines) + 2 > console.height:
        footer.insert(0, _query(item))  # the query above the text has scrolled away
    console.clear()
    console.print(*screen, *footer, sep="\n", width=width)
    return True


def screenful(item: "JudgingItem", session: "JudgingSession") -> list[RenderableType]:
    """The progress, the query and the whole candidate."""
    progress = (
        f"query {item.query_number} of {item.queries} · "
        f"candidate {item.number} of {item.count} · {session.judged} judged now"
    )
    if item.taken_back is not None:
        progress += f" · took back: {item.taken_back} {session.grades[item.taken_back]}"
    document = item.document
    head: list[RenderableType] = [Text(progress, style="dim")]
    head += [Text(printable(problem), style="yellow") for problem in item.problems]
    head += [_query(item), Text("")]
    if document.title:
        head.append(_marked(printable(document.title), item.query, "bold"))
    head.append(Text(printable(document.id), style="dim"))
    return [*head, Text(""), _marked(harmless(document.text), item.query), Text("")]


def keys_line(grades: Sequence[str]) -> Text:
    """A line that names the keys and their effects."""
    from resift.evaluation.judging import BACK, NEXT, QUIT, SKIP

    meanings = [(str(grade), meaning) for grade, meaning in enumerate(grades)]
    meanings += [(BACK, "back"), (SKIP, "skip"), (NEXT, "next query"), (QUIT, "quit")]
    line = Text()
    for key, meaning in meanings:
        unbroken = meaning.replace(" ", "\xa0")  # a key and its meaning stay on one line
        line.append(f"{key}\xa0", style="bold").append(f"{unbroken}  ")
    return line


def _query(item: "JudgingItem") -> Text:
    return Text(f"? {printable(item.query)}", style="bold cyan")


def _marked(text: str, query: str, style: str = "") -> Text:
    line = Text(style=style)
    for piece, is_marked in marked(text, query):
        line.append(piece, style="bold yellow" if is_marked else None)
    return line


def _keys() -> Iterator[str]:
    """Yield one character for each key, until the input ends.

    A terminal drops keys that are pressed too early or send more than one character (arrows). A
    pipe or file gives all its characters except spaces and line ends.
    """
    if not sys.stdin.isatty():
        for line in sys.stdin:
            yield from "".join(line.split())
        return
    while True:
        pressed = _press()
        if not pressed or pressed in _END_KEYS:
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
        if char in "\x00\xe0":  # an arrow or function key; a second code follows
            return char + msvcrt.getwch()
        return char

else:
    import select
    import termios
    import tty

    _ESCAPE_WAIT_S = 0.05  # a slow line may split an escape sequence

    def _press() -> str:
        """The characters of one key: one, an escape sequence, or none at the end of the input."""
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
