"""`ResiftReranker`: LanceDB's hybrid, vector and full-text queries, put in order by resift."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError, shown
from resift.extras import require
from resift.integrations.lazy_ranker import LazyRanker, rank_arguments
from resift.plain_json import plain
from resift.rerank.options import checked_count
from resift.rerank.ranker import Ranker
from resift.types import Candidate, LongDocuments, Ranking

pa = require("pyarrow", "lancedb")
_LanceReranker: Any = require("lancedb.rerankers", "lancedb").Reranker

SCORE, STATUS, ROW, RECEIPT = "_relevance_score", "_relevance_status", "_rowid", b"resift.receipt"

RANK_CONSTANT = 60
"""k of reciprocal rank fusion (Cormack et al. 2009), as in LanceDB's `RRFReranker`."""


class ResiftReranker(_LanceReranker):
    """A ``lancedb.rerankers.Reranker``: ``table.search(…).rerank(ResiftReranker())``.

    `reranker` is any `resift.Ranker`; without one, the first query opens ``open_ranker(model)``,
    the bundled model by default. `column` has the texts, `title` names a column with titles.
    `top_n` cuts the result; LanceDB's ``limit`` does, too. `budget_ms`, `exact`, `min_score` and
    `long_documents` are as in `Reranker.rank`.

    Rows are in the order of `Reranker.rank`, with ``_relevance_score`` (float32, null for a row
    without a score). Rows that cannot be read, and those that were not scored in time, follow
    behind the others, in the order of the query; of a hybrid query that is LanceDB's default order,
    reciprocal rank fusion. With `return_status` a column ``_relevance_status`` has `Hit.status`.
    ``table.schema.metadata[b"resift.receipt"]`` is the receipt as JSON. As in LanceDB's rerankers,
    `return_score` "relevance" leaves ``_distance`` and ``_score`` out, "all" keeps them. They have
    no influence on the order.

    LanceDB calls rerankers synchronously, also from its asynchronous queries. Threads may share the
    object. It pickles if its ranker does. Errors are those of `Reranker.rank`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        reranker: Ranker | None = None,
        column: str = "text",
        title: str | None = None,
        top_n: int | None = None,
        budget_ms: float | None = None,
        exact: bool = False,
        min_score: float | None = None,
        long_documents: LongDocuments = "cut",
        return_score: str = "relevance",
        return_status: bool = False,
    ) -> None:
        super().__init__(return_score)
        self.column = column
        self.title = title
        self.return_status = return_status
        self._ranker = LazyRanker(model, reranker)
        self._arguments = rank_arguments(
            budget_ms=budget_ms, exact=exact, min_score=min_score, long_documents=long_documents
        )
        top_n = checked_count("top_n", top_n)
        if top_n is not None:
            self._arguments["top_n"] = top_n

    def rerank_hybrid(self, query: Any, vector_results: Any, fts_results: Any) -> Any:
        """Rows of both tables, each row id once, in the reranker's order."""
        return self._reranked(query, self._merged([vector_results, fts_results]))

    def rerank_vector(self, query: Any, vector_results: Any) -> Any:
        """The rows of the table, in the reranker's order."""
        return self._reranked(query, vector_results)

    def rerank_fts(self, query: Any, fts_results: Any) -> Any:
        """The rows of the table, in the reranker's order."""
        return self._reranked(query, fts_results)

    def rerank_multivector(
        self, vector_results: Any, query: Any = None, deduplicate: bool = False
    ) -> Any:
        """Rows of several vector searches: tables, or queries that have not run yet.

        With `deduplicate` each row id is there once; the tables need ``_rowid``, from
        ``with_row_id(True)``. Unlike LanceDB's method, it drops repeated rows before it scores, and
        scores of rows of several queries do not differ.
        """
        results = vector_results if isinstance(vector_results, list) else [vector_results]
        tables = [
            result if isinstance(result, pa.Table) else result.to_arrow() for result in results
        ]
        if deduplicate:
            missing = [table for table in tables if ROW not in table.column_names]
            if missing:
                raise InputError(
                    f"deduplicate: a table without {ROW} (it has "
                    f"{shown(missing[0].column_names)}); search with .with_row_id(True)"
                )
            return self._reranked(query, self._merged(tables))
        return self._reranked(query, pa.concat_tables(tables, **self._concat_tables_args))

    def rank(self, query: str, table: Any) -> Ranking:
        """The `Ranking` of a table's rows: `Hit.index` is the number of the row.

        Raises `InputError` for a table without the column.
        """
        texts = self._texts(table, self.column)
        titles = self._texts(table, self.title) if self.title else [""] * len(texts)
        documents = [
            Candidate(str(index), text, title or "")
            for index, (text, title) in enumerate(zip(texts, titles, strict=True))
        ]
        return self._ranker.rank(_plain_query(query), documents, **self._arguments)

    def _reranked(self, query: Any, table: Any) -> Any:
        if self.score == "relevance":
            names = {"_distance", "_score"} & set(table.column_names)
            table = table.drop_columns(list(names)) if names else table
        if not len(table):
            return self._scored(table, [])
        ranking = self.rank(query, table)
        ordered = table.take(pa.array([hit.index for hit in ranking], pa.int64()))
        receipt = json.dumps(plain(ranking.receipt)).encode()
        scored = self._scored(ordered, ranking)
        return scored.replace_schema_metadata({**(table.schema.metadata or {}), RECEIPT: receipt})

    def _scored(self, table: Any, hits: Sequence[Any]) -> Any:
        scores = pa.array([hit.score for hit in hits], pa.float32())
        table = table.append_column(SCORE, scores)
        if not self.return_status:
            return table
        return table.append_column(STATUS, pa.array([hit.status for hit in hits], pa.string()))

    def _texts(self, table: Any, name: str) -> list[Any]:
        if name not in table.column_names:
            names = ", ".join(table.column_names)
            raise InputError(
                f"column={shown(name)}: the result has {names}; select it, or name another column"
            )
        texts: list[Any] = table.column(name).to_pylist()
        return texts

    def _merged(self, tables: Sequence[Any]) -> Any:
        """Each row id once, by reciprocal rank fusion; first tables decide between equal rows."""
        tables = [table for table in tables if len(table)] or tables[:1]
        combined = pa.concat_tables(tables, **self._concat_tables_args)
        if not len(combined):
            return combined
        ids = combined.column(ROW).to_numpy()
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        ranks = np.concatenate([np.arange(1, len(table) + 1) for table in tables])
        fused = np.bincount(inverse, weights=1.0 / (RANK_CONSTANT + ranks))
        order = np.lexsort((first, -fused))
        merged = combined.take(pa.array(first[order]))
        for name in {"_distance", "_score"} & set(combined.column_names):
            values = _first_values(combined.column(name), inverse, len(first))[order]
            index = merged.column_names.index(name)
            merged = merged.set_column(index, merged.field(index), pa.array(values, pa.float32()))
        return merged


def _first_values(column: Any, inverse: NDArray[np.int64], count: int) -> NDArray[Any]:
    """For each row id the first value that is not null: a score is in one of the tables only."""
    values = np.full(count, None, object)
    for number, value in zip(inverse.tolist(), column.to_pylist(), strict=True):
        if values[number] is None:
            values[number] = value
    return values


def _plain_query(query: Any) -> Any:
    """The words of a full-text query; anything else as it is."""
    if query is None:
        raise InputError(
            "query: LanceDB has none for a search by a vector: use "
            ".rerank(reranker, query_string='…')"
        )
    words = getattr(query, "query", query)
    if isinstance(words, str):
        return words
    raise InputError(
        f"query={shown(query)}: expected text, or a MatchQuery, PhraseQuery or MultiMatchQuery"
    )
