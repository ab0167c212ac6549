"""How large a batch is best on this machine: tried on the engine's own batches, kept on disk.

The first full batches of a model on a machine are of several sizes in turn, and their pace decides.
Nothing is run for the sake of measuring, and no logit depends on what is chosen.
"""

import contextlib
import errno
import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from resift.cores import cores
from resift.errors import OutputError
from resift.files import output, read_regular
from resift.rerank.batching import TOKEN_BUDGET
from resift.rerank.hints import warn
from resift.settings import Settings, cache_folder

BUDGETS = (TOKEN_BUDGET, 512, 256)
"""Positions a batch, the usual first. Smaller ones suit small caches; larger ones never paid and
take more memory (LOG.md)."""

BATCHES = 8
"""So many full batches of each are timed: about four calls of 100 candidates in all."""

BETTER = 1.03
"""What is not this much faster than the usual is noise."""

KIND, CHOICES = "resift batch sizes", "choices"
"""By these a file is known for one of these."""

MOST_BYTES = 1 << 20
MOST_CHOICES = 1000
"""More than models and machines make; beyond that the oldest go."""

_BEGINNING = json.dumps({"kind": KIND}, indent=1).rstrip("}\n").encode()


class Tuning:
    """One model's on one machine; for one thread at a time, the engine's worker.

    `file` is where choices are kept, by `key`; None keeps none. A file that is not such a table is
    said and left as it is, and a folder that cannot be written costs the next process the trial
    again.
    """

    def __init__(self, key: str, file: Path | None) -> None:
        self._key = key
        self._file = file
        self._paces: list[list[float]] = [[] for _ in BUDGETS]
        self._chosen: int | None = None
        if file is not None:
            try:
                self._chosen = _read(file).get(key)
            except ValueError as error:
                message = f"{file}: {error}; it is left alone, and batch sizes are tried anew"
                warn(message, RuntimeWarning, stacklevel=4)
                self._file = None

    @property
    def token_budget(self) -> int:
        """Positions of the next batch: what was chosen, or whose turn it is."""
        if self._chosen is not None:
            return self._chosen
        return BUDGETS[min(range(len(BUDGETS)), key=lambda own: len(self._paces[own]))]

    def ran(self, rows: Sequence[int], longest: int, seconds: float) -> None:
        """A batch of rows of so many tokens, padded to `longest`, took so long.

        One that had room for another row says nothing about its size.
        """
        budget = self.token_budget
        if self._chosen is not None or (len(rows) + 1) * longest <= budget:
            return
        self._paces[BUDGETS.index(budget)].append(sum(rows) / max(seconds, 1e-9))
        if all(len(own) >= BATCHES for own in self._paces):
            self._choose()

    def _choose(self) -> None:
        paces = [statistics.median(own) for own in self._paces]
        fastest = max(paces)
        self._chosen = BUDGETS[0 if fastest < BETTER * paces[0] else paces.index(fastest)]
        if self._file is not None:
            with contextlib.suppress(OutputError, ValueError):  # or it is tried again next time
                _write(self._file, self._key, self._chosen)


def open_tuning(settings: Settings, decisive: str) -> Tuning:
    """The batch size for what decides a logit, this machine and the settings' number of threads."""
    threads = settings.threads or cores()
    return Tuning(f"{decisive}, {machine()}, {threads} threads", tuning_file(settings))


def tuning_file(settings: Settings) -> Path | None:
    """Where choices are kept between processes: in the user's cache folder, where there is one."""
    folder = cache_folder(settings)
    return folder and folder / "batch-sizes.json"


def machine() -> str:
    """What decides here beside model, runtime and threads: the processor."""
    return _processor()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(file: Path) -> dict[str, int]:
    """Choices by key; none where there is no file. Raises `ValueError` for what is not ours."""
    try:
        content = read_regular(file, MOST_BYTES)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG):
            raise ValueError(error.strerror) from error
        return {}
    if not content:
        return {}
    try:
        table = json.loads(content.decode())
    except (ValueError, RecursionError):
        table = None
    choices = table.get(CHOICES) if isinstance(table, dict) and table.get("kind") == KIND else None
    if not isinstance(choices, dict):
        raise ValueError(f"not a file of {KIND}")
    return {key: size for key, size in choices.items() if type(size) is int and size in BUDGETS}


def _write(file: Path, key: str, size: int) -> None:
    """Put a choice beside those of others; whoever reads meanwhile sees the file before or after.

    Of two processes that write at once one's choice is lost, and measured again.
    """
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    choices = dict(list(_read(file).items())[-MOST_CHOICES:]) | {key: size}
    content = json.dumps({"kind": KIND, CHOICES: choices}, indent=1) + "\n"
    with output(file, f"a file of {KIND}", _is_ours) as stream:
        stream.write(content.encode())


def _is_ours(head: bytes) -> bool:
    return head.startswith(_BEGINNING)
