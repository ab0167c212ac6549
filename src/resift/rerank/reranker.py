"""Reranker: the class that users hold. Candidates in, Ranking out."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from resift.errors import ArtifactError, InputError
from resift.files import from_home
from resift.rerank.artifact import load_artifact
from resift.rerank.caches import StateCache, open_cache
from resift.rerank.calibration import open_scale
from resift.rerank.candidate_stream import NOTHING_UNREAD, UnreadCandidates, read_candidates
from resift.rerank.candidates import (
    as_candidates,
    check_lists,
    check_queries,
    check_query,
    full_text,
)
from resift.rerank.catalogue import BUNDLED, checked_name, named_by, resolve
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import TOLERANCE, EarlyExit
from resift.rerank.engine import Engine
from resift.rerank.explain import Occlusion
from resift.rerank.hints import Hints
from resift.rerank.models import load_model
from resift.rerank.options import RankOptions, checked_budget, checked_flag, checked_steps
from resift.rerank.precompute import unpack_all
from resift.rerank.request import Steps
from resift.rerank.result import ScoredCandidates, interpolation, make_ranking
from resift.rerank.state import CandidateTexts
from resift.rerank.tuning import open_tuning
from resift.rerank.verify import Verification, reference_logits, references, verified
from resift.settings import Settings, StorageSettings, checked_settings
from resift.types import Candidate, DocumentLike, Explanation, Precomputed, Ranking


class Reranker:
    """Puts documents in the order of their relevance to a query.

    ``Reranker()`` is the bundled model; `model` names another one: a folder that ``resift convert``
    made. `calibration` is a file that ``resift calibrate`` made for this model: scores are then
    probabilities of relevance. The model is loaded here. Threads may share a reranker; a copy is
    the object itself, and a pickle opens the model again where it is loaded, once a process.

    ``with Reranker() as reranker`` closes it at the end. Raises `ModelNotFound`, `ArtifactError`
    and `CalibrationError`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        calibration: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = checked_settings(settings)
        with named_by(None if model is not None else settings.origin("model")):
            # Absolute: a fork opens the files again, in whatever folder it is by then.
            folder = resolve(model if model is not None else settings.model, revision).absolute()
            artifact = load_artifact(folder)
        self._manifest = artifact.manifest
        name = calibration if calibration is not None else settings.calibration
        file = None if name is None else from_home(checked_name("calibration", name))
        with named_by(None if calibration is not None else settings.origin("calibration")):
            self._scale = open_scale(self._manifest.scale, self.name, self.fingerprint, file)
        self._opened_with = (
            None if folder == BUNDLED else folder,
            file and file.absolute(),
            replace(settings, storage=StorageSettings(), embedder=None, embedder_key=None),
        )
        loaded = load_model(artifact, settings.runtime, settings.threads)
        self._runtime = loaded.runtime
        logits_key = f"{self.fingerprint} {loaded.runtime}"
        self._engine = Engine(
            loaded,
            self._manifest.exits,
            max_memory_mb=settings.max_memory_mb,
            cache=open_cache(settings, logits_key),
            state_cache=StateCache(settings.state_cache_mb) if settings.state_cache_mb else None,
            tuning=open_tuning(settings, logits_key),
        )
        self._occlusion = Occlusion(self._engine)
        self._hints = Hints()

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (*self._opened_with, self.fingerprint)

    def __deepcopy__(self, memo: object = None) -> Self:
        return self

    __copy__ = __deepcopy__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the model, end the threads and close the cache file.

        Calls that are under way, and calls from then on, raise `RerankerClosed`; rankings stay
        readable, but cannot be explained. Other rerankers of the same model are not affected.
        Closing twice does nothing.
        """
        self._engine.close()

    @property
    def name(self) -> str:
        """The model's name, from its manifest."""
        return self._manifest.name

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with anything that changes a logit."""
        return self._manifest.fingerprint

    @property
    def precomputes_states(self) -> bool:
        """Whether `precompute` gives token states: a late-interaction model does."""
        return self._engine.model.state_type is not None

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
    ) -> Ranking:
        """The documents in the order of their relevance: all, or the best `top_n`.

        Give `top_n` for speed. A model with early exits then stops scoring candidates that cannot
        reach the first `top_n` any more (`Receipt.pruned`); without `top_n` every candidate runs
        through the whole model.

        Args:
            query: What was searched for. It is never cut.
            documents: Strings, `Document`, `Candidate`, `Hit` or mappings with ``text``. One that
                cannot be read is a hit with a `status`, never an error. Under a budget, at most ten
                thousand documents are drawn from an iterable without a length.
            top_n: How many hits to return; None is all.
            budget_ms: Milliseconds for the whole call, from reading the documents to the result.
                Candidates that were not scored in time follow behind the rest in first-stage order,
                and the receipt is `partial`. None and infinity are no limit; with 0 the result is
                what is cached.
            exact: True forbids early exit.
            tolerance: The probability, 0 to 0.5, on either side, that a logit changes more after an
                early exit than the exit assumes. Lower is safer and slower.
            fusion_weight: Weight of the first stage. The order is by ``logit + fusion_weight ×
                standardised first-stage score``, and pseudo-relevance feedback where the model has
                it (`Hit.feedback`). None is the weight fitted for the model, 0 leaves both out.
                First-stage scores are used only where all readable documents have one.
            min_score: Leave out hits whose score (0 to 1) is lower, and unreadable ones. Candidates
                that were not scored in time stay.
            abstain_below: `Ranking.abstained` is True where all candidates were scored and the best
                score (0 to 1) is lower. Scores are probabilities only with a calibration
                (`Receipt.calibration`).

        Raises:
            QueryError: The query is empty, not text, or longer than the model reads.
            InputError: An argument is out of range, or none of the documents is one.
            Overloaded: Too much work is waiting already.
            RerankerClosed: After `close`.

        """
        options = RankOptions(top_n, fusion_weight, exact, tolerance, min_score, abstain_below)
        deadline = Deadline(checked_budget(budget_ms))
        ranking = self._engine.run(self._rank(query, documents, options, deadline))
        self._hints.give(ranking.receipt, options, of_depth=True)
        return ranking

    async def arank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
    ) -> Ranking:
        """`rank` without blocking the event loop; cancelling the task stops its work.

        Raises `Overloaded` also where more calls are open than can be answered in time. One thread
        reads the documents of all calls: a slow iterable delays the others, so pass a list.
        """
        options = RankOptions(top_n, fusion_weight, exact, tolerance, min_score, abstain_below)
        deadline = Deadline(checked_budget(budget_ms))
        ranking = await self._engine.arun(self._rank(query, documents, options, deadline), deadline)
        self._hints.give(ranking.receipt, options)
        return ranking

    def rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
    ) -> list[Ranking]:
        """A ranking for each query, in order: `rank` with batches across queries.

        `documents` has the documents of each query: ``documents[i]`` belongs to ``queries[i]``.
        Scores are the same as with `rank`; short lists are faster, since documents of different
        queries run in one batch. `budget_ms` is for all queries together. The other arguments are
        as in `rank`.

        Raises as `rank` does, naming the index: for a query before anything runs, for documents
        when they are read. Raises `InputError` where there are not as many lists as queries.
        """
        options = RankOptions(top_n, fusion_weight, exact, tolerance, min_score, abstain_below)
        budget = checked_budget(budget_ms)
        texts = check_queries(queries, self._engine.model.query_row)
        lists = check_lists(documents, len(texts))
        calls = [
            self._rank(text, items, options, Deadline(budget), f"documents[{number}]: ")
            for number, (text, items) in enumerate(zip(texts, lists, strict=True))
        ]
        rankings = self._engine.run_many(calls)
        for ranking in rankings:
            self._hints.give(ranking.receipt, options)
        return rankings

    def score_candidates(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        *,
        steps: Sequence[int] = (),
    ) -> ScoredCandidates:
        """Every pair through every stage; rankings of any depth and weight follow from the result.

        With `steps`, the first so many candidates are scored before the next ones, so that
        `ScoredCandidates.took_ms` says what each depth costs; that is slower than all at once.
        Raises as `rank` does.
        """
        start = time.perf_counter()
        steps = checked_steps(steps)
        query, candidates = check_query(query), as_candidates(documents)
        ends = [step for step in steps if 0 < step < len(candidates)] + [len(candidates)]
        parts, took_ms = [], {}
        for begin, end in pairwise([0, *ends]):
            parts.append(self._engine.run(self._score(query, candidates[begin:end], Deadline())))
            took_ms[end] = (time.perf_counter() - start) * 1000
        return replace(reduce(ScoredCandidates.followed_by, parts), took_ms=took_ms)

    def score(self, query: str, documents: Iterable[DocumentLike]) -> NDArray[np.float32]:
        """Logits in input order, float32 ``(n,)``; NaN for a document that cannot be read.

        All are NaN where the model knows no word of the query. Raises as `rank` does.
        """
        query, candidates = check_query(query), as_candidates(documents)
        texts = [full_text(candidate) for candidate in candidates]
        deadline = Deadline()
        encoded = unpack_all(candidates, texts, self.fingerprint, self._engine.model, deadline)
        steps = self._engine.steps(query, texts, deadline, encoded=encoded, wanted="beginning")
        return self._engine.run(steps).logits

    def explain(self, query: str, document: DocumentLike) -> Explanation:
        """Which sentences of a document move its logit: it is scored once without each.

        Raises as `rank` does, and `InputError` for a document that cannot be read.
        """
        return self._occlusion.explain(query, document)

    def precompute(
        self, documents: Iterable[DocumentLike], *, states: bool = True
    ) -> list[Precomputed | None]:
        """What can be computed of each document without a query, in input order.

        Pass it as `Candidate.precomputed`: `rank` then gives the same logits in less time. It is
        the token ids and, for a late-interaction model, the token states, with which `rank` runs
        only the query and the cross-attention layers. The states take over a kilobyte a token with
        the bundled model; `states=False` leaves them out. None for a document that cannot be read.
        """
        states = checked_flag("states", states)
        texts = [full_text(candidate) for candidate in as_candidates(documents)]
        return self._engine.precompute(texts, self.fingerprint, states)

    def verify(self) -> Verification:
        """Compare the model's logits here with its reference logits.

        Raises `ParityError`, which says what is wrong.
        """
        model = self._engine.model
        logits = reference_logits(model, references(self._manifest))
        return verified(self._manifest, model.runtime, logits)

    def _rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
        where: str = "",
    ) -> Steps[Ranking]:
        """One call; `where` is put before the message of an `InputError` about the documents."""
        started = time.perf_counter()
        query = check_query(query)
        try:
            candidates, unread = yield from read_candidates(documents, deadline)
        except InputError as error:
            if where:
                raise type(error)(f"{where}{error}") from error
            raise
        early_exit = self._early_exit(candidates, options)
        scored = yield from self._score(query, candidates, deadline, early_exit, unread)
        return make_ranking(scored, options, explainer=self._occlusion, started=started)

    def _score(
        self,
        query: str,
        candidates: Sequence[Candidate],
        deadline: Deadline,
        early_exit: EarlyExit | None = None,
        unread: UnreadCandidates = NOTHING_UNREAD,
    ) -> Steps[ScoredCandidates]:
        texts = CandidateTexts(candidates)
        encoded = unpack_all(candidates, texts, self.fingerprint, self._engine.model, deadline)
        state = yield from self._engine.steps(query, texts, deadline, early_exit, encoded)
        return ScoredCandidates(
            query,
            candidates,
            {},
            _state=state,
            _manifest=self._manifest,
            _scale=self._scale,
            _runtime=self._runtime,
            _exact=early_exit is None,
            _unread=unread,
        )

    def _early_exit(
        self, candidates: Sequence[Candidate], options: RankOptions
    ) -> EarlyExit | None:
        """The early exit for the first `top_n`; None where everything runs through every stage."""
        if options.exact or options.top_n is None or not self._manifest.exits:
            return None
        added = interpolation(candidates, options, self._manifest)
        return EarlyExit(options.top_n, added, options.tolerance)


def _opened(
    folder: Path | None, calibration: Path | None, settings: Settings, fingerprint: str
) -> Reranker:
    """The reranker of a pickle: a process that gets one with every task loads the model once."""
    reranker = _open_once(folder, calibration, settings)
    if reranker._engine.closed:
        _open_once.cache_clear()
        reranker = _open_once(folder, calibration, settings)
    if reranker.fingerprint != fingerprint:
        raise ArtifactError(
            f"{reranker.name}: is {reranker.fingerprint} here, and was {fingerprint} where it was "
            "pickled; use the same files and the same version of resift in both processes"
        )
    return reranker


@lru_cache(maxsize=4)
def _open_once(folder: Path | None, calibration: Path | None, settings: Settings) -> Reranker:
    return Reranker(folder or "bundled", calibration=calibration, settings=settings)
