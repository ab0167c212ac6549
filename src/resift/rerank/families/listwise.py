"""`ListwiseReranker`: a language model orders passages, behind OpenAI's chat protocol."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from resift.errors import InputError, RerankerError, shown
from resift.rerank.candidates import first_rank
from resift.rerank.catalogue import BUNDLED as BUNDLED_FOLDER
from resift.rerank.families.fallback import BUNDLED
from resift.rerank.families.listwise_prompt import VERSION, content_of, messages, order_of
from resift.rerank.families.listwise_windows import Ordered, slide, windows_of
from resift.rerank.families.opening import (
    checked_model,
    checked_number,
    checked_seconds,
    endpoint_of,
    scorer_of,
)
from resift.rerank.families.requests_of import readable_texts, unscored_state
from resift.rerank.families.server import Public, find_server
from resift.rerank.families.service_call import Work
from resift.rerank.families.service_ranker import ServiceRanker
from resift.rerank.families.services.service import logit_of, tokens_of
from resift.rerank.options import RankOptions
from resift.rerank.ranker import Ranker
from resift.rerank.result import ScoredCandidates
from resift.rerank.state import NO_ROW, CallState, DocumentState
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer
from resift.settings import Settings, checked_settings
from resift.transport.endpoint import RetryLimits
from resift.types import Candidate

SERVICE = "llm"
PATH = "/chat/completions"
OPENAI = Public("https://api.openai.com/v1", "openai_key")
TIMEOUT_S, TRIES, CONCURRENCY = 60.0, 3, 4
WINDOW, PASSES, DOCUMENT_TOKENS = 20, 1, 300
TOKENS_PER_IDENTIFIER, SPARE_TOKENS = 8, 64


@dataclass(frozen=True, slots=True)
class _Arguments:
    """What opens the same reranker elsewhere; secrets are in no representation."""

    url: str | None = field(repr=False)
    model: str
    key: str | None = field(repr=False)
    options: Mapping[str, Any]
    settings: Settings = field(repr=False)

    def open(self) -> "ListwiseReranker":
        return ListwiseReranker(
            self.url, self.model, key=self.key, settings=self.settings, **self.options
        )


class ListwiseReranker(ServiceRanker):
    """Orders documents with a language model that reads several of them at once.

    `url` is the base URL of a server that speaks OpenAI's chat completions, such as
    ``http://host:8000/v1``; None is OpenAI. The model gets a numbered list of `window` documents
    and answers with their order (Sun et al. 2023, https://arxiv.org/abs/2304.09542). Windows slide
    from the end of the list to its front by `step` (by default by half a window), so that good
    documents move up; `passes` go through the list. Documents are cut to `max_document_tokens`
    tokens of the bundled tokenizer (`Hit.tokens_seen`, `tokens_dropped`, status ``cut``).

    A model gives an order and no scores. `Hit.score` is evenly spaced by rank and
    `Receipt.calibration` is ``rank``: neither tells how relevant a document is. So `min_score` and
    `abstain_below` are refused, and `fusion_weight` has no effect here.

    An answer that names fewer than half of a window's documents is asked for once more; then the
    window keeps its order, and the receipt notes it. If all do, if the server fails, or if the
    deadline comes before the front of the list was read, `fallback` ranks, as in `RemoteReranker`.

    `answer_tokens` is the most that an answer may have, by default 8 a document and 64 more; a
    model that thinks aloud needs some thousands. `request` has further fields of the request, such
    as ``{"reasoning_effort": "low"}``; None removes a field. `timeout_s` and `tries` are for each
    window, and at most `concurrency` requests run at once. Raises `InputError`, and `SettingsError`
    for OpenAI without a key.
    """

    def __init__(
        self,
        url: str | None,
        model: str | None,
        *,
        key: str | None = None,
        window: int = WINDOW,
        step: int | None = None,
        passes: int = PASSES,
        fallback: Ranker | str | None = BUNDLED,
        max_document_tokens: int = DOCUMENT_TOKENS,
        answer_tokens: int | None = None,
        request: Mapping[str, Any] | None = None,
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
        concurrency: int = CONCURRENCY,
        settings: Settings | None = None,
    ) -> None:
        settings = checked_settings(settings)
        name = checked_model(model)
        if name is None:
            raise InputError("model: expected the name of a model of the server")
        self._window = checked_number("window", window, 200)
        step = (self._window + 1) // 2 if step is None else step
        self._step = checked_number("step", step, self._window)
        self._passes = checked_number("passes", passes, 10)
        self._document_tokens = checked_number("max_document_tokens", max_document_tokens, 100_000)
        tokens = TOKENS_PER_IDENTIFIER * self._window + SPARE_TOKENS
        if answer_tokens is not None:
            tokens = checked_number("answer_tokens", answer_tokens, 1_000_000)
        request = _checked_request(request)
        self._fields = _fields(name, tokens, request)
        server = find_server(SERVICE, PATH, OPENAI, url, key, settings)
        timeout_s, tries = checked_seconds("timeout_s", timeout_s), checked_number("tries", tries)
        concurrency = checked_number("concurrency", concurrency)
        self._arguments = _Arguments(
            url,
            name,
            server.key,
            {
                "window": window,
                "step": step,
                "passes": passes,
                "fallback": fallback,
                "max_document_tokens": max_document_tokens,
                "answer_tokens": answer_tokens,
                "request": request,
                "timeout_s": timeout_s,
                "tries": tries,
                "concurrency": concurrency,
            },
            settings.without_secrets(),
        )
        decisive = (VERSION, self._window, self._step, self._passes, self._document_tokens)
        super().__init__(
            scorer_of(SERVICE, name, server, by_rank=True, detail=repr(decisive)),
            concurrency=concurrency,
            fallback=fallback,
            settings=settings,
        )
        self._limits = RetryLimits(timeout_s, tries, max_wait_s=timeout_s)
        self._endpoint = endpoint_of(server, PATH, settings, concurrency)

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, (self._arguments,)

    def _check_options(self, options: RankOptions) -> None:
        for option in ("min_score", "abstain_below"):
            if getattr(options, option) is not None:
                raise InputError(
                    f"{option}: a listwise reranker gives an order and no scores; leave it out"
                )

    def _ranking_options(self, options: RankOptions) -> RankOptions:
        return replace(options, fusion_weight=0.0)

    def _longest_s(self, count: int) -> float:
        windows = sum(1 for _ in windows_of(count, self._window, self._step))
        return self._limits.timeout_s * self._limits.tries * max(windows, 1) * self._passes

    def _works(self, query: str, candidates: Sequence[Candidate], until: float) -> Sequence[Work]:
        texts = dict(readable_texts(candidates))
        if len(texts) < 2:
            return []
        return [partial(self._order, query, candidates, texts, until)]

    def _order(
        self, query: str, candidates: Sequence[Candidate], texts: Mapping[int, str], until: float
    ) -> tuple[Ordered, dict[int, TokenRow], float]:
        """The order of the documents, what was read of each, and the milliseconds."""
        started = time.perf_counter()
        rows = _rows(texts, self._document_tokens)
        passages = {index: text[: rows[index].end] for index, text in texts.items()}
        first = sorted(texts, key=lambda index: first_rank(index, candidates[index]))
        ask = partial(self._ask, query, passages, until)
        result = slide(first, self._window, self._step, self._passes, ask, until)
        if result.refused == result.windows:
            raise RerankerError(f"none of its {result.windows} answers was an order")
        return result, rows, (time.perf_counter() - started) * 1000

    def _ask(
        self, query: str, passages: Mapping[int, str], until: float, window: Sequence[int]
    ) -> tuple[list[int] | None, int]:
        """The order of a window, asked for twice at most, and the tokens that were read."""
        chat = messages(query, [passages[index] for index in window])
        body = {**self._fields, "messages": chat}
        tokens = 0
        for _ in range(2):
            response = self._endpoint.post(body, self._limits, until)
            tokens += tokens_of(response, "usage", "prompt_tokens")
            try:
                order = order_of(content_of(response), len(window))
            except ValueError:  # counts as an answer that is no order
                order = None
            if order is not None or time.monotonic() >= until:
                break
        return order, tokens

    def _scored(
        self, query: str, candidates: Sequence[Candidate], results: Sequence[Any]
    ) -> ScoredCandidates:
        if not results:
            rows = _rows(dict(readable_texts(candidates)), self._document_tokens)
            state = _ranked_state(candidates, list(rows), rows)
        else:
            ordered, rows, took_ms = results[0]
            state = _ranked_state(candidates, ordered.order, rows)
            state.timings_ms["service"] = took_ms
            state.tokens = state.positions = ordered.tokens
            if ordered.refused:
                state.note(
                    f"{self.name}: {ordered.refused} of {ordered.windows} windows kept the order "
                    "before, because the answer was no order"
                )
            if ordered.passes < self._passes:
                state.note(f"{self.name}: {ordered.passes} of {self._passes} passes were made")
        return ScoredCandidates(query, candidates, {}, _state=state, _scorer=self._scorer)

    def _notes(self, options: RankOptions) -> tuple[str, ...]:
        notes = [f"{self.name} gives an order; scores are ranks and nothing else"]
        if options.fusion_weight:
            notes.append("fusion_weight has no effect: there are no scores to add it to")
        return tuple(notes)

    def _release(self) -> None:
        self._endpoint.close()


def _unpickle(arguments: _Arguments) -> ListwiseReranker:
    return arguments.open()


def _checked_request(request: object) -> dict[str, Any] | None:
    """A copy of the further fields of a request. Raises `InputError` for what is no JSON."""
    if request is None:
        return None
    if not isinstance(request, Mapping) or not all(isinstance(name, str) for name in request):
        raise InputError(f"request={shown(request)}: expected names and values, such as a dict")
    fields = {}
    for name, value in request.items():
        try:
            fields[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"request={{{shown(name)}: {shown(value)}}}: expected a value that JSON can hold"
            ) from error
    return fields


def _fields(model: str, tokens: int, request: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of a request besides its messages."""
    fields: dict[str, Any] = {
        "model": model,
        "temperature": 0,
        "seed": 0,
        "max_tokens": tokens,
        "stream": False,
    }
    fields |= request or {}
    return {name: value for name, value in fields.items() if value is not None}


def _rows(texts: Mapping[int, str], max_tokens: int) -> dict[int, TokenRow]:
    """How much of each text is read, in tokens of the bundled tokenizer."""
    rows = _tokens(max_tokens).single(list(texts.values()))
    return {index: replace(row, ids=NO_ROW.ids) for index, row in zip(texts, rows, strict=True)}


@cache
def _tokens(max_tokens: int) -> Tokens:
    tokenizer = load_tokenizer(BUNDLED_FOLDER / "tokenizer.json")
    special = len(Tokens(tokenizer, max_tokens, known_only=False).single([""])[0].ids)
    return Tokens(tokenizer, max_tokens + special, known_only=False)


def _ranked_state(
    candidates: Sequence[Candidate], order: Sequence[int], rows: Mapping[int, TokenRow]
) -> CallState:
    """The state of a call with a score by its rank for each document of `order`."""
    state = unscored_state(candidates, rows)
    for position, index in enumerate(order):
        score = (len(order) - position - 0.5) / len(order)
        if rows[index].dropped:
            state.statuses[index] = "cut"
        state.documents[index] = DocumentState(
            index, "", rows[index], logits=(logit_of(score, "probability"),)
        )
    return state
