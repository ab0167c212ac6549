"""`ResiftCrossEncoder`: any second stage of resift in ``mteb.evaluate``."""

import logging
import os
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np

from resift.errors import InputError, QueryError
from resift.extras import require
from resift.integrations.pairs import Scores, score_pairs
from resift.rerank.ranker import Ranker
from resift.rerank.reranker import Reranker
from resift.search.options import check_component

ModelMeta: Any = require("mteb.models.model_meta", "mteb").ModelMeta

_log = logging.getLogger("resift")


class ResiftCrossEncoder:
    """A cross-encoder for ``mteb.evaluate(ResiftCrossEncoder(), tasks)``.

    `model` and `revision` are what `Reranker` opens; None is the bundled model. `reranker` is
    another `Ranker` instead. It reranks the documents that a task names for each query, as MTEB's
    reranking tasks do and `AbsTaskRetrieval.convert_to_reranking`. `device` is ignored.

    `mteb_model_meta` has the model's name (``resift/NAME`` if it names no organisation) and its
    fingerprint as the revision, so that MTEB's result cache tells int8 from the original model.
    `budget_ms` is a limit for all pairs of a subset. Raises as `Reranker` does.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        device: str | None = None,
        *,
        reranker: Ranker | None = None,
        budget_ms: float | None = None,
    ) -> None:
        check_component("reranker", reranker, "rank", "model")
        if model is not None and reranker is not None:
            raise InputError(f"model={model}: expected None beside a reranker")
        self.reranker: Any = Reranker(model, revision=revision) if reranker is None else reranker
        self.budget_ms = budget_ms
        name = str(getattr(self.reranker, "name", type(self.reranker).__name__))
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": name if "/" in name else f"resift/{name}",
                "revision": getattr(self.reranker, "fingerprint", None),
                "max_tokens": getattr(self.reranker, "max_tokens", None),
                "model_type": ["cross-encoder"],
            }
        )

    def predict(
        self,
        inputs1: Iterable[Any],
        inputs2: Iterable[Any],
        *,
        task_metadata: Any = None,
        hf_split: str | None = None,
        hf_subset: str | None = None,
        prompt_type: Any = None,
        **options: Any,
    ) -> Scores:
        """Logits of pairs, float32 ``(n,)``, in input order.

        `inputs1` and `inputs2` are loaders of batches with ``text``: a query and a document a pair.
        Pairs that cannot be scored get a logit below all others: documents without a text, empty
        queries, and what was late. A query that is longer than the model reads is cut to half of
        that, with a warning: it is never cut elsewhere. The other arguments change nothing.

        Raises `InputError` for inputs without text, or of two lengths.
        """
        queries, documents = _texts(inputs1), _texts(inputs2)
        if len(queries) != len(documents):
            raise InputError(
                f"inputs2: {len(documents)} texts for {len(queries)} queries; expected as many"
            )
        readable = self._readable(queries)
        rows = [index for index, query in enumerate(queries) if readable[query] is not None]
        pairs = [(readable[queries[index]], documents[index]) for index in rows]
        logits = np.full(len(queries), np.nan, np.float32)
        logits[rows], _ = score_pairs(self.reranker, pairs, self.budget_ms)
        unscored = np.isnan(logits)
        logits[unscored] = 0.0 if unscored.all() else logits[~unscored].min() - 1.0
        return logits

    def _readable(self, queries: Iterable[str]) -> dict[str, str | None]:
        """Each query as the model can read it; None for an empty one."""
        readable: dict[str, str | None] = {}
        cut = 0
        for query in queries:
            if query in readable:
                continue
            readable[query] = query if query.strip() else None
            if readable[query] and self._is_too_long(query):
                half_tokens = self.reranker.max_tokens // 2
                readable[query] = self.reranker.cut([query], half_tokens)[0]
                cut += 1
        if cut:
            _log.warning("%d queries are longer than the model reads: cut to half of that", cut)
        return readable

    def _is_too_long(self, query: str) -> bool:
        if not hasattr(self.reranker, "room"):
            return False
        try:
            self.reranker.room(query)
        except QueryError:
            return True
        return False


def _texts(loader: Iterable[Any]) -> list[str]:
    """The texts of all batches."""
    try:
        return list(chain.from_iterable(batch["text"] for batch in loader))
    except KeyError as error:
        raise InputError(f"inputs: a batch without {error}; resift reads texts only") from error
