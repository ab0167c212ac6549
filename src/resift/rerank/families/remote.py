"""`RemoteReranker`: a reranking service over HTTP, with a fallback that is always there."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from resift.errors import RerankerError
from resift.rerank.deadline import Deadline
from resift.rerank.families.fallback import BUNDLED
from resift.rerank.families.opening import (
    checked_model,
    checked_number,
    checked_seconds,
    endpoint_of,
    scorer_of,
)
from resift.rerank.families.requests_of import Text, chunks, readable_texts, scored_state
from resift.rerank.families.server import Public, Server, find_server
from resift.rerank.families.service_call import ServiceCall, Work
from resift.rerank.families.service_ranker import ServiceRanker
from resift.rerank.families.services.known import service_named
from resift.rerank.families.services.service import (
    Answer,
    Service,
    WholeRanking,
    checked,
)
from resift.rerank.options import RankOptions
from resift.rerank.ranker import Ranker
from resift.rerank.result import ScoredCandidates
from resift.settings import Settings, checked_settings
from resift.transport.endpoint import Endpoint, EndpointError, RetryLimits
from resift.types import Candidate, DocumentLike, Ranking

TIMEOUT_S, TRIES, CONCURRENCY = 10.0, 3, 8

LEAST_MARGIN_S, MARGIN_SHARE = 0.02, 0.05
"""A server that ranks within a budget gets so much less than is left: its answer has to come."""

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class _Arguments:
    """What opens the same reranker elsewhere; secrets are in no representation."""

    service: str
    model: str | None
    url: str | None = field(repr=False)
    key: str | None = field(repr=False)
    fallback: Any
    timeout_s: float
    tries: int
    concurrency: int
    settings: Settings = field(repr=False)

    def open(self) -> "RemoteReranker":
        options = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return RemoteReranker(options.pop("service"), options.pop("model"), **options)


class RemoteReranker(ServiceRanker):
    """Orders documents by the scores of a service.

    ``RemoteReranker("cohere")``, ``"jina"`` and ``"voyage"`` are public services; `model` is one
    of theirs. ``"tei"``, ``"vllm"`` and ``"resift"`` are servers of your own at `url`; any service
    may be at another `url`. Empty documents are not sent. Long lists are split into requests, and
    if one of these fails, all do: there is never half a ranking.

    ``"resift"`` gives what the server's `Reranker` gives: it gets the candidates with their first
    stage in one request, and all options; order, scores and receipt are its. With a budget it may
    answer in part, as any `Reranker`.

    `fallback` ranks where the service fails or is late: "bundled" is the bundled model, opened when
    it is first needed (with a budget, at the first call); None raises `RerankerError` instead; any
    object with ``rank`` will do. The receipt is then `partial`, its `reason` names the service, the
    failure and who ranked, and `receipts` has those of both.

    A try may take `timeout_s`, all requests of a call `timeout_s` × `tries`, and at most
    `concurrency` requests run at once. With a budget the service has until its end, and the
    fallback begins in time beside it. After three failures in a row the service is not asked for
    some seconds.

    `key` is by default that of the settings (`Settings.cohere_key` and others; ``reranker_key`` for
    a `url` of your own). It goes to that host only, and is in no message. A pickle holds it.
    Raises `InputError`, and `SettingsError` if a public service has no key.
    """

    def __init__(
        self,
        service: str,
        model: str | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        fallback: Ranker | str | None = BUNDLED,
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
        concurrency: int = CONCURRENCY,
        settings: Settings | None = None,
    ) -> None:
        settings = checked_settings(settings)
        self._service = service_named(service)
        self._model = checked_model(model) or self._service.model
        self._scale = self._service.scale(self._model)
        self._answers_in_budget = self._service.ranking is not None
        server = _server(self._service, url, key, settings)
        timeout_s, tries = checked_seconds("timeout_s", timeout_s), checked_number("tries", tries)
        concurrency = checked_number("concurrency", concurrency)
        self._arguments = _Arguments(
            service, model, url, server.key, fallback, timeout_s, tries, concurrency,
            settings.without_secrets(),
        )  # fmt: skip
        super().__init__(
            scorer_of(service, self._model, server),
            concurrency=concurrency,
            fallback=fallback,
            settings=settings,
        )
        self._limits = RetryLimits(timeout_s, tries, max_wait_s=timeout_s)
        self._endpoint = endpoint_of(server, self._service.path, settings, concurrency)
        path = self._service.limits_path
        self._info = None if path is None else endpoint_of(server, path, settings, concurrency)
        self._reading: Future[int | None] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, (self._arguments,)

    def score(self, query: str, documents: Iterable[DocumentLike]) -> NDArray[np.float32]:
        """Logits in input order, float32 ``(n,)``; NaN for a document without a text.

        They are the service's: the fallback has other ones, so it does not step in. Raises
        `RerankerError` if the service fails, else as `rank` does.
        """
        call = self._begin(query, documents, RankOptions(), Deadline(), scores_only=True)
        try:
            wait([call.done], timeout=call.remaining_s)
            scored = None if call.failure is not None else self._scores_of(call)
        finally:
            call.give_up()
        if scored is None:
            raise self._failure(call)
        return scored._state.logits

    def _longest_s(self, count: int) -> float:
        return self._limits.timeout_s * self._limits.tries

    def _works(self, query: str, candidates: Sequence[Candidate], until: float) -> Sequence[Work]:
        most = self._most_documents(len(candidates))
        return [
            partial(self._ask, query, texts, until)
            for texts in chunks(query, candidates, most, self._service.max_bytes)
        ]

    def _ask(self, query: str, texts: Sequence[Text], until: float) -> tuple[Any, Answer, float]:
        """The texts of a request, the answer, and the milliseconds that it took."""
        body = self._service.body(self._model, query, [text.text for text in texts])
        answer, took_ms = self._asked(
            lambda: body,
            lambda response: checked(self._service.answer(response, len(texts)), self._scale),
            until,
        )
        return texts, answer, took_ms

    def _asked(
        self, body: Callable[[], Any], read: Callable[[Any], _Read], until: float
    ) -> tuple[_Read, float]:
        """What `read` makes of the response, and the milliseconds that it took.

        An answer that is no ranking is asked for once more.
        """
        started = time.perf_counter()
        for is_last in (False, True):
            response = self._endpoint.post(body, self._limits, until)
            try:
                answer = read(response)
                break
            except ValueError as error:
                if is_last or time.monotonic() >= until:
                    message = self._endpoint.without_secrets(str(error))
                    cause = self._endpoint.cause_of(error)
                    raise RerankerError(f"its answer is no ranking: {message}") from cause
        return answer, (time.perf_counter() - started) * 1000

    def _works_of(self, call: ServiceCall) -> Sequence[Work]:
        whole = self._service.ranking
        if whole is None or call.scores_only:
            return super()._works_of(call)
        has_texts = any(True for _ in readable_texts(call.candidates))
        return [partial(self._rank_there, whole, call)] if has_texts else []

    def _rank_there(self, whole: WholeRanking, call: ServiceCall) -> Ranking:
        """The ranking that the server makes with the options of a call, in its own time."""
        candidates, options = call.candidates, call.options
        (hits, receipt), took_ms = self._asked(
            lambda: whole.body(self._model, call.query, candidates, options, self._budget_ms(call)),
            lambda response: whole.answer(response, candidates, options),
            call.until,
        )
        timings_ms = dict(receipt.timings_ms)
        timings_ms["network"] = max(took_ms - timings_ms.pop("total", 0.0), 0.0)
        runtime = f"{self._service.name} at {self._scorer.runtime}"
        receipt = replace(receipt, runtime=runtime, timings_ms=timings_ms)
        return Ranking(call.query, tuple(hits), receipt)

    def _budget_ms(self, call: ServiceCall) -> float | None:
        """The time that a server has which ranks within a budget; None without a budget."""
        if not call.deadline.is_bounded:
            return None
        remaining_s = min(call.remaining_s, self._limits.timeout_s)
        margin_s = min(max(LEAST_MARGIN_S, MARGIN_SHARE * remaining_s), remaining_s / 2)
        return (remaining_s - margin_s) * 1000

    def _answer(self, call: ServiceCall) -> Ranking | None:
        if self._service.ranking is None or not call.jobs:
            return super()._answer(call)
        ranking: Ranking | None = None
        if call.failure is None:
            ranking = self._read(call, lambda results: results[0])
        if ranking is None:
            return None
        total_ms = (time.perf_counter() - call.started) * 1000
        timings_ms = {**ranking.receipt.timings_ms, "total": total_ms}
        return replace(ranking, receipt=replace(ranking.receipt, timings_ms=timings_ms))

    def _scored(
        self, query: str, candidates: Sequence[Candidate], results: Sequence[Any]
    ) -> ScoredCandidates:
        requests = [texts for texts, _, _ in results]
        responses = [answer for _, answer, _ in results]
        state = scored_state(candidates, requests, responses, self._scale)
        if results:
            state.timings_ms["service"] = max(took_ms for _, _, took_ms in results)
        return ScoredCandidates(query, candidates, {}, _state=state, _scorer=self._scorer)

    def _notes(self, options: RankOptions) -> tuple[str, ...]:
        return (
            f"{self._scorer.runtime} does not tell how much of each document it read, and cuts "
            "long documents by itself",
        )

    def _release(self) -> None:
        for endpoint in (self._endpoint, self._info):
            if endpoint is not None:
                endpoint.close()

    def _most_documents(self, count: int) -> int:
        """The most documents of a request: the server's own limit, as soon as it is known.

        It is read beside the first call that has more documents than any server accepts.
        """
        default = self._service.max_documents
        if self._info is None or count <= default:
            return default
        if self._reading is None:
            self._reading = self._threads.run(partial(self._read_limit, self._info))
        reading = self._reading
        known = reading.result() if reading.done() and not reading.cancelled() else None
        return known or default

    def _read_limit(self, info: Endpoint) -> int | None:
        """The server's own limit; None if it does not tell."""
        try:
            response = info.get(RetryLimits(self._limits.timeout_s, 1, 0))
        except EndpointError:
            return None  # the default limit suits every server
        return self._service.max_documents_of(response)


def _unpickle(arguments: _Arguments) -> RemoteReranker:
    return arguments.open()


def _server(service: Service, url: str | None, key: str | None, settings: Settings) -> Server:
    public = None
    if service.url is not None and service.key is not None:
        public = Public(service.url, service.key)
    return find_server(service.name, service.path, public, url, key, settings)
