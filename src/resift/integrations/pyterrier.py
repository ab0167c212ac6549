"""PyTerrier transformers: `ResiftReranker` reranks a results frame, `IndexRetriever` makes one.

``bm25 % 100 >> ResiftReranker() % 10`` reranks a hundred documents and returns ten. Neither needs
Java.
"""

import copy
import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from resift.extras import require
from resift.integrations.index_search import opened_index, search_arguments
from resift.integrations.lazy_ranker import LazyRanker, rank_arguments
from resift.rerank.options import checked_count
from resift.rerank.ranker import Ranker
from resift.search.index import Index
from resift.search.options import Collapse, Mode
from resift.search.options import checked_count as checked_size
from resift.types import DEPTH, Candidate, Hit, LongDocuments, Ranking

try:
    import pandas as pd
    import pyterrier as pt
except ModuleNotFoundError:
    require("pyterrier", "pyterrier")
    raise

STATUS = "relevance_status"
"""The column of `Hit.status`."""

_OFFLINE = {"help_url": None}
"""A drawing's link to documentation, for which PyTerrier would ask its web site."""

_RESULT = ["docno", "title", "text", "metadata", "citation", "score", STATUS, "rank"]


class ResiftReranker(pt.Transformer):
    """Reranks the documents of each query. Batches go across all queries of a frame.

    The input has the columns ``qid``, ``query``, ``docno`` and the text; all rows of a ``qid`` are
    ranked for the query of its first row. The output has the rows of each query together, in rank
    order, with new ``score`` and ``rank`` (from 0) and ``relevance_status`` (`resift.Status`). The
    other columns are there as they were; the index is new.

    ``score`` is `Hit.score`, from 0 to 1. PyTerrier orders by the score alone, so rows without one
    get -1, -2 and so on in first-stage order: they stay behind. Where a reranker does not order by
    its scores, as a chain of two models does, a row has at most the score of the row above.

    ``pipeline.compile()`` moves a following ``% k`` into `top_n`, so that candidates that cannot
    reach it leave the model early; ``exact=True`` switches that off. Threads may share the object;
    copies share the model.
    """

    schematic = _OFFLINE

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        text_attr: str = "text",
        title_attr: str | None = None,
        top_n: int | None = None,
        budget_ms: float | None = None,
        exact: bool = False,
        min_score: float | None = None,
        long_documents: LongDocuments = "cut",
        use_scores: bool = False,
        fusion_weight: float | None = None,
        reranker: Ranker | None = None,
    ) -> None:
        """Load nothing yet: the first frame with rows does.

        Args:
            model: A name of `open_ranker`: a folder, a hub id, a service, a chain. None is the
                settings' model, else the bundled one.
            text_attr: The column of the text.
            title_attr: The column of a title, which the model reads before the text.
            top_n: How many documents to return of each query; None is all.
            budget_ms: Milliseconds for each query; the queries of a frame share them.
            exact: True switches early exits off.
            min_score: Leave out rows with a lower score (0 to 1) and unreadable ones.
            long_documents: How to read what is longer than the model reads (`LongDocuments`).
            use_scores: Whether the input's ``score`` counts too (first-stage interpolation).
            fusion_weight: Its weight; None is the weight fitted for the model.
            reranker: Another second stage instead of `model`.

        Raises `InputError` for invalid values.

        """
        self.model = model
        self.text_attr = text_attr
        self.title_attr = title_attr
        self.top_n = top_n
        self.budget_ms = budget_ms
        self.exact = exact
        self.min_score = min_score
        self.long_documents = long_documents
        self.use_scores = use_scores
        self.fusion_weight = fusion_weight
        self.reranker = reranker
        self._ranker = LazyRanker(model, reranker)
        self._arguments()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The reranked rows. Raises ``pt.validate.InputValidationError`` for missing columns.

        Raises `QueryError` for a query that is empty or that the model cannot read.
        """
        groups, rankings = self._rank(inp)
        positions = [
            rows[hit.index]
            for rows, ranking in zip(groups, rankings, strict=True)
            for hit in ranking
        ]
        hits = [hit for ranking in rankings for hit in ranking]
        output = inp.drop(columns=["score", "rank", STATUS], errors="ignore").iloc[positions]
        output = output.reset_index(drop=True)
        output["score"] = _numbers(
            [score for ranking in rankings for score in _scores([hit.score for hit in ranking])]
        )
        output[STATUS] = _texts([hit.status for hit in hits])
        return pt.model.add_ranks(output)

    def rankings(self, inp: pd.DataFrame) -> dict[Any, Ranking]:
        """The `Ranking` of each ``qid``, with its receipt. Raises as `transform` does.

        ``hit.index`` counts the rows of its ``qid``.
        """
        groups, rankings = self._rank(inp)
        qids = inp["qid"].tolist() if groups else []
        return {qids[rows[0]]: ranking for rows, ranking in zip(groups, rankings, strict=True)}

    def fuse_rank_cutoff(self, k: int) -> "ResiftReranker":
        """PyTerrier's protocol: the same transformer, which returns at most `k` rows a query."""
        fused = copy.copy(self)
        fused.top_n = k if self.top_n is None else min(k, self.top_n)
        return fused

    def _rank(self, inp: pd.DataFrame) -> tuple[list[list[int]], list[Ranking]]:
        """The positions of the rows of each query, and the rankings; opens nothing without rows."""
        columns = ["query", self.text_attr]
        columns += [self.title_attr] if self.title_attr else []
        columns += ["score"] if self.use_scores else []
        pt.validate.result_frame(inp, extra_columns=columns, context=self)
        groups: dict[Any, list[int]] = {}
        for position, qid in enumerate(inp["qid"].tolist()):
            groups.setdefault(qid, []).append(position)
        if not groups:
            return [], []
        queries = inp["query"].tolist()
        candidates = self._candidates(inp)
        return list(groups.values()), self._rank_many(
            [queries[rows[0]] for rows in groups.values()],
            [[candidates[row] for row in rows] for rows in groups.values()],
        )

    def _candidates(self, inp: pd.DataFrame) -> list[Candidate]:
        count = len(inp)
        titles = inp[self.title_attr].tolist() if self.title_attr else [""] * count
        scores = inp["score"].tolist() if self.use_scores else [None] * count
        rows = zip(inp["docno"].tolist(), inp[self.text_attr].tolist(), titles, scores, strict=True)
        return [
            Candidate(str(docno), text, title, score=score) for docno, text, title, score in rows
        ]

    def _rank_many(
        self, queries: Sequence[str], lists: Sequence[Sequence[Candidate]]
    ) -> list[Ranking]:
        ranker = self._ranker.open()
        arguments = self._arguments()
        rank_many = getattr(ranker, "rank_many", None)
        if rank_many is None:
            return [
                self._ranker.rank(query, documents, **arguments)
                for query, documents in zip(queries, lists, strict=True)
            ]
        if "budget_ms" in arguments:
            arguments["budget_ms"] *= len(queries)
        rankings: list[Ranking] = rank_many(queries, lists, **arguments)
        return rankings

    def _arguments(self) -> dict[str, Any]:
        """The arguments of `Ranker.rank`, checked; ``pt.GridSearch`` sets the attributes."""
        return {"top_n": checked_count("top_n", self.top_n)} | rank_arguments(
            budget_ms=self.budget_ms,
            exact=self.exact,
            min_score=self.min_score,
            long_documents=self.long_documents,
            use_scores=self.use_scores,
            fusion_weight=self.fusion_weight,
        )


class IndexRetriever(pt.Transformer):
    """Searches a `resift.Index` for each query, and reranks what it finds.

    The input has the columns ``qid`` and ``query``. The output has a row a hit, with the columns of
    its query and ``docno``, ``title``, ``text``, ``metadata``, ``citation``, ``score``,
    ``relevance_status`` and ``rank`` (from 0).

    ``docno`` is the id of the passage; with ``collapse="document"`` it is that of the document,
    once in a ranking, as qrels of documents need it. Scores are as in `ResiftReranker`; with
    ``rerank=False`` they are the first stage's. Threads may share the object.
    """

    schematic = _OFFLINE

    def __init__(
        self,
        index: Index | str | os.PathLike[str],
        top_n: int = DEPTH,
        *,
        depth: int = DEPTH,
        mode: Mode = "hybrid",
        rerank: bool = True,
        where: str | None = None,
        budget_ms: float | None = None,
        min_score: float | None = None,
        collapse: Collapse | None = None,
    ) -> None:
        """Read nothing yet.

        `index` is an `Index` or the URI of one. The others are the arguments of `Index.search`.
        Raises `InputError` for invalid values.
        """
        self.index: Index = opened_index(index)
        self.top_n = top_n
        self.depth = depth
        self.mode = mode
        self.rerank = rerank
        self.where = where
        self.budget_ms = budget_ms
        self.min_score = min_score
        self.collapse = collapse
        self._arguments()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The hits of each query. Raises ``pt.validate.InputValidationError`` for other columns.

        Raises as `Index.search` does.
        """
        pt.validate.query_frame(inp, extra_columns=["query"], context=self)
        queries = inp.drop(columns=_RESULT, errors="ignore")
        rankings = [self.search_index(query) for query in inp["query"].tolist()]
        counts = [len(ranking) for ranking in rankings]
        output = queries.iloc[np.repeat(np.arange(len(queries)), counts)].reset_index(drop=True)
        hits = [hit for ranking in rankings for hit in ranking]
        output["docno"] = _texts([self._docno(hit) for hit in hits])
        output["title"] = _texts([hit.title for hit in hits])
        output["text"] = _texts([hit.text for hit in hits])
        output["metadata"] = pd.Series([dict(hit.metadata) for hit in hits], dtype=object)
        output["citation"] = pd.Series([hit.citation for hit in hits], dtype=object)
        output["score"] = _numbers(
            [score for ranking in rankings for score in _scores(list(map(self._score, ranking)))]
        )
        output[STATUS] = _texts([hit.status for hit in hits])
        return pt.model.add_ranks(output)

    def search_index(self, query: str) -> Ranking:
        """The `Ranking` of one query, with its receipt. Raises as `Index.search` does."""
        return self.index.search(query, **self._arguments())

    def fuse_rank_cutoff(self, k: int) -> Self:
        """PyTerrier's protocol: the same transformer, which returns at most `k` rows a query."""
        fused = copy.copy(self)
        fused.top_n = min(k, self.top_n)
        return fused

    def _arguments(self) -> dict[str, Any]:
        """The arguments of `Index.search`, checked; ``pt.GridSearch`` sets the attributes."""
        names = ("depth", "mode", "rerank", "where", "budget_ms", "min_score", "collapse")
        top_n = checked_size("top_n", self.top_n)
        return {"top_n": top_n} | search_arguments({name: getattr(self, name) for name in names})

    def _docno(self, hit: Hit) -> str:
        return hit.citation.doc_id if self.collapse and hit.citation else hit.id

    def _score(self, hit: Hit) -> float | None:
        return hit.score if self.rerank else hit.first_stage_score


def _scores(scores: Sequence[float | None]) -> list[float]:
    """Scores of rows in rank order that never rise; see `ResiftReranker`."""
    lowest = float("inf")
    numbers = []
    for score in scores:
        lowest = min(lowest - 1.0, -1.0) if score is None else min(lowest, score)
        numbers.append(lowest)
    return numbers


def _numbers(scores: Sequence[float]) -> pd.Series:
    return pd.Series(scores, dtype="float64")


def _texts(texts: Sequence[str]) -> pd.Series:
    return pd.Series(texts, dtype=str)
