"""BM25 scores with the statistics of several tables together. Does not use Lance.

Lance scores the rows of a table with the statistics of that table, so that scores of two tables
cannot be compared. These are the scores that one table with the rows of all of them would give:
with k1 = 1.2 and b = 0.75, as in Lance (Robertson, Zaragoza: The Probabilistic Relevance
Framework, 2009).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resift.index.table.rows import TERMS

_K1, _B = 1.2, 0.75


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a query's tokens in a column whose rows have `mean_length` tokens."""

    idf: Mapping[str, float]
    mean_length: float

    def score(self, tokens: Sequence[str]) -> float:
        """The score of a row with these tokens; 0 if it has none of the query's."""
        norm = _K1 * (1 - _B + _B * len(tokens) / self.mean_length) if self.mean_length else 0.0
        total = 0.0
        for token, idf in self.idf.items():
            if count := tokens.count(token):
                total += idf * (_K1 + 1) * count / (count + norm)
        return total


def weights(frequencies: Mapping[str, int], rows: int, tokens: int) -> Weights:
    """The weights of tokens, each of which occurs in so many of the `rows` with these `tokens`."""
    idf = {
        token: math.log(1 + (rows - count + 0.5) / (count + 0.5))
        for token, count in frequencies.items()
    }
    return Weights(idf, tokens / rows if rows else 0.0)


@dataclass(frozen=True, slots=True)
class QueryWeights:
    """The weights of a query's `QueryTerms`, each in its column."""

    terms: Weights
    words: Weights
    identifiers: Weights

    def uses(self, column: str) -> bool:
        """Whether the query has terms for a column of the table."""
        exact = self.words.idf or self.identifiers.idf
        return bool(self.terms.idf if column == TERMS else exact)
