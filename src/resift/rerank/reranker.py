"""`Reranker`, the public class: documents in, `Ranking` out."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from resift.errors import ArtifactError
from resift.files import from_home
from resift.rerank.base import BaseReranker
from resift.rerank.caches import StateCache, open_cache
from resift.rerank.calibration import open_scale
from resift.rerank.candidate_stream import Allowance
from resift.rerank.candidates import as_candidates, check_query, full_text
from resift.rerank.catalogue import (
    ModelSource,
    checked_name,
    named_by,
    open_model,
    removal_told,
)
from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.explain import Occlusion
from resift.rerank.lengths import cut, dropped, taken
from resift.rerank.loading import load_model
from resift.rerank.many import check_many
from resift.rerank.options import (
    RankOptions,
    checked_depths,
    checked_flag,
    checked_long_documents,
)
from resift.rerank.precompute import unpack_all
from resift.rerank.rank_call import RankCalls
from resift.rerank.result import ScoredCandidates
from resift.rerank.tuning import open_tuning
from resift.rerank.verify import (
    Verification,
    compare_with_references,
    reference_logits,
    reference_pairs,
)
from resift.settings import Settings, StorageSettings, checked_settings
from resift.types import DocumentLike, Explanation, LongDocuments, Precomputed, Ranking


class Reranker(BaseReranker):
    """Orders documents by their relevance to a query.

    ``Reranker()`` is the bundled model; `model` is a folder or a hub id. What is not in resift's
    format is fetched, converted to int8, checked and stored the first time. It stays at the commit
    of that time, unless `revision` names another. `label` is the relevance column of a head with
    several, by name or index. With `calibration`, a file of ``resift calibrate`` for this model,
    scores are probabilities. Threads may share a reranker. Copying returns the same object.
    Unpickling opens the model once per process.

    ``with Reranker() as reranker`` closes it. Raises `ModelError`, `MissingExtra`, `InputError`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        label: str | int | None = None,
        calibration: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__()
        settings = checked_settings(settings)
        with named_by(None if model is not None else settings.origin("model")):
            named = model if model is not None else settings.model
            artifact, source = open_model(named, revision, label, settings)
        self._manifest = artifact.manifest
        name = calibration if calibration is not None else settings.calibration
        file = None if name is None else from_home(checked_name("calibration", name))
        with named_by(None if calibration is not None else settings.origin("calibration")):
            self._scale = open_scale(self._manifest.scale, self.name, self.fingerprint, file)
        self._opened_with = (
            source,
            file and file.absolute(),
            replace(settings.without_secrets(), storage=StorageSettings(), embedder=None),
        )
        with removal_told(artifact):
            loaded = load_model(artifact, settings.runtime, settings.threads)
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
        self._calls = RankCalls(self._engine, self._manifest, self._scale, self._occlusion)

    def __repr__(self) -> str:
        return f"<Reranker {self.name} {self.fingerprint}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, (*self._opened_with, self.fingerprint)

    def __deepcopy__(self, memo: object = None) -> Self:
        return self

    __copy__ = __deepcopy__

    def __enter__(self) -> Self:
        self._engine.model  # noqa: B018 - raises RerankerClosed
        return self

    def close(self) -> None:
        """Release the model, end the threads and close the cache file.

        Running and later calls raise `RerankerClosed`. Rankings stay readable, but cannot be
        explained. Other rerankers of the same model are not affected. Closing twice does nothing.
        """
        self._engine.close()

    @property
    def name(self) -> str:
        """The model's name, from its manifest."""
        return self._manifest.name

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify everything that decides a logit."""
        return self._manifest.fingerprint

    @property
    def max_tokens(self) -> int:
        """The most tokens that the model reads at once, special tokens included.

        They are of a query and a document together; a late-interaction model reads so many of each.
        """
        return self._manifest.max_tokens

    @property
    def quantisation(self) -> str:
        """How the model's weights are stored, from its manifest: a text for people."""
        return self._manifest.quantisation

    @property
    def activation(self) -> str:
        """What sentence-transformers gets this model's scores with, such as "identity".

        From the checkpoint's configuration; empty if that names nothing. `Hit.score` does not
        depend on it.
        """
        return self._manifest.activation

    @property
    def precomputes_states(self) -> bool:
        """Whether `precompute` gives token states: True for a late-interaction model."""
        return self._engine.model.state_type is not None

    def _rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        return self._engine.run(self._calls.rank(query, documents, options, deadline))

    async def _arank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        steps = self._calls.rank(query, documents, options, deadline)
        return await self._engine.arun(steps, deadline)

    def _rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        options: RankOptions,
        deadline: Deadline,
    ) -> list[Ranking]:
        texts, lists = check_many(queries, documents, self._engine.model.query_row)
        allowance = Allowance.of(len(lists))
        calls = [
            self._calls.rank(
                text, items, options, deadline.copy(), f"documents[{number}]: ", allowance
            )
            for number, (text, items) in enumerate(zip(texts, lists, strict=True))
        ]
        return self._engine.run_many(calls)

    def score_candidates(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        *,
        depths: Sequence[int] = (),
        long_documents: LongDocuments = "cut",
    ) -> ScoredCandidates:
        """Score all pairs through all stages, for rankings of any depth and weight.

        With `depths` such as [10, 20], the first 10 candidates are scored before the next 10, so
        that `ScoredCandidates.took_ms` has the cost of each depth; in all that is slower. Raises as
        `rank` does.
        """
        start = time.perf_counter()
        depths = checked_depths(depths)
        query, candidates = check_query(query), as_candidates(documents)
        ends = [depth for depth in depths if 0 < depth < len(candidates)] + [len(candidates)]
        mode = checked_long_documents(long_documents)
        parts, took_ms = [], {}
        for begin, end in pairwise([0, *ends]):
            part = candidates[begin:end]
            steps = self._calls.score(query, part, Deadline(), long_documents=mode)
            parts.append(self._engine.run(steps))
            took_ms[end] = (time.perf_counter() - start) * 1000
        return replace(reduce(ScoredCandidates.followed_by, parts), took_ms=took_ms)

    def score(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        *,
        long_documents: LongDocuments = "cut",
    ) -> NDArray[np.float32]:
        """Logits in input order, float32 ``(n,)``; NaN for a document that cannot be read.

        All are NaN if the model knows no word of the query. Raises as `rank` does.
        """
        query, candidates = check_query(query), as_candidates(documents)
        texts = [full_text(candidate) for candidate in candidates]
        mode, deadline = checked_long_documents(long_documents), Deadline()
        encoded = unpack_all(candidates, texts, self.fingerprint, self._engine.model, deadline)
        steps = self._engine.steps(
            query, texts, deadline, encoded=encoded, wanted="beginning", long_documents=mode
        )
        return self._engine.run(steps).logits

    def explain(self, query: str, document: DocumentLike) -> Explanation:
        """Score a document once without each of its sentences: which of them move its logit?

        Raises as `rank` does, and `InputError` for a document that cannot be read.
        """
        return self._occlusion.explain(query, document)

    def precompute(
        self, documents: Iterable[DocumentLike], *, states: bool = True
    ) -> list[Precomputed | None]:
        """Token ids and token states of each document, in input order, computed without a query.

        Pass them as `Candidate.precomputed`: `rank` then gives the same logits in less time. Only
        late-interaction models have token states; with these, `rank` runs only the query and the
        cross-attention layers. With the bundled model, states take over a kilobyte per token;
        `states=False` leaves them out. None for a document that cannot be read.
        """
        states = checked_flag("states", states)
        texts = [full_text(candidate) for candidate in as_candidates(documents)]
        return self._engine.precompute(texts, self.fingerprint, states)

    def cut(self, texts: Iterable[str], max_tokens: int) -> list[str]:
        """The beginning of each text that has at most `max_tokens` of the model's tokens.

        A string with lone surrogates, or what is no string, stays as it is.
        """
        return cut(self._engine.model, texts, max_tokens)

    def dropped(self, query: str, texts: Iterable[str]) -> list[int]:
        """How many tokens of each text `rank` would cut off; 0 for a text that is read whole.

        Of a text of thousands of characters there may be more. Raises `QueryError` for a query that
        `rank` refuses.
        """
        return dropped(self._engine.model, check_query(query), texts)

    def room(self, query: str) -> int:
        """How many tokens of a document `rank` reads at most with this query.

        A cross-encoder reads both together, so that a longer query leaves less. Raises `QueryError`
        for a query that `rank` refuses.
        """
        return self.max_tokens - taken(self._engine.model, check_query(query))

    def watched(self, watch: Callable[[Any], None]) -> AbstractContextManager[None]:
        """A context in which `watch` gets a `resift.rerank.watchers.BatchRun` after each batch.

        The thread that runs the model calls it: it has to be quick, and must not raise.
        """
        return self._engine.watchers.watched(watch)

    def verify(self) -> Verification:
        """Compare the model's logits on this machine with its reference logits.

        Raises `ParityError` with a diagnosis.
        """
        model = self._engine.model
        logits = reference_logits(model, reference_pairs(self._manifest))
        return compare_with_references(self._manifest, model.runtime, logits)


def _unpickle(
    source: ModelSource, calibration: Path | None, settings: Settings, fingerprint: str
) -> Reranker:
    """The reranker of a pickle. A process that unpickles it repeatedly loads the model once."""
    reranker = _open_once(source, calibration, settings)
    if reranker._engine.closed:
        _open_once.cache_clear()
        reranker = _open_once(source, calibration, settings)
    if reranker.fingerprint != fingerprint:
        raise ArtifactError(
            f"{reranker.name}: is {reranker.fingerprint} here, and was {fingerprint} where it was "
            "pickled; use the same files and the same version of resift in both processes"
        )
    return reranker


@lru_cache(maxsize=4)
def _open_once(source: ModelSource, calibration: Path | None, settings: Settings) -> Reranker:
    return Reranker(**source.arguments(), calibration=calibration, settings=settings)
