"""Everything that resift raises on purpose.

ResiftError
├── InputError             an argument that is not valid (also a ValueError)
│   ├── QueryError         a query that is empty, not text, or longer than the model reads
│   └── OutputError        a file that cannot be written, or that has other contents
├── Overloaded             too much work is waiting; try again later
├── SettingsError          an environment variable or settings file that is not valid
├── MissingExtra           an optional package is not installed (also an ImportError)
├── ModelError
│   ├── ModelNotFound      no such model, bundled, on disk or in the catalogue
│   ├── ArtifactError      a folder that is not an artifact, or does not match its manifest
│   ├── ParityError        a model that does not give its own reference logits
│   ├── CalibrationError   a calibration that cannot be read or written, or of another model
│   ├── RerankerClosed     a call of a reranker after its `close`
│   └── RuntimeFailure     a runtime that could not load or run a model
├── EmbedderError          an embedding server that cannot be reached or gives no vectors
├── SourceError            documents that cannot be listed or read
│   ├── Unreadable         an object that exists and could not be read this time
│   ├── Vanished           an object that was listed and is gone
│   ├── SourceLost         the source cannot be read any more: credentials, network
│   └── MassDeletion       a sync that would delete most of what is indexed
├── StoreError             an index that cannot be opened, read or written
│   ├── IndexNotFound      nothing at the URI, nothing published there, or no such version
│   │   └── VersionGone    a version that was cleaned up while it was open
│   ├── IndexMismatch      an index made by another embedder or another format
│   ├── NoCopy             a folder for copies of indexes that cannot be used
│   ├── IndexBusy          other writers kept this one from publishing
│   └── UnsafeStore        a bucket that loses concurrent writes
├── BelowFloor             a measured quality that is lower than required
└── DatasetError           a collection, run or judgment file that is not valid

One line a message: the value, what was expected, what to do.
"""

_SHOWN = 60  # characters of a value in a message


def shown(value: object) -> str:
    """A value for a message: on one line, shortened."""
    try:
        line = " ".join(repr(value).split())
    except Exception:  # a foreign __repr__, or a number of too many digits
        return f"a {type(value).__name__}"
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


class ResiftError(Exception):
    """The base class: catch this to catch everything that resift raises on purpose."""

    def __str__(self) -> str:
        """One line, whatever the value in it was."""
        return " ".join(super().__str__().splitlines())


class InputError(ResiftError, ValueError):
    """An argument that is not valid."""


class QueryError(InputError):
    """A query that is empty, not text, or longer than the model reads."""


class OutputError(InputError):
    """A file that cannot be written, or that exists with other contents."""


class Overloaded(ResiftError):
    """Too much work is waiting; `retry_after_s` says when to try again.

    `waiting_tokens` or, where that is 0, `waiting_calls` were too many.
    """

    def __init__(self, waiting_tokens: int, retry_after_s: float, waiting_calls: int = 0) -> None:
        amount = f"{waiting_calls} calls" if waiting_calls else f"{waiting_tokens:,} tokens"
        super().__init__(f"{amount} are waiting already; try again in {retry_after_s:.1f} s")
        self.waiting_tokens = waiting_tokens
        self.waiting_calls = waiting_calls
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type["Overloaded"], tuple[int, float, int]]:
        return type(self), (self.waiting_tokens, self.retry_after_s, self.waiting_calls)


class SettingsError(ResiftError):
    """An environment variable or settings file that is not valid."""


class MissingExtra(ResiftError, ImportError):
    """An optional package is not installed."""


class ModelError(ResiftError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """No such model, bundled, on disk or in the catalogue."""


class ArtifactError(ModelError):
    """A folder that is not an artifact, or that does not match its manifest."""


class ParityError(ModelError):
    """A model that does not give its own reference logits."""


class CalibrationError(ModelError):
    """A calibration file that cannot be read or written, or that is for another model."""


class RerankerClosed(ModelError):
    """A reranker was called after its `close`, or was closed during the call."""


class RuntimeFailure(ModelError):
    """A runtime could not load or run a model."""


class EmbedderError(ResiftError):
    """An embedding server cannot be reached, refuses, or gives no vectors."""


class SourceError(ResiftError):
    """Documents that cannot be listed or read."""


class Unreadable(SourceError):
    """An object that exists and could not be read this time; its indexed passages stay."""


class Vanished(SourceError):
    """An object that was listed and is gone."""


class SourceLost(SourceError):
    """The source cannot be read any more; finished work stays, and the next run continues."""


class MassDeletion(SourceError):
    """A sync would delete most of what is indexed, without `allow_deletes`."""


class StoreError(ResiftError):
    """An index that cannot be opened, read or written."""


class IndexNotFound(StoreError):
    """Nothing at the URI, nothing published there yet, or no such version."""


class VersionGone(IndexNotFound):
    """A version that was cleaned up while it was open."""

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
    """Other writers kept this one from publishing; its data stays, and the next run continues."""


class UnsafeStore(StoreError):
    """A bucket that loses concurrent writes."""


class BelowFloor(ResiftError):
    """A measured quality is lower than required."""


class DatasetError(ResiftError):
    """A collection, run or judgment file that is not valid."""
