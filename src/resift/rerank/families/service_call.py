"""One call of a service: its documents, its deadline, its requests, and how it ended."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import Any

from resift.background import Background
from resift.errors import RerankerError
from resift.rerank.deadline import Deadline
from resift.rerank.families.waiting import ended
from resift.rerank.options import RankOptions
from resift.rerank.result import ScoredCandidates, make_ranking
from resift.rerank.scorer import Scorer
from resift.rerank.state import CallState, CandidateTexts
from resift.types import Candidate, Ranking

Work = Callable[[], Any]


@dataclass(slots=True, eq=False)
class ServiceCall:
    """A call; `until` is the end of its requests, on the clock of ``time.monotonic``.

    `failure` is the error that ended it. With `scores_only` no ranking will be made.
    """

    query: str
    candidates: list[Candidate]
    options: RankOptions
    deadline: Deadline
    until: float
    scores_only: bool = False
    started: float = field(default_factory=time.perf_counter)
    jobs: "list[Future[Any]]" = field(default_factory=list)
    done: "Future[None]" = field(default_factory=lambda: ended([]))
    failure: Exception | None = None

    @property
    def remaining_s(self) -> float:
        """Seconds until the requests end, at least 0."""
        return max(self.until - time.monotonic(), 0.0)

    def begin(self, works: Sequence[Work], threads: Background) -> None:
        """Run the work in `threads`."""
        self.jobs = [threads.run(work) for work in works]
        self.done = ended(self.jobs)

    def give_up(self) -> None:
        """Cancel what has not begun; what runs ends by itself, at `until`."""
        for job in self.jobs:
            job.cancel()

    def results(self) -> list[Any] | None:
        """The results of the work, or None while there are none. Raises its first error."""
        for job in self.jobs:
            if job.done() and (error := _error_of(job)) is not None:
                raise error
        if not all(job.done() for job in self.jobs):
            return None
        return [job.result() for job in self.jobs]

    def unscored(self, scorer: Scorer, reason: str) -> Ranking:
        """The first stage's order, with the reason why nothing was scored."""
        state = CallState.of(CandidateTexts(self.candidates))
        state.stop(reason)
        scored = ScoredCandidates(self.query, self.candidates, {}, _state=state, _scorer=scorer)
        return make_ranking(scored, self.options, started=self.started)

    def taken_over(self, ranking: Ranking, scorer: Scorer, reason: str, by: str) -> Ranking:
        """The ranking of a fallback, with a receipt that has the reason why it ranked."""
        receipt = ranking.receipt
        failed = self.unscored(scorer, reason).receipt
        reasons = [f"{reason}; {by} ranked instead", receipt.reason]
        total_ms = (time.perf_counter() - self.started) * 1000
        receipt = replace(
            receipt,
            partial=True,
            reason="; ".join(filter(None, reasons)),
            timings_ms={**receipt.timings_ms, "total": total_ms},
            receipts=(failed, *(receipt.receipts or (receipt,))),
        )
        return replace(ranking, receipt=receipt)


def _error_of(job: "Future[Any]") -> BaseException | None:
    if job.cancelled():
        return RerankerError("the request was cancelled, because the interpreter ends")
    try:
        return job.exception()
    except CancelledError:  # between the two lines
        return RerankerError("the request was cancelled")
