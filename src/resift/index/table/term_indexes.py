"""The full-text indexes: BM25 over the terms of passages, which the analyser makes.

Stems and exact terms are two columns. In one column exact words would count twice and lengthen the
passages: Recall@100 fell by .02 to .06 (LOG.md, 2026-11-26).
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from resift.extras import require
from resift.index.analysis.analyser import QueryTerms
from resift.index.table.bm25 import QueryWeights
from resift.index.table.merging import Part
from resift.index.table.rows import EXACT_TERMS, TERMS

TERM_INDEXES = {TERMS: "terms_bm25", EXACT_TERMS: "exact_terms_bm25"}
"""The names of the indexes by column."""

# An exact word decides between passages with the same stems; more harms. An identifier that is
# written as a whole says much more (`benchmarks/lexical.py`).
_WORD_BOOST, _IDENTIFIER_BOOST = 0.1, 0.5
MORE_ROWS = 50
# The analyser has done all of it.
_AS_THEY_ARE = {
    "base_tokenizer": "whitespace",
    "max_token_length": None,
    "lower_case": False,
    "stem": False,
    "remove_stop_words": False,
    "ascii_folding": False,
    "with_position": False,
}


def index_terms(dataset: Any) -> None:
    """Build both full-text indexes over all rows of a Lance dataset."""
    for column, name in TERM_INDEXES.items():
        dataset.create_scalar_index(column, "INVERTED", name=name, replace=True, **_AS_THEY_ARE)


def search_terms(
    dataset: Any, terms: QueryTerms, k: int, allowed: bytes | None = None
) -> dict[int, float]:
    """Find rows with high sums of BM25 scores: row ids to scores, of `k` rows or more.

    `allowed` are the rows that match a filter, as Lance expects them. The terms and the identifiers
    bring their best `k` rows and 50 more each; each of these rows gets the scores of all terms. So
    the best `k` are approximate: a row that is among neither, because exact words make much of its
    sum, or because it is behind in both, is missed. Lance's exact query for any of several clauses
    computes each row that has any term, which takes about ten times as long (LOG.md, 2026-11-26).
    """
    match = partial(_matches, dataset)
    count = k + MORE_ROWS
    by_terms = match(terms.terms, TERMS, count, allowed)
    by_name = match(terms.identifiers, EXACT_TERMS, count, allowed)
    rows = by_terms.keys() | by_name.keys()
    if by_name:
        only_by_name, only_by_terms = rows - by_terms.keys(), rows - by_name.keys()
        by_terms |= match(terms.terms, TERMS, len(only_by_name), _rows(only_by_name))
        by_name |= match(terms.identifiers, EXACT_TERMS, len(only_by_terms), _rows(only_by_terms))
    by_word = match(terms.words, EXACT_TERMS, len(rows), _rows(rows))
    return {
        row: by_terms.get(row, 0.0)
        + _WORD_BOOST * by_word.get(row, 0.0)
        + _IDENTIFIER_BOOST * by_name.get(row, 0.0)
        for row in rows
    }


def search_shard(
    dataset: Any, terms: QueryTerms, count: int, weights: QueryWeights, allowed: bytes | None = None
) -> Part:
    """Find rows of a shard as `search_terms` does, scored with the weights of all shards.

    The terms and the identifiers bring their best `count` rows each, by the statistics of this
    shard. The score of a row is computed from its terms, which costs less than asking Lance again.
    """
    brought = [
        _matches(dataset, terms.terms, TERMS, count, allowed),
        _matches(dataset, terms.identifiers, EXACT_TERMS, count, allowed),
    ]
    edges = {min(scores, key=scores.__getitem__) for scores in brought if len(scores) == count}
    rows = sorted({row for scores in brought for row in scores})
    if not rows:
        return Part({})
    columns = [column for column in (TERMS, EXACT_TERMS) if weights.uses(column)]
    lines = dataset._take_rows(rows, columns=columns).to_pylist()
    scored = zip(rows, lines, strict=True)
    return Part({row: _score(weights, line) for row, line in scored}, frozenset(edges))


def _score(weights: QueryWeights, line: Mapping[str, str]) -> float:
    """The score of a row with these terms, in the columns that the query has terms for."""
    terms, words = (line.get(column, "").split() for column in (TERMS, EXACT_TERMS))
    return (
        weights.terms.score(terms)
        + _WORD_BOOST * weights.words.score(words)
        + _IDENTIFIER_BOOST * weights.identifiers.score(words)
    )


def _matches(
    dataset: Any, terms: str, column: str, limit: int, allowed: bytes | None
) -> dict[int, float]:
    """The rows with any of these terms, at most `limit`, to their BM25 scores."""
    if not terms or not limit:
        return {}
    query = require("lance.query", "index").MatchQuery(terms, column)
    filtered = {} if allowed is None else {"row_addr_allowlist": allowed}
    rows = dataset.scanner(
        columns=["_score"],
        with_row_id=True,
        full_text_query=query,
        limit=limit,
        prefilter=True,
        **filtered,
    ).to_table()
    return dict(zip(rows["_rowid"].to_pylist(), rows["_score"].to_pylist(), strict=True))


def _rows(row_ids: Iterable[int]) -> bytes:
    serialize = require("lance.dataset", "index").serialize_row_addrs
    return bytes(serialize(sorted(row_ids)))
