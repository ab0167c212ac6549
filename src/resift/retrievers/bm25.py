"""BM25 over texts in memory, with the terms of resift's analyser."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.index.analysis.spec import WORDS, AnalyserSpec

_K1, _B = 1.2, 0.75


class Bm25:
    """An inverted index of texts. Threads may share it.

    It has stems and the parts of identifiers, as an `Index` with the analyser ``words`` has, and
    the formula of `resift.index.table.bm25`.
    """

    def __init__(self, texts: Iterable[str], language: str) -> None:
        """Index the texts. Raises `MissingExtra` without the stemmer of the extra index."""
        analyser = require("resift.index.analysis.analyser", "index")
        self._analyser: Any = analyser.open_analyser(AnalyserSpec(WORDS, language))
        rows: dict[str, dict[int, int]] = {}
        lengths = []
        for row, text in enumerate(texts):
            terms = self._analyser.document(text)[0].split()
            lengths.append(len(terms))
            for term in terms:
                frequencies = rows.setdefault(term, {})
                frequencies[row] = frequencies.get(row, 0) + 1
        self._postings = {term: _arrays(frequencies) for term, frequencies in rows.items()}
        length = np.array(lengths, np.float64)
        mean = max(float(length.mean()) if lengths else 0.0, 1.0)
        self._norms = _K1 * (1 - _B + _B * length / mean)

    def best(self, query: str, k: int) -> list[tuple[int, float]]:
        """The numbers and scores of the best `k` texts with a term of the query; ties by number."""
        scores = np.zeros(len(self._norms))
        for term in self._analyser.query(query).terms.split():
            if term in self._postings:
                rows, counts = self._postings[term]
                idf = np.log(1 + (len(scores) - len(rows) + 0.5) / (len(rows) + 0.5))
                scores[rows] += idf * (_K1 + 1) * counts / (counts + self._norms[rows])
        return best_rows(scores, np.flatnonzero(scores > 0), k)


def best_rows(
    scores: NDArray[np.floating[Any]], rows: NDArray[np.intp], k: int
) -> list[tuple[int, float]]:
    """The best `k` of these rows with their scores; ties in the order of rows."""
    order = np.lexsort((rows, -scores[rows]))[:k]
    return [(int(row), float(scores[row])) for row in rows[order]]


def _arrays(frequencies: dict[int, int]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    rows = np.fromiter(frequencies.keys(), np.intp, len(frequencies))
    return rows, np.fromiter(frequencies.values(), np.float64, len(frequencies))
