"""Everything that resift raises on purpose.

ResiftError
├── InputError             an argument that no call can use (also a ValueError)
│   ├── QueryError         a query that is empty, no text, or longer than the model reads
│   └── OutputError        a file that cannot be written, or that holds something else
├── Overloaded             more work waits than a machine should promise; try again later
├── SettingsError          an environment variable or settings file that cannot be read
├── MissingExtra           an optional package is not installed (also an ImportError)
├── ModelError
│   ├── ModelNotFound      no such model, bundled, on disk or in the catalogue
│   ├── ArtifactError      a folder that is no artifact, or one that is not what its manifest says
│   ├── ParityError        a model that does not give its own reference logits
│   ├── CalibrationError   a calibration that cannot be read or written, or of another model
│   ├── RerankerClosed     a call of a reranker after its `close`
│   └── RuntimeFailure     a runtime that could not load or run a model
├── EmbedderError          a server for vectors that cannot be reached or gives none
├── SourceError            documents that cannot be listed or read
│   ├── Unreadable         an object that is there and could not be read this time
│   ├── Vanished           an object that was listed and is not there any more
│   ├── SourceLost         the source cannot be read any more: credentials, network
│   └── MassDeletion       a sync that would take most of what is indexed out of the index
├── StoreError             an index that cannot be opened, read or written
│   ├── IndexNotFound      nothing at the URI, nothing published there, or no such version
│   │   └── VersionGone    a version that was cleaned up while it was open
│   ├── IndexMismatch      an index made by another embedder or another format
│   ├── NoCopy             a folder for copies of indexes that cannot be used
│   ├── IndexBusy          other writers did not let this one publish
│   └── UnsafeStore        a bucket that would lose what an index's writers were told is kept
├── BelowFloor             a measured quality that is below what was asked for
└── DatasetError           a collection, run or judgment file that says what cannot be

One line a message: the value, what was expected, what to do.
"""

_SHOWN = 60  # characters of a value in a message


def shown(value: object) -> str:
    """A value in a message: on one line, and not without end."""
    try:
        line = " ".join(repr(value).split())
    except Exception:  # a foreign __repr__, or a number of too many digits
        return f"a {type(value).__name__}"
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


class ResiftError(Exception):
    """The root: catch this to catch all that resift raises on purpose."""

    def __str__(self) -> str:
        """One line, whatever the value in it was."""
        return " ".join(super().__str__().splitlines())


class InputError(ResiftError, ValueError):
    """An argument that no call can use."""


class QueryError(InputError):
    """A query that is empty, no text, or longer than the model reads."""


class OutputError(InputError):
    """A file that cannot be written, or that is there and holds something else."""


class Overloaded(ResiftError):
    """More work waits than a machine should promise; `retry_after_s` says when to try again.

    It is `waiting_tokens` that were too many, or `waiting_calls` where those are 0.
    """

    def __init__(self, waiting_tokens: int, retry_after_s: float, waiting_calls: int = 0) -> None:
        what = f"{waiting_calls} calls" if waiting_calls else f"{waiting_tokens:,} tokens"
        super().__init__(f"{what} are waiting already; try again in {retry_after_s:.1f} s")
        self.waiting_tokens = waiting_tokens
        self.waiting_calls = waiting_calls
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type["Overloaded"], tuple[int, float, int]]:
        return type(self), (self.waiting_tokens, self.retry_after_s, self.waiting_calls)


class SettingsError(ResiftError):
    """An environment variable or settings file that cannot be read."""


class MissingExtra(ResiftError, ImportError):
    """An optional package is not installed."""


class ModelError(ResiftError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """No such model, bundled, on disk or in the catalogue."""


class ArtifactError(ModelError):
    """A folder that is no artifact, or one that is not what its manifest says."""


class ParityError(ModelError):
    """A model that does not give its own reference logits."""


class CalibrationError(ModelError):
    """A calibration file that cannot be read or written, or that is for another model."""


class RerankerClosed(ModelError):
    """A reranker was called after its `close`, or was closed during the call."""


class RuntimeFailure(ModelError):
    """A runtime could not load or run a model."""


class EmbedderError(ResiftError):
    """A server for vectors cannot be reached, refuses, or answers with what is no vector."""


class SourceError(ResiftError):
    """Documents that cannot be listed or read."""


class Unreadable(SourceError):
    """An object that is there and could not be read this time; what was indexed of it stays."""


class Vanished(SourceError):
    """An object that was listed and is not there any more."""


class SourceLost(SourceError):
    """The source cannot be read any more; what was done so far stays, and a next run goes on."""


class MassDeletion(SourceError):
    """A sync would take most of what is indexed out of the index, and was not told to."""


class StoreError(ResiftError):
    """An index that cannot be opened, read or written."""


class IndexNotFound(StoreError):
    """Nothing at the URI, or nothing published there yet."""


class VersionGone(IndexNotFound):
    """A version that was opened and is not whole any more: it was cleaned up meanwhile."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.number)


class IndexMismatch(StoreError):
    """An index made by another embedder or in another format."""


class NoCopy(StoreError):
    """The folder for copies of indexes cannot be used; the index itself can still be read."""


class IndexBusy(StoreError):
    """Other writers did not let this one publish; what it wrote stays, and a next run goes on."""


class UnsafeStore(StoreError):
    """A bucket that would lose what an index's writers were told is kept."""


class BelowFloor(ResiftError):
    """A measured quality is below what was asked for."""


class DatasetError(ResiftError):
    """A collection, run or judgment file that says what cannot be."""
