"""One search call: its arguments, its first stage with the result, and its omissions."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from resift.background import Background
from resift.index.normalisation import is_visible, searchable
from resift.search.clock import Clock
from resift.search.options import SearchOptions
from resift.types import Candidate, PassageReader

_WHITE_SPACE = "\t\n\v\f\r"
_CONTROLS = {code: " " for code in (*range(0x20), 0x7F) if chr(code) not in _WHITE_SPACE}


class Omissions:
    """The omissions of one search with their reasons, and its limit on requests."""

    def __init__(self, max_requests: int | None = None) -> None:
        self._max_requests = max_requests
        self._reasons: list[str] = []
        self._skipped: list[str] = []

    @property
    def are_requests_limited(self) -> bool:
        """Whether there is a limit, so that reads must run one after another."""
        return self._max_requests is not None

    def may_read(self, requests: int, what: str) -> bool:
        """Whether `what` may be read after `requests`; if not, notes the omission."""
        if self._max_requests is None or requests < self._max_requests:
            return True
        self._skipped.append(what)
        return False

    def note(self, reason: str) -> None:
        """Add the reason of an omission."""
        self._reasons.append(reason)

    @property
    def reason(self) -> str | None:
        """All reasons in one line; None without omissions."""
        reasons = list(self._reasons)
        if self._skipped:
            missing = ", ".join(self._skipped)
            reasons.append(f"max_requests={self._max_requests} were made: without {missing}")
        return "; ".join(reasons) or None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The result of the first stage: candidates, best first, with the cost of the stage.

    The stage retrieved `depth` candidates; `candidates` are those whose texts were read. `reason`
    tells which parts are missing and why. `version` is None if none was open in time, and without
    an index. `notes` go to the receipt.
    """

    candidates: list[Candidate] = field(hash=False)
    depth: int
    version: int | None
    requests: int
    bytes: int
    reason: str | None
    timings_ms: Mapping[str, float] = field(hash=False)
    notes: tuple[str, ...] = ()


class FirstStage(Protocol):
    """What retrieves the candidates of a call: an index, or any retriever.

    One that needs no thread in an event loop also has the coroutine ``aretrieve(call)``.
    """

    def retrieve(self, call: "SearchCall") -> Retrieved:
        """The candidates; what is not ready in time is left out, with the reason.

        Raises the error of a stage without any result.
        """
        ...

    def neighbours(self) -> PassageReader | None:
        """What reads the passages around a hit; None if nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class SearchCall:
    """One call of a search, as its stages see it.

    `reranker` is None without reranking; `background` runs one that may exceed the budget. `notes`
    go to the receipt.
    """

    query: str
    options: SearchOptions
    first_stage: FirstStage
    reranker: "Future[Any] | None"
    background: Background
    clock: Clock
    notes: tuple[str, ...] = ()

    def nothing_retrieved(self, reason: str) -> Retrieved:
        """The result of a first stage that has none in time."""
        return Retrieved([], 0, None, 0, 0, reason, self.clock.timings(), self.notes)

    @property
    def normalised_query(self) -> str:
        """The query as all stages read it: in the form of indexed text.

        Control characters are white space, which some tokenizers would drop and join words. A query
        without anything visible stays as it is.
        """
        query = self.query.translate(_CONTROLS)
        return searchable(query) if is_visible(query) else self.query
