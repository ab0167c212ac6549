"""What users hold: candidates in, Ranking out."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.cores import cores
from resift.errors import ArtifactError
from resift.files import from_home
from resift.rerank.artifact import load_artifact
from resift.rerank.caches import PairCache, StateCache
from resift.rerank.calibration import open_scale
from resift.rerank.candidate_stream import window
from resift.rerank.candidates import as_candidates, check_query, full_text
from resift.rerank.catalogue import BUNDLED, checked_name, named_by, resolve
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import TOLERANCE, EarlyExit
from resift.rerank.engine import Engine
from resift.rerank.explain import Occlusion
from resift.rerank.hints import Hints
from resift.rerank.models import load_model
from resift.rerank.options import RankOptions, checked_budget, checked_flag, checked_steps
from resift.rerank.precompute import EncodedDocument, unpack
from resift.rerank.references import reference_logits
from resift.rerank.request import Steps
from resift.rerank.scored import ScoredCandidates, checked_weight, weighed
from resift.rerank.state import CandidateTexts
from resift.rerank.thresholds import Thresholds
from resift.rerank.tuning import Tuning, processor, tuning_file
from resift.rerank.values import is_text
from resift.rerank.verification import Verification, references, verified
from resift.settings import Settings, StorageSettings, checked_settings
from resift.types import Candidate, Explanation, Given, Precomputed, Ranking

CACHE_MB = 64  # where a file is named and no size


class Reranker:
    """Puts documents in the order of how well each answers a query.

    ``Reranker()`` is the bundled model; a folder is an artifact that ``resift convert`` made.
    `calibration` is a file that ``resift calibrate`` wrote for this model; scores are then chances
    of an answer. The model is loaded here and shared by threads; a copy is the object itself, and a
    pickle opens the model anew where it is read, once a process. Raises `ModelNotFound`,
    `ArtifactError` and `CalibrationError`.
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
            # Absolute: a fork opens its files anew, wherever the process is by then.
            folder = resolve(model if model is not None else settings.model, revision).absolute()
            artifact = load_artifact(folder)
        self._manifest = artifact.manifest
        named = calibration if calibration is not None else settings.calibration
        file = None if named is None else from_home(checked_name("calibration", named))
        with named_by(None if calibration is not None else settings.origin("calibration")):
            self._scale = open_scale(self._manifest, file)
        self._opened_with = (
            None if folder == BUNDLED else folder,
            file and file.absolute(),
            replace(settings, storage=StorageSettings(), embedder=None, embedder_key=None),
        )
        loaded = load_model(artifact, settings.runtime, settings.threads)
        self._engine = Engine(
            loaded,
            self._manifest.exits,
            max_memory_mb=settings.max_memory_mb,
            cache=_cache(settings, f"{self.fingerprint} {loaded.runtime}"),
            state_cache=StateCache(settings.state_cache_mb) if settings.state_cache_mb else None,
            tuning=_tuning(settings, f"{self.fingerprint} {loaded.runtime}"),
        )
        self._occlusion = Occlusion(self._engine)
        self._hints = Hints()

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (*self._opened_with, self.fingerprint)

    def __deepcopy__(self, memo: object = None) -> "Reranker":
        return self

    __copy__ = __deepcopy__

    @property
    def name(self) -> str:
        """The model's name, as its manifest gives it."""
        return self._manifest.name

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with anything that changes a logit."""
        return self._manifest.fingerprint

    @property
    def precomputes_states(self) -> bool:
        """Whether `keep` has more of a document than its tokens: a late-interaction model does."""
        return self._engine.model.state_type is not None

    def rank(
        self,
        query: str,
        documents: Iterable[Given],
        top_n: int | None = 10,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
    ) -> Ranking:
        """The best `top_n` documents in order (all of them with None).

        Where all that can be read has a first stage's score, the order is by ``logit +
        fusion_weight × standardised score``, and a model that is split adds how like a document is
        to those that lead then (`feedback`). None takes the weights fitted for the model; 0 leaves
        both out, and so do scores that some lack, which the receipt says.

        A model of several stages lets go, after each, what cannot reach the `top_n` any more:
        `tolerance` (0 to 0.5) is the chance, on either side, that a logit moves further than is
        reckoned with, and `exact` forbids it. Those let go keep their order behind the rest.

        `budget_ms` is for all of it: tokenising, waiting for other callers, running. What is not
        scored then keeps its first-stage order behind the rest, and the receipt says so. Of more
        than a thousand candidates a fifth of it goes to reading them; first-stage scores count
        among those that were read. An iterable without a length is left after ten thousand
        documents or half of the time, and the receipt says where. Infinity is no limit.

        `min_score` (0 to 1) leaves out what is scored below it or cannot be read; what nobody came
        to score stays. `abstain_below` (0 to 1) makes `Ranking.abstained` say whether all that can be
        read was scored and the best score is below it: then nothing in the window answers. Scores
        are chances only where a calibration was fitted (`Receipt.calibration`).

        Raises `QueryError` for an empty or over-long query, `InputError` for an argument out of
        range or where nothing of what was handed in is a document, and `Overloaded` where too much
        work waits already. One document that cannot be read is a hit with a status, never an error.
        """
        weight = checked_weight(fusion_weight, self._manifest)
        options = RankOptions(top_n, weight, exact, tolerance, Thresholds(min_score, abstain_below))
        deadline = Deadline(checked_budget(budget_ms))
        ranking = self._engine.run(self._rank(query, documents, options, deadline))
        self._hints.of_depth(ranking.receipt)
        self._hints.of_query(ranking.receipt)
        self._hints.of_scores(ranking.receipt, options.thresholds)
        return ranking

    async def arank(
        self,
        query: str,
        documents: Iterable[Given],
        top_n: int | None = 10,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
    ) -> Ranking:
        """`rank` without blocking the event loop; a task that is cancelled stops costing.

        `Overloaded` is raised as well where more calls are open than can be answered in time. All
        calls' documents are read in one thread, so that a slow iterable delays the others: hand in
        a list.
        """
        weight = checked_weight(fusion_weight, self._manifest)
        options = RankOptions(top_n, weight, exact, tolerance, Thresholds(min_score, abstain_below))
        deadline = Deadline(checked_budget(budget_ms))
        ranking = await self._engine.arun(self._rank(query, documents, options, deadline), deadline)
        self._hints.of_query(ranking.receipt)
        self._hints.of_scores(ranking.receipt, options.thresholds)
        return ranking

    def score_candidates(
        self,
        query: str,
        documents: Iterable[Given],
        *,
        steps: Sequence[int] = (),
    ) -> ScoredCandidates:
        """Every pair through every stage; rankings of any depth and weight follow from it.

        With `steps` the first so many candidates are read before the next ones are begun, so that
        `ScoredCandidates.took_ms` says what each depth costs; that is slower than all at once. Raises as
        `rank` does.
        """
        start = time.perf_counter()
        steps = checked_steps(steps)
        query, candidates = check_query(query), as_candidates(documents)
        ends = [step for step in steps if 0 < step < len(candidates)] + [len(candidates)]
        run = self._engine.run
        scored, took_ms = run(self._read(query, candidates[: ends[0]], Deadline())), {}
        took_ms[ends[0]] = (time.perf_counter() - start) * 1000
        for begin, end in pairwise(ends):
            later = run(self._read(query, candidates[begin:end], Deadline()))
            scored = replace(scored, outcome=scored.outcome.joined(later.outcome))
            took_ms[end] = (time.perf_counter() - start) * 1000
        return replace(scored, candidates=candidates, took_ms=took_ms)

    def _rank(
        self,
        query: str,
        documents: Iterable[Given],
        options: RankOptions,
        deadline: Deadline,
    ) -> Steps[Ranking]:
        start = time.perf_counter()
        query = check_query(query)
        candidates, rest = yield from window(documents, deadline)
        scored = yield from self._read(query, candidates, deadline, options)
        hits, receipt = replace(scored, rest=rest).ranked(
            options.top_n, fusion_weight=options.weight, thresholds=options.thresholds
        )
        total = {"total": (time.perf_counter() - start) * 1000}
        receipt = replace(receipt, timings_ms=dict(receipt.timings_ms) | total)
        return Ranking.of(query, hits, receipt, self._occlusion)

    def _read(
        self,
        query: str,
        candidates: Sequence[Candidate],
        deadline: Deadline,
        options: RankOptions | None = None,
    ) -> Steps[ScoredCandidates]:
        """Score the candidates; with `options` only as far as its first `top_n` need it."""
        texts = CandidateTexts(candidates)
        known = self._known(candidates, texts, deadline)
        early_exit = (
            self._early_exit(candidates, options) if options and self._manifest.exits else None
        )
        outcome = yield from self._engine.steps(query, texts, deadline, early_exit, known)
        scale, runtime = self._scale, self._engine.model.runtime
        return ScoredCandidates(
            query, candidates, outcome, self._manifest, scale, runtime, early_exit is None, {}
        )

    def _early_exit(
        self, candidates: Sequence[Candidate], options: RankOptions
    ) -> EarlyExit | None:
        """The early exit for the first `top_n`; None where everything goes through every stage."""
        if options.exact or options.top_n is None:
            return None
        return EarlyExit(
            options.top_n, weighed(candidates, options.weight, self._manifest), options.tolerance
        )

    def score(self, query: str, documents: Iterable[Given]) -> NDArray[np.float32]:
        """Logits in input order, float32 ``(n,)``; NaN for a document that cannot be read.

        All of them are NaN for a query of which the model knows no word.

        Raises `QueryError` for an empty or over-long query.
        """
        query, candidates = check_query(query), as_candidates(documents)
        texts = [full_text(candidate) for candidate in candidates]
        deadline = Deadline()
        known = self._known(candidates, texts, deadline)
        steps = self._engine.steps(query, texts, deadline, encoded=known, wanted="beginning")
        return self._engine.run(steps).logits

    def explain(self, query: str, document: Given) -> Explanation:
        """Which sentences of a document move its logit for a query: each is left out once.

        Raises `QueryError` as `rank` does and `InputError` for a document that cannot be read.
        """
        return self._occlusion.explain(query, document)

    def precompute(
        self, documents: Iterable[Given], *, states: bool = True
    ) -> list[Precomputed | None]:
        """What of each document need not be read again when a query comes, in input order.

        Hand it back as `Candidate.precomputed`. Token ids, and for a late-interaction model its half of the pair as
        well: a `rank` then runs only the query and the meeting of the two, to the same logits.
        `states=False` leaves the half out, which takes over a kilobyte a token with the bundled
        model. None for a document that cannot be read.
        """
        states = checked_flag("states", states)
        texts = [full_text(candidate) for candidate in as_candidates(documents)]
        return self._engine.precompute(texts, self.fingerprint, states)

    def _known(
        self, candidates: Sequence[Candidate], texts: Sequence[object], deadline: Deadline
    ) -> dict[int, EncodedDocument]:
        """What is known of the candidates, by place, as far as deadline goes."""
        model = self._engine.model
        found = {
            place: unpack(
                own.precomputed, text, self.fingerprint, model.state_type, model.state_bytes
            )
            for place, own in enumerate(candidates)
            if own.precomputed is not None and not deadline.spent
            if isinstance(text := texts[place], str) and is_text(text)
        }
        return {
            place: known
            for place, known in found.items()
            if known is not None and model.has(known.tokens.ids)
        }

    def verify(self) -> Verification:
        """Read the manifest's reference pairs; `ParityError` says what is wrong with the model."""
        model = self._engine.model
        readings = reference_logits(model, references(self._manifest))
        return verified(self._manifest, model.runtime, readings)


def _cache(settings: Settings, decisive: str) -> PairCache | None:
    """A cache where there is room for one or a file is named."""
    if not (settings.cache_mb or settings.cache_file):
        return None
    file = from_home(settings.cache_file) if settings.cache_file else None
    return PairCache(decisive, settings.cache_mb or CACHE_MB, file)


def _tuning(settings: Settings, decisive: str) -> Tuning:
    """What was chosen on this machine, with so many threads."""
    threads = settings.threads or cores()
    return Tuning(f"{decisive}, {processor()}, {threads} threads", tuning_file(settings))


@lru_cache(maxsize=4)
def _opened(
    folder: Path | None, calibration: Path | None, settings: Settings, fingerprint: str
) -> Reranker:
    """What a pickle says: a process that is handed one with every task loads the model once."""
    opened = Reranker(folder or "bundled", calibration=calibration, settings=settings)
    if opened.fingerprint != fingerprint:
        raise ArtifactError(
            f"{opened.name}: is {opened.fingerprint} here, and was {fingerprint} where it was "
            "pickled; use the same files and the same version of resift in both processes"
        )
    return opened
