"""What users hold: candidates in, Ranking out."""

import asyncio
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError, QueryError
from resift.rerank.artifact import load_artifact
from resift.rerank.cache import PairCache
from resift.rerank.catalogue import resolve
from resift.rerank.engine import Engine
from resift.rerank.kept import HalfCache, Known, unpack
from resift.rerank.order import Say, order, prior, sigmoid
from resift.rerank.patience import Patience
from resift.rerank.progressive import TOLERANCE, Race
from resift.rerank.readings import read_references
from resift.rerank.request import Outcome, is_text
from resift.rerank.stages import load_model
from resift.rerank.tuning import Tuning, machine, tuning_file
from resift.rerank.verification import Verification, references, verified
from resift.settings import Settings
from resift.types import Candidate, Document, Hit, Kept, Ranking, Receipt

DEPTH_ADVICE = 100
CACHE_MB = 64  # where a file is named and no size


@dataclass(frozen=True, slots=True)
class _Ask:
    """What a caller wants of a ranking, checked."""

    top_n: int | None
    weight: float
    exact: bool
    tolerance: float

    def __post_init__(self) -> None:
        top_n = self.top_n
        if top_n is not None and (not isinstance(top_n, int | np.integer) or top_n < 1):
            raise InputError(f"top_n={top_n!r}: expected a whole number from 1, or None for all")
        if not (_is_finite(self.tolerance) and 0 < self.tolerance <= 0.5):
            raise InputError(f"tolerance={self.tolerance!r}: expected a number over 0, up to 0.5")

    def race(self, say: Say) -> Race | None:
        """The race for the first `top_n`; None where everything goes through every stage."""
        if self.exact or self.top_n is None:
            return None
        return Race(int(self.top_n), say, self.tolerance)


class Reranker:
    """Puts documents in the order of how well each answers a query.

    ``Reranker()`` is the bundled model; a folder is an artifact that ``resift convert`` made.
    The model is loaded here and shared by threads. Raises `ModelNotFound` and `ArtifactError`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings.load()
        folder = resolve(model if model is not None else settings.model, revision)
        artifact = load_artifact(folder)
        self._manifest = artifact.manifest
        loaded = load_model(artifact, settings.runtime, settings.threads)
        self._engine = Engine(
            loaded,
            self._manifest.exits,
            max_memory_mb=settings.max_memory_mb,
            cache=_cache(settings, f"{self.fingerprint} {loaded.runtime}"),
            halves=HalfCache(settings.halves_mb) if settings.halves_mb else None,
            tuning=_tuning(settings, f"{self.fingerprint} {loaded.runtime}"),
        )
        self._warned = False

    @property
    def name(self) -> str:
        """The model's name, as its manifest gives it."""
        return self._manifest.name

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with anything that changes a logit."""
        return self._manifest.fingerprint

    def rank(
        self,
        query: str,
        documents: Sequence[str | Document | Candidate],
        top_n: int | None = 10,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
    ) -> Ranking:
        """The best `top_n` documents in order (all of them with None).

        Where all that can be read is a `Candidate` with a score, the order is by ``logit +
        fusion_weight × standardised first-stage score``, and a model that is split adds how like
        a document is to those that lead then (`feedback`). None takes the weights fitted for the
        model, 0 leaves both out.

        A model of several stages lets go, after each, what cannot reach the `top_n` any more:
        `tolerance` (0 to 0.5) is the chance, on either side, that a logit moves further than is
        reckoned with, and `exact` forbids it. Those let go keep their order behind the rest.

        `budget_ms` is for all of it: tokenising, waiting for other callers, running. What is not
        scored then keeps its first-stage order behind the rest, and the receipt says so.

        Raises `QueryError` for an empty or over-long query, `InputError` for an argument out of
        range and `Overloaded` where too much work waits already. A document that cannot be read
        is a hit with a status, never an error.
        """
        ask = _Ask(top_n, _weight(fusion_weight, self._manifest.fusion_weight), exact, tolerance)
        ranking = self._rank(query, documents, ask, Patience(_budget(budget_ms)))
        self._warn_of_depth(ranking.receipt)
        return ranking

    async def arank(
        self,
        query: str,
        documents: Sequence[str | Document | Candidate],
        top_n: int | None = 10,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
    ) -> Ranking:
        """`rank` without blocking the event loop; a task that is cancelled stops costing."""
        ask = _Ask(top_n, _weight(fusion_weight, self._manifest.fusion_weight), exact, tolerance)
        patience = Patience(_budget(budget_ms))
        try:
            return await asyncio.to_thread(self._rank, query, documents, ask, patience)
        finally:
            patience.give_up()  # nothing is lost where it was done

    def _rank(
        self,
        query: str,
        documents: Sequence[str | Document | Candidate],
        ask: "_Ask",
        patience: Patience,
    ) -> Ranking:
        """Check → score → add the first stage's say → order → hits."""
        start = time.perf_counter()
        _check_query(query)
        _check_documents(documents)
        candidates = _candidates(documents)
        texts = [_full_text(candidate) for candidate in candidates]
        say = self._say(candidates, ask.weight)
        known = self._known(candidates, texts)
        race = ask.race(say) if self._manifest.exits else None
        outcome = self._engine.step(query, texts, patience, race, known)
        logits = outcome.logits.astype(np.float64)
        scores = say.scores(logits, outcome.means)
        ranks = [_first_rank(index, candidate) for index, candidate in enumerate(candidates)]
        places = order(scores, logits, ranks, _behind(outcome))[: ask.top_n]
        scored = bool(np.isfinite(scores).any())
        weight = say.weight if scored else 0.0
        likeness = say.likeness if scored and outcome.means is not None else 0.0
        values = self._probabilities(scores, bool(weight))
        hits = tuple(
            _hit(rank, int(place), candidates[place], outcome, values[place])
            for rank, place in enumerate(places, 1)
        )
        timings = outcome.timings_ms | {"total": (time.perf_counter() - start) * 1000}
        return Ranking(query, hits, self._receipt(outcome, weight, likeness, race is None, timings))

    def score(
        self, query: str, documents: Sequence[str | Document | Candidate]
    ) -> NDArray[np.float32]:
        """Logits in input order, float32 ``(n,)``; NaN for a document that cannot be read.

        Raises `QueryError` for an empty or over-long query.
        """
        _check_query(query)
        _check_documents(documents)
        candidates = _candidates(documents)
        texts = [_full_text(candidate) for candidate in candidates]
        return self._engine.step(query, texts, known=self._known(candidates, texts)).logits

    def keep(
        self, documents: Sequence[str | Document | Candidate], *, states: bool = True
    ) -> list[Kept | None]:
        """What of each document need not be read again when a query comes, in input order.

        Hand it back as `Candidate.kept`. Token ids, and for a split model its half of the pair as
        well: a `rank` then runs only the query and the meeting of the two, to the same logits.
        `states=False` leaves the half out, which takes over a kilobyte a token with the bundled
        model. None for a document that cannot be read.
        """
        _check_documents(documents)
        texts = [_full_text(candidate) for candidate in _candidates(documents)]
        return self._engine.keep(texts, self.fingerprint, states)

    def _known(self, candidates: Sequence[Candidate], texts: Sequence[object]) -> dict[int, Known]:
        """What is known of the candidates, by place."""
        model = self._engine.model
        found = {
            place: unpack(own.kept, text, self.fingerprint, model.kept_type, model.state_bytes)
            for place, (own, text) in enumerate(zip(candidates, texts, strict=True))
            if own.kept is not None and isinstance(text, str) and is_text(text)
        }
        return {place: known for place, known in found.items() if known is not None}

    def verify(self) -> Verification:
        """Read the manifest's reference pairs; `ParityError` says what is wrong with the model."""
        model = self._engine.model
        readings = read_references(model, references(self._manifest))
        return verified(self._manifest, model.runtime, readings)

    def _say(self, candidates: Sequence[Candidate], weight: float) -> Say:
        """What is added to the logits; nothing where a text to be read has no score."""
        scores = [own.score if _is_finite(own.score) else None for own in candidates]
        own = prior(scores, weight)
        missing = [
            one for one, known in zip(candidates, own, strict=True)
            if known != known and isinstance(one.text, str) and one.text.strip()
        ]  # fmt: skip
        if missing or not weight:
            return Say(np.zeros(len(own)))
        return Say(np.nan_to_num(own), weight, self._manifest.feedback_weight)

    def _probabilities(
        self, scores: NDArray[np.float64], with_first_stage: bool
    ) -> NDArray[np.float64]:
        """Logits, fused or not, as the chance of an answer; a plain sigmoid where not fitted."""
        fitted = self._manifest.calibration
        if fitted is None:
            return sigmoid(scores)
        if with_first_stage:
            return sigmoid(fitted.fused_scale * scores + fitted.fused_bias)
        return sigmoid(fitted.scale * scores + fitted.bias)

    def _receipt(
        self,
        outcome: Outcome,
        weight: float,
        likeness: float,
        exact: bool,
        timings: Mapping[str, float],
    ) -> Receipt:
        statuses = outcome.statuses
        scored = int(np.isfinite(outcome.logits).sum())
        return Receipt(
            model=self._manifest.name,
            fingerprint=self._manifest.fingerprint,
            runtime=self._engine.model.runtime,
            depth=len(statuses),
            scored=scored,
            cut=statuses.count("cut"),
            skipped=statuses.count("empty") + statuses.count("not_text"),
            partial=outcome.partial,
            reason=outcome.reason,
            timings_ms=timings,
            tokens=outcome.tokens,
            padding_share=outcome.padding_share,
            fusion_weight=weight,
            feedback_weight=likeness,
            let_go=int(outcome.let_go.sum()),
            exact=exact,
            cached=int(outcome.cached.sum()),
            kept=int(outcome.kept.sum()),
        )

    def _warn_of_depth(self, receipt: Receipt) -> None:
        depth = receipt.depth
        if depth > DEPTH_ADVICE and not receipt.partial and not self._warned:
            self._warned = True
            took_ms = receipt.timings_ms["total"]
            rest = took_ms * (1 - DEPTH_ADVICE / depth)
            warnings.warn(
                f"{depth} candidates took {took_ms:.0f} ms, about {rest:.0f} ms of it for those "
                f"beyond {DEPTH_ADVICE}; depths over {DEPTH_ADVICE} seldom pay",
                stacklevel=3,
            )


def _cache(settings: Settings, decisive: str) -> PairCache | None:
    """A cache where there is room for one or a file is named."""
    if not (settings.cache_mb or settings.cache_file):
        return None
    file = Path(settings.cache_file) if settings.cache_file else None
    return PairCache(decisive, settings.cache_mb or CACHE_MB, file)


def _tuning(settings: Settings, decisive: str) -> Tuning:
    """What was chosen on this machine, with so many threads."""
    return Tuning(f"{decisive}, {machine()}, threads {settings.threads}", tuning_file())


def _candidates(documents: Sequence[Any]) -> list[Candidate]:
    return [_candidate(index, given) for index, given in enumerate(documents)]


def _candidate(index: int, given: Any) -> Candidate:
    """Whatever was handed in, as a candidate; its text may still be no text."""
    if isinstance(given, Candidate):
        return given
    if isinstance(given, Document):
        return Candidate(given.id, given.text, given.title, given.metadata)
    return Candidate(id=str(index), text=given)


def _full_text(candidate: Candidate) -> object:
    """What the model reads: the title, then the text. Not a string where the text is none."""
    if not isinstance(candidate.text, str) or not candidate.title:
        return candidate.text
    return _title_part(candidate) + candidate.text


def _title_part(candidate: Candidate) -> str:
    return f"{candidate.title}\n" if candidate.title else ""


def _first_rank(index: int, candidate: Candidate) -> int:
    return candidate.rank if candidate.rank is not None else index + 1


def _hit(rank: int, index: int, candidate: Candidate, outcome: Outcome, score: float) -> Hit:
    row = outcome.rows.get(index)
    logit = float(outcome.logits[index])
    scored = math.isfinite(logit)
    end = max(row.end - len(_title_part(candidate)), 0) if row and scored else 0
    return Hit(
        rank=rank,
        index=index,
        id=candidate.id,
        score=float(score) if scored else None,
        logit=logit if scored else None,
        text=candidate.text,
        first_stage_rank=_first_rank(index, candidate),
        first_stage_score=candidate.score,
        tokens_seen=row.seen if row and scored else 0,
        tokens_dropped=row.dropped if row else 0,
        span=(0, end),
        status=outcome.statuses[index],
        stages=int(outcome.stages[index]),
        title=candidate.title,
        metadata=candidate.metadata,
    )


def _behind(outcome: Outcome) -> NDArray[np.int8]:
    """0 for what stayed in the race, and more the earlier a text was let go."""
    return np.where(outcome.let_go, 100 - outcome.stages, 0).astype(np.int8)


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise QueryError(f"query: expected text, got {type(query).__name__}")
    if not query.strip():
        raise QueryError("query: empty; say what to look for")
    if not is_text(query):
        raise QueryError("query: has lone surrogates, so it is no text; decode its bytes again")


def _check_documents(documents: object) -> None:
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise InputError(f"documents: expected a list of them, got {type(documents).__name__}")


def _budget(budget_ms: float | None) -> float | None:
    if budget_ms is not None and not (_is_finite(budget_ms) and budget_ms >= 0):
        raise InputError(f"budget_ms={budget_ms!r}: expected milliseconds from 0, or None")
    return budget_ms


def _weight(given: float | None, fitted: float) -> float:
    if given is None:
        return fitted
    if not (_is_finite(given) and given >= 0):
        raise InputError(f"fusion_weight={given!r}: expected a number from 0, or None")
    return given


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)
