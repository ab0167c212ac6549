"""Where a hit is: its path and line as text, as a hyperlink, and in the system's viewer.

Only files of this machine are linked and opened. Knows no search.
"""

import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from resift.cli.streams import STDERR
from resift.errors import InputError
from resift.index.sources.folder import file_etag
from resift.index.storage.location import on_disk
from resift.types import Citation, Hit, Ranking

_PROGRAMS = frozenset(
    ".app .appimage .applescript .bash .bat .cjs .cmd .com .command .csh .desktop .exe .fish .hta "
    ".jar .jnlp .js .jse .ksh .lnk .lua .mjs .msi .php .pif .pl .ps1 .psm1 .py .pyc .pyw .pyz .rb "
    ".run .scpt .scr .sh .tcl .terminal .tool .url .vbe .vbs .workflow .ws .wsf .wsh .zsh".split()
)
"""Endings of programs and scripts, which a system may run instead of showing them."""

_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

_LINKING_PROGRAMS = frozenset(
    ("iTerm.app", "WezTerm", "vscode", "Hyper", "ghostty", "rio", "Tabby")
)
_LINKING_TERMS = ("alacritty", "contour", "foot", "ghostty", "kitty", "wezterm", "xterm-kitty")
_LINKING_VARIABLES = ("WT_SESSION", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "DOMTERM")
_FIRST_VTE = 5000  # version 0.50 of GNOME's terminal widget


def local_file(citation: Citation | None) -> Path | None:
    """The absolute path of the cited file; None for an object of a store."""
    if citation is None or not os.path.isabs(citation.uri):
        return None
    return Path(os.fsdecode(on_disk(citation.uri)))


def location(citation: Citation, line: int | None) -> str:
    """``path:line``, from the working directory if the file is below it; or the URI."""
    name, file = citation.uri or citation.doc_id, local_file(citation)
    folder = _working_folder()
    if file is not None and folder is not None and file.is_relative_to(folder):
        name = str(file.relative_to(folder))
    return name if line is None else f"{name}:{line}"


def _working_folder() -> Path | None:
    try:
        return Path.cwd().resolve()
    except OSError:  # it was deleted
        return None


def line_of(hit: Hit, start: int) -> int | None:
    """The line of the file in which character `start` of a hit's text is; None if unknown."""
    first = hit.citation.line if hit.citation else None
    return None if first is None else first + hit.text.count("\n", 0, start)


def file_link(file: Path) -> str:
    """A ``file://`` URI with the name of this machine, so that no other one opens its own file."""
    return f"file://{socket.gethostname()}{quote(os.fsencode(file))}"


def has_hyperlinks(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal is known to have hyperlinks (OSC 8).

    Terminals cannot be asked. ``FORCE_HYPERLINK``, which other commands know too, decides first.
    """
    forced = environ.get("FORCE_HYPERLINK")
    if forced is not None:
        return forced not in ("", "0")
    term = environ.get("TERM", "")
    if term in ("", "dumb", "linux"):
        return False
    version = environ.get("VTE_VERSION", "")
    return (
        environ.get("TERM_PROGRAM") in _LINKING_PROGRAMS
        or term.startswith(_LINKING_TERMS)
        or any(environ.get(name) for name in _LINKING_VARIABLES)
        or (version.isdecimal() and int(version) >= _FIRST_VTE)
    )


def check_open(rank: int | None) -> None:
    """Raise `InputError` for a rank below 1, before anything is searched."""
    if rank is not None and rank < 1:
        raise InputError(f"--open {rank}: expected the rank of a hit, from 1")


def open_hit(ranking: Ranking, rank: int) -> None:
    """Open the file of the hit at `rank` in the system's viewer, without a shell.

    Raises `InputError` for a hit without a file on this machine, for a file behind a link that was
    not there at indexing, and for one that the system might run.
    """
    option = f"--open {rank}"
    if not ranking:
        raise InputError(f"{option}: there are no hits")
    if rank > len(ranking):
        raise InputError(f"{option}: expected a hit, from 1 to {len(ranking)}")
    citation = ranking[rank - 1].citation
    file = local_file(citation)
    if citation is None or file is None:
        uri = citation.uri if citation else "the hit"
        raise InputError(f"{option}: {uri} is not a file of this machine; {_remedy(uri)}")
    _open(option, _checked(option, file, citation.etag))


def _checked(option: str, cited: Path, etag: str | None) -> Path:
    """The file without links in its path.

    Links may be there if they lead to the very file that was indexed, as its ETag says. Programs
    and scripts are refused, because some viewers run them.
    """
    try:
        file = cited.resolve(strict=True)
        state = file.stat()
    except (OSError, RuntimeError):  # the latter for a loop of links
        file, state = cited, None
    if state is None or not stat.S_ISREG(state.st_mode):
        raise InputError(f"{option}: {cited} is no longer there; run  resift index  again")
    if file != cited and file_etag(state) != etag:
        raise InputError(
            f"{option}: {cited} is no longer there: a link leads to another file, or to one that "
            "has changed; run  resift index  again"
        )
    if file.suffix.lower() in _PROGRAMS or state.st_mode & _EXECUTABLE:
        raise InputError(f"{option}: {file} may be run instead of shown; open it in an editor")
    return file


def _remedy(uri: str) -> str:
    if uri.startswith("s3://"):
        return f"copy it first, for instance by  aws s3 cp {shlex.quote(uri)} ."
    return "copy it first"


def _open(option: str, file: Path) -> None:
    if sys.platform == "win32":
        os.startfile(file)
        return
    program = "open" if sys.platform == "darwin" else "xdg-open"
    viewer = shutil.which(program)
    if viewer is None:
        raise InputError(f"{option}: there is no {program} on this machine; open {file} yourself")
    # A viewer may be a program of the terminal, so it has ours; stdout is for results.
    code = subprocess.run([viewer, str(file)], stdout=STDERR, check=False).returncode
    if code:
        raise InputError(f"{option}: {program} ended with {code}; open {file} yourself")
