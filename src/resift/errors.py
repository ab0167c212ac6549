"""The exceptions of resift.

ResiftError
├── InputError             an argument that is not valid (also a ValueError)
│   ├── QueryError         a query that is empty, not text, or longer than the model reads
│   └── OutputError        a file that cannot be written, or that holds something else
├── Overloaded             too much work is waiting; try again later
├── SettingsError          an environment variable or settings file that is not valid
├── MissingExtra           an optional package is not installed (also an ImportError)
├── ModelError
│   ├── ModelNotFound      no such model, bundled, on disk or on the hub
│   ├── HubError           a model hub that cannot be reached, refuses, or breaks off
│   ├── ArtifactError      a folder that is not an artifact, or does not match its manifest
│   ├── ParityError        a model whose logits differ from its reference logits
│   ├── CalibrationError   a calibration that cannot be used, or is for another model
│   ├── RerankerClosed     a call of a reranker after its `close`
│   └── RuntimeFailure     a runtime that could not load or run a model
├── EmbedderError          an embedding server that cannot be reached or gives no vectors
├── RerankerError          a reranking service that cannot be reached or gives no ranking
├── SourceError            documents that cannot be listed or read
│   ├── Unreadable         an object that exists but could not be read
│   ├── Vanished           an object that was deleted after it was listed
│   ├── SourceLost         a source that became unreadable: credentials, network
│   └── MassDeletion       a sync that would delete most of what is indexed
├── StoreError             an index that cannot be opened, read or written
│   ├── IndexNotFound      nothing at the URI, nothing published there, or no such version
│   │   └── VersionGone    a version that was deleted while it was open
│   ├── IndexMismatch      an index made by another embedder or another format
│   ├── NoCopy             a folder for copies of indexes that cannot be used
│   ├── IndexBusy          other writers published first, again and again
│   └── UnsafeStore        a bucket that loses concurrent writes
├── ClusterError           a Ray cluster that cannot be reached, or whose workers do not live
├── BelowFloor             a measured quality that is lower than required
└── DatasetError           a collection, run or judgment file that is not valid

A message is one line: the value, the expectation, the remedy.
"""

import re

_SHOWN = 60  # characters of a value in a message
_NAME = 200  # characters of a name, which users copy; no hub id has more

_URL = re.compile(r"(https?)?(:/{1,3})(\S*?)(?=:/|\s|\Z)", re.I)
_DEPTH = re.compile(r"\d{1,6}(?=[+?&#'\",;:)…]|\Z)(?!:\d)")  # of a stage, in the name of a chain
_HOST = re.compile(r"\[|[^:/?#@]*(?::\d+:?|:)?(?:[/?#@]|\Z)")
_QUERY = re.compile(r"\?[^\s'\"]+?(?=[:;,.)]{0,2}(?:[\s'\"]|\Z))")


def without_secrets(text: str) -> str:
    """A text in which URLs have neither ``user:password`` nor a query: these may be secrets."""
    return _URL.sub(_without_secrets, text) if ":/" in text else text


def _without_secrets(match: re.Match[str]) -> str:
    scheme, slashes, rest = match[1] or "", match[2], match[3]
    end = _end_of_user(rest)
    if end and (scheme or ":" in rest[:end]):
        rest = f"…@{rest[end:]}"
    return f"{scheme}{slashes}{_QUERY.sub('?…', rest) if scheme else rest}"


def _end_of_user(rest: str) -> int:
    """Where the host begins in what follows the slashes of a URL; 0 if there is no user.

    A password may have a slash in it, which no URL should. An @ before a number may be a depth.
    """
    ends = [at.end() for at in re.finditer("@", rest)]
    hosts = [end for end in ends if not _DEPTH.match(rest, end)]
    netloc = len(re.split("[/?#]", rest, maxsplit=1)[0])
    within = [end for end in hosts if end <= netloc]
    if within:
        return within[-1]
    if _HOST.match(rest):
        return 0
    return max([*hosts, *ends[:1]], default=0)


def shown(value: object) -> str:
    """A value for a message: on one line, shortened."""
    try:
        value = without_secrets(value) if isinstance(value, str) else value
        line = without_secrets(" ".join(repr(value).split()))
    except Exception:  # a foreign __repr__, or a number of too many digits
        return f"a {type(value).__name__}"
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def shortened(name: str) -> str:
    """A name for a message: as it is, or quoted and shortened if it is long or has odd letters."""
    name = without_secrets(name)
    return name if len(name) <= _NAME and name.isprintable() else shown(name)


class ResiftError(Exception):
    """The base class of all exceptions of resift. A message shows no secret of a URL."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_secrets(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        """The message, on one line."""
        return " ".join(super().__str__().splitlines())


class InputError(ResiftError, ValueError):
    """An argument that is not valid."""


class QueryError(InputError):
    """A query that is empty, not text, or longer than the model reads."""


class OutputError(InputError):
    """A file that cannot be written, or that exists and holds something else."""


class Overloaded(ResiftError):
    """Too much work is waiting; try again after `retry_after_s`.

    Either `waiting_tokens` or, if that is 0, `waiting_calls` were too many.
    """

    def __init__(self, waiting_tokens: int, retry_after_s: float, waiting_calls: int = 0) -> None:
        amount = f"{waiting_calls} calls" if waiting_calls else f"{waiting_tokens:,} tokens"
        super().__init__(
            f"{amount} are waiting already; try again in {max(retry_after_s, 0.1):.1f} s"
        )
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
    """No such model, bundled, on disk or on the hub."""


class HubError(ModelError):
    """A model hub cannot be reached, refuses, or breaks off."""


class ArtifactError(ModelError):
    """A folder that is not an artifact, or that does not match its manifest."""


class ParityError(ModelError):
    """A model whose logits differ from its reference logits."""


class CalibrationError(ModelError):
    """A calibration file that cannot be used, or that is for another model."""


class RerankerClosed(ModelError):
    """A reranker was called after its `close`, or was closed during the call."""


class RuntimeFailure(ModelError):
    """A runtime could not load or run a model."""


class EmbedderError(ResiftError):
    """An embedding server cannot be reached, refuses, or gives no vectors."""


class RerankerError(ResiftError):
    """A reranking service cannot be reached, refuses, is late, or gives no ranking."""


class SourceError(ResiftError):
    """Documents that cannot be listed or read."""


class Unreadable(SourceError):
    """An object that exists but could not be read; its indexed passages stay."""


class Vanished(SourceError):
    """An object that was deleted after it was listed."""


class SourceLost(SourceError):
    """A source that became unreadable; finished work stays, and the next run continues."""


class MassDeletion(SourceError):
    """A sync would delete most of what is indexed, without `allow_deletes`."""


class StoreError(ResiftError):
    """An index that cannot be opened, read or written."""


class IndexNotFound(StoreError):
    """Nothing at the URI, nothing published there yet, or no such version."""


class VersionGone(IndexNotFound):
    """A version that was deleted while it was open."""

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
    """Other writers published first, again and again; the next run continues with this data."""


class UnsafeStore(StoreError):
    """A bucket that loses concurrent writes."""


class ClusterError(ResiftError):
    """A Ray cluster that cannot be reached, has no room, or whose workers do not live."""


class BelowFloor(ResiftError):
    """A measured quality is lower than required."""


class DatasetError(ResiftError):
    """A collection, run or judgment file that is not valid."""
