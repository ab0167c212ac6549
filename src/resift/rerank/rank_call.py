"""The steps of one call of `Reranker.rank`: documents → candidates → scores → ranking."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resift.errors import InputError
from resift.rerank.artifact import Manifest
from resift.rerank.calibration import ScoreScale
from resift.rerank.candidate_stream import (
    NOTHING_UNREAD,
    Allowance,
    UnreadCandidates,
    read_candidates,
)
from resift.rerank.candidates import check_query
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import EarlyExit
from resift.rerank.engine import Engine
from resift.rerank.options import RankOptions
from resift.rerank.precompute import unpack_all
from resift.rerank.request import Steps
from resift.rerank.result import ScoredCandidates, interpolation, make_ranking
from resift.rerank.scorer import Scorer
from resift.rerank.state import CandidateTexts
from resift.types import Candidate, DocumentLike, Explainer, LongDocuments, Ranking


@dataclass(frozen=True, slots=True)
class RankCalls:
    """Makes the steps of calls with one model; `explainer` goes into each ranking."""

    engine: Engine
    manifest: Manifest
    scale: ScoreScale
    explainer: Explainer

    @property
    def scorer(self) -> Scorer:
        """The model, as rankings know it."""
        return Scorer.of(self.manifest, self.scale, self.engine.model.runtime)

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
        where: str = "",
        allowance: Allowance | None = None,
    ) -> Steps[Ranking]:
        """One call; `where` prefixes the message of an `InputError` about the documents.

        `allowance` is for all calls that share a budget.
        """
        started = time.perf_counter()
        query = check_query(query)
        try:
            candidates, unread = yield from read_candidates(documents, deadline, allowance)
        except InputError as error:
            if where:
                raise type(error)(f"{where}{error}") from error
            raise
        early_exit = self._early_exit(candidates, options)
        scored = yield from self.score(
            query, candidates, deadline, early_exit, unread, options.long_documents
        )
        return make_ranking(scored, options, explainer=self.explainer, started=started)

    def score(
        self,
        query: str,
        candidates: Sequence[Candidate],
        deadline: Deadline,
        early_exit: EarlyExit | None = None,
        unread: UnreadCandidates = NOTHING_UNREAD,
        long_documents: LongDocuments = "cut",
    ) -> Steps[ScoredCandidates]:
        texts, model = CandidateTexts(candidates), self.engine.model
        encoded = unpack_all(candidates, texts, self.manifest.fingerprint, model, deadline)
        state = yield from self.engine.steps(
            query, texts, deadline, early_exit, encoded, long_documents=long_documents
        )
        return ScoredCandidates(
            query,
            candidates,
            {},
            _state=state,
            _scorer=self.scorer,
            _exact=early_exit is None,
            _unread=unread,
        )

    def _early_exit(
        self, candidates: Sequence[Candidate], options: RankOptions
    ) -> EarlyExit | None:
        """The early exit for the first `top_n`; None if all candidates run through all stages."""
        if options.exact or options.top_n is None or not self.manifest.exits:
            return None
        added = interpolation(candidates, options, self.scorer)
        return EarlyExit(options.top_n, added, options.tolerance)
