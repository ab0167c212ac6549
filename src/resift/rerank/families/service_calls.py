"""The calls of a reranker behind a network: requests in threads, deadline, fallback, breaker."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from resift.background import Background
from resift.errors import InputError, RerankerClosed, RerankerError
from resift.outages import is_outage
from resift.rerank.candidates import as_candidates, check_query
from resift.rerank.deadline import Deadline
from resift.rerank.families.breaker import Breaker
from resift.rerank.families.fallback import Fallback
from resift.rerank.families.service_call import ServiceCall, Work
from resift.rerank.families.waiting import in_loop
from resift.rerank.options import RankOptions
from resift.rerank.result import ScoredCandidates, make_ranking
from resift.rerank.scorer import Scorer
from resift.settings import Settings
from resift.transport.endpoint import EndpointError
from resift.types import Candidate, DocumentLike, Ranking

THREADS_PER_REQUEST = 2
"""Threads for each request that may run at once: some wait between two tries."""

LEAST_S = 0.1
"""A service that had less time than this has not failed, so its breaker does not count it."""

_MARGIN_S = 0.005
"""The time to make a ranking of what a service answered."""

_NO_FAILURES = ("refused",)
"""Causes that concern one request and not the service."""

_LOG = logging.getLogger("resift")

_Read = TypeVar("_Read")


class ServiceCalls(ABC):
    """The calls of a reranker behind a network.

    A subclass makes the work of a call and reads its results. The work runs in threads that a call
    can leave, so a service that hangs costs no more than the deadline.
    """

    _answers_in_budget = False
    """Whether the service knows the budget, and answers just before its end with what it has."""

    def __init__(
        self,
        scorer: Scorer,
        *,
        concurrency: int,
        fallback: object,
        settings: Settings,
    ) -> None:
        super().__init__()
        self._scorer = scorer
        self._fallback = None if fallback is None else Fallback(fallback, settings)
        self._threads = Background(THREADS_PER_REQUEST * concurrency, "resift-remote")
        self._breaker = Breaker()
        self._is_closed = False

    @abstractmethod
    def _longest_s(self, count: int) -> float:
        """The most seconds for the requests of a call with so many candidates and no budget."""

    @abstractmethod
    def _works(self, query: str, candidates: Sequence[Candidate], until: float) -> Sequence[Work]:
        """The requests of a call, each for its own thread; they raise `EndpointError`."""

    @abstractmethod
    def _scored(
        self, query: str, candidates: Sequence[Candidate], results: Sequence[Any]
    ) -> ScoredCandidates:
        """The scores in the results of the work. Raises `RerankerError` if they are none."""

    @abstractmethod
    def _notes(self, options: RankOptions) -> tuple[str, ...]:
        """Remarks for the receipt of a ranking that the service made."""

    @abstractmethod
    def _release(self) -> None:
        """Close connections."""

    def _works_of(self, call: ServiceCall) -> Sequence[Work]:
        """The requests of a call, whose results `_answer` reads."""
        return self._works(call.query, call.candidates, call.until)

    def _last_wait_s(self, deadline: Deadline) -> float:
        """How long to wait for the service after the fallback has ranked."""
        remaining_s = deadline.remaining_s
        if remaining_s is None or not self._answers_in_budget:
            return 0.0
        return max(remaining_s - _MARGIN_S, 0.0)

    def _check_options(self, options: RankOptions) -> None:  # noqa: B027 - most follow all
        """Raise `InputError` for options that the service cannot follow."""

    def _ranking_options(self, options: RankOptions) -> RankOptions:
        """The options that make a ranking of the service's scores."""
        return options

    @property
    def name(self) -> str:
        """The service and the model."""
        return self._scorer.name

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the service, its address and the model.

        They do not change when a service replaces the model behind the name.
        """
        return self._scorer.fingerprint

    def _check_open(self) -> None:
        if self._is_closed:
            raise RerankerClosed(f"{self.name}: closed; open another one")

    def _begin(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
        where: str = "",
        *,
        scores_only: bool = False,
    ) -> ServiceCall:
        """Start the requests of a call; `where` prefixes an error about the documents."""
        self._check_open()
        self._check_options(options)
        query = check_query(query)
        try:
            candidates = as_candidates(documents)
        except InputError as error:
            raise type(error)(f"{where}{error}") from error
        remaining_s = deadline.remaining_s
        call_s = self._longest_s(len(candidates))
        call_s = call_s if remaining_s is None else min(call_s, remaining_s)
        until = time.monotonic() + call_s
        call = ServiceCall(query, candidates, options, deadline, until, scores_only)
        works = self._works_of(call)
        if works and deadline.is_bounded and self._fallback is not None:
            self._fallback.prepare()
        refusal = self._breaker.refusal() if works else None
        if refusal is not None:
            call.failure = RerankerError(f"{self.name}: {refusal}")
        elif works and deadline.expired:
            call.failure = RerankerError(f"{self.name}: time was up before the request")
        else:
            call.begin(works, self._threads)
        return call

    def _service_s(self, call: ServiceCall, candidates: int | None = None) -> float:
        """How long to wait for the service before the fallback of `candidates` begins."""
        if call.failure is not None:
            return 0.0
        remaining_s = call.remaining_s
        if not call.deadline.is_bounded:
            return remaining_s
        if self._fallback is None:
            return max(remaining_s - _MARGIN_S, 0.0)
        count = len(call.candidates) if candidates is None else candidates
        return remaining_s - self._fallback.reserved_s(count, remaining_s)

    def _finish(self, call: ServiceCall, unfinished: int) -> Ranking:
        """Wait for the answer; `unfinished` candidates of this and later calls may fall back."""
        try:
            wait([call.done], timeout=self._service_s(call, unfinished))
            ranking = self._answer(call)
            if ranking is None:
                ranking = self._fall_back(call, len(call.candidates) / max(unfinished, 1))
        finally:
            call.give_up()
        return ranking

    def _answer(self, call: ServiceCall) -> Ranking | None:
        """The ranking of the service; None if there is none (yet), maybe for a `failure`."""
        scored = None if call.failure is not None else self._scores_of(call)
        if scored is None:
            return None
        ranking = make_ranking(scored, self._ranking_options(call.options), started=call.started)
        notes = (*ranking.receipt.notes, *(self._notes(call.options) if call.jobs else ()))
        return replace(ranking, receipt=replace(ranking.receipt, notes=notes))

    def _scores_of(self, call: ServiceCall) -> ScoredCandidates | None:
        """The scores of the service; None if there are none (yet)."""
        return self._read(call, partial(self._scored, call.query, call.candidates))

    def _read(self, call: ServiceCall, read: Callable[[list[Any]], _Read]) -> _Read | None:
        """What `read` makes of the results of the work; None if there are none (yet)."""
        try:
            results = call.results()
            if results is None:
                return None
            value = read(results)
        except Exception as error:
            if not is_outage(error):
                raise
            self._note_failure(call, error)
            return None
        if call.jobs:
            self._breaker.succeed()
        return value

    def _note_failure(self, call: ServiceCall, error: Exception) -> None:
        call.failure = RerankerError(f"{self.name}: {error}")
        call.failure.__cause__ = error
        cause = getattr(error, "cause", None)
        wait_s = getattr(error, "wait_s", None)
        is_new = cause in _NO_FAILURES or self._breaker.fail(
            str(error), is_final=cause == "key", wait_s=wait_s
        )
        if is_new and self._fallback is not None:  # without one, the caller gets the error
            _LOG.warning("%s", call.failure)

    def _note_late(self, call: ServiceCall) -> None:
        within_s = time.perf_counter() - call.started
        message = f"no answer within {within_s * 1000:.0f} ms"
        if within_s < LEAST_S:  # no service answers so soon
            call.failure = RerankerError(f"{self.name}: {message}")
        else:
            self._note_failure(call, EndpointError(message, "late"))

    def _fall_back(self, call: ServiceCall, share: float) -> Ranking:
        """The fallback's ranking in a `share` of the time; the service's if it is there by then."""
        if self._fallback is None:
            raise self._failure(call)
        remaining_s = call.deadline.remaining_s
        deadline = Deadline(None if remaining_s is None else remaining_s * share * 1000)
        ranking: Ranking | Exception | None
        try:
            ranking = self._fallback.rank(call.query, call.candidates, call.options, deadline)
        except Exception as error:
            ranking = _outage(error)
        wait([call.done], timeout=self._last_wait_s(deadline))
        return self._better(call, ranking)

    async def _afall_back(self, call: ServiceCall) -> Ranking:
        if self._fallback is None:
            raise self._failure(call)
        ranking: Ranking | Exception | None
        try:
            ranking = await self._fallback.arank(
                call.query, call.candidates, call.options, call.deadline
            )
        except Exception as error:
            ranking = _outage(error)
        await asyncio.wait([in_loop(call.done)], timeout=self._last_wait_s(call.deadline))
        return self._better(call, ranking)

    def _better(self, call: ServiceCall, ranking: Ranking | Exception | None) -> Ranking:
        """The service's ranking if it is there by now and has scores, else the fallback's."""
        answer = self._answer(call)
        if answer is not None:
            has_scores = isinstance(ranking, Ranking) and ranking.receipt.scored > 0
            if answer.receipt.scored or not has_scores:
                return answer
            call.failure = RerankerError(f"{self.name}: {answer.receipt.reason}")
        if isinstance(ranking, Exception):
            raise RerankerError(f"{self._failure(call)}; and the fallback: {ranking}") from ranking
        return self._taken_over(call, ranking)

    def _failure(self, call: ServiceCall) -> Exception:
        """The error that ended the call; without one it is late."""
        if call.failure is None:
            self._note_late(call)
        return call.failure or RerankerError(f"{self.name}: no answer")

    def _taken_over(self, call: ServiceCall, ranking: Ranking | None) -> Ranking:
        reason = str(self._failure(call))
        if ranking is None or self._fallback is None:
            return call.unscored(
                self._scorer, f"{reason}; time was up before the fallback was opened"
            )
        return call.taken_over(ranking, self._scorer, reason, self._fallback.name)


def _outage(error: Exception) -> Exception:
    """The error of a fallback if the call survives it; raises any other."""
    if not is_outage(error):
        raise error
    return error
