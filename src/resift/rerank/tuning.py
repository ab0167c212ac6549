"""The throughput of this machine, and the best batch size on it.

The first full batches of a model on a machine try several sizes in turn; the fastest size is stored
on disk. There are no extra runs, and no logit depends on the choice.
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
"""Positions in a batch, the default first. Smaller batches suit small CPU caches; larger ones were
never faster and take more memory (LOG.md)."""

BATCHES = 8
"""Full batches that are timed for each size: about four calls of 100 candidates in all."""

MIN_SPEEDUP = 1.03
"""A smaller speedup over the default size is noise."""

KIND, CHOICES = "resift batch sizes", "choices"
"""Kind and key in the JSON file."""

MAX_FILE_BYTES = 1 << 20
MAX_CHOICES = 1000
"""The most choices in the file; the oldest are dropped."""

_BEGINNING = json.dumps({"kind": KIND}, indent=1).rstrip("}\n").encode()


class Throughput:
    """Tokens per second, as an exponentially weighted average over batches."""

    def __init__(self) -> None:
        self._tokens, self._seconds = 1_000.0, 0.1  # a first guess

    def add(self, tokens: int, seconds: float) -> None:
        """Add a batch of `tokens` that took `seconds`."""
        self._tokens = 0.98 * self._tokens + tokens
        self._seconds = 0.98 * self._seconds + seconds

    def tokens(self, seconds: float) -> float:
        """The tokens that are read in `seconds`."""
        return seconds * self._tokens / self._seconds

    def seconds(self, tokens: int) -> float:
        """The seconds that `tokens` take."""
        return tokens * self._seconds / self._tokens


class Tuning:
    """The batch size of one model on one machine; for one thread, the engine's worker.

    The choice is stored in `file` under `key`, or not at all without a file. A file of another kind
    is not touched, and gives a warning. If the file cannot be written, the next process measures
    again.
    """

    def __init__(self, key: str, file: Path | None) -> None:
        self._key = key
        self._file = file
        self._speeds: list[list[float]] = [[] for _ in BUDGETS]
        self._choice: int | None = None
        if file is not None:
            try:
                self._choice = _read(file).get(key)
            except ValueError as error:
                message = f"{file}: {error}; it is left alone, and batch sizes are measured again"
                warn(message, RuntimeWarning, stacklevel=4)
                self._file = None

    @property
    def token_budget(self) -> int:
        """Positions of the next batch: the chosen size, or the size with the fewest timings."""
        if self._choice is not None:
            return self._choice
        return BUDGETS[min(range(len(BUDGETS)), key=lambda number: len(self._speeds[number]))]

    def add(self, lengths: Sequence[int], padded: int, seconds: float) -> None:
        """Add a batch of rows of these `lengths`, each padded to `padded`, that took `seconds`.

        A batch with room for another row does not count.
        """
        budget = self.token_budget
        if self._choice is not None or (len(lengths) + 1) * padded <= budget:
            return
        self._speeds[BUDGETS.index(budget)].append(sum(lengths) / max(seconds, 1e-9))
        if all(len(speeds) >= BATCHES for speeds in self._speeds):
            self._choose()

    def _choose(self) -> None:
        medians = [statistics.median(speeds) for speeds in self._speeds]
        fastest = max(medians)
        is_usual = fastest < MIN_SPEEDUP * medians[0]
        self._choice = BUDGETS[0 if is_usual else medians.index(fastest)]
        if self._file is not None:
            with contextlib.suppress(OutputError, ValueError):  # the next process measures again
                _write(self._file, self._key, self._choice)


def open_tuning(settings: Settings, logits_key: str) -> Tuning:
    """The tuning for a model and runtime, this processor and the number of threads."""
    threads = settings.threads or cores()
    return Tuning(f"{logits_key}, {processor()}, {threads} threads", tuning_file(settings))


def tuning_file(settings: Settings) -> Path | None:
    """The file of choices in the user's cache folder; None without a cache folder."""
    folder = cache_folder(settings)
    return folder and folder / "batch-sizes.json"


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(file: Path) -> dict[str, int]:
    """Choices by key; empty without a file. Raises `ValueError` for another kind of file."""
    try:
        content = read_regular(file, MAX_FILE_BYTES)
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
    """Add a choice to the file, atomically.

    If two processes write at once, one choice is lost and measured again.
    """
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    choices = dict(list(_read(file).items())[-MAX_CHOICES:]) | {key: size}
    content = json.dumps({"kind": KIND, CHOICES: choices}, indent=1) + "\n"
    with output(file, f"a file of {KIND}", lambda head: head.startswith(_BEGINNING)) as stream:
        stream.write(content.encode())
