"""Term matching: learned sparse retrieval as a feature of late interaction.

A small masked language model, trained as SPLADE (Formal et al. 2021,
https://arxiv.org/abs/2107.05720), gives a text a weight for each term of the vocabulary: ``log(1 +
relu(logit))``, the highest over its tokens. A query's strongest terms, among them words that it
does not contain, are looked up in the document: the feature is the mean of the document's weights
of these terms, weighted by the query's. So only some terms of a document are computed, and its
token states do not depend on the query.
"""

import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from resift.errors import ArtifactError
from resift.rerank.batching import padded_length
from resift.rerank.graph_checks import check_term_graphs
from resift.rerank.graph_runs import TokenStates, run, stored
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow, pad

TERMS = 24
"""Terms of a query; more change no ranking (LOG.md, 2026-11-27)."""

_REMEMBERED_QUERIES = 64  # whose terms are remembered: a query's batches follow one another

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """A query's strongest terms: vectors ``(TERMS, dim)``, biases and shares ``(TERMS,)``.

    The shares add up to 1; those of missing terms are 0.
    """

    vectors: Floats
    biases: Floats
    shares: Floats

    def feature(self, states: Floats) -> float:
        """The mean of a document's weights of the terms; `states` are its tokens' ``(n, dim)``."""
        logits = (self.vectors @ states.T).max(axis=1) + self.biases
        return float(self.shares @ np.log1p(np.maximum(logits, 0)))


class TermTable:
    """The vocabulary's vectors and biases; they are input and output of the language model."""

    def __init__(self, vectors: Floats, biases: Floats, steps: Floats | None) -> None:
        """`vectors` ``(terms, dim)``, `biases` ``(terms,)``; `steps` ``(dim,)`` of int8 states."""
        self.vectors, self.biases = vectors, biases
        self.steps = None if steps is None else steps.astype(np.float32)

    @classmethod
    def read(cls, file: Path) -> "TermTable":
        """Read `TERM_TABLE`. Raises `ArtifactError` if it is none."""
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                stored_table = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, TypeError, BadZipFile, zlib.error) as error:
            raise ArtifactError(f"{file}: not a table of terms; copy the model again") from error
        _check_table(file, stored_table)
        vectors = unpack(stored_table["columns"].T)
        vectors *= stored_table["scales"].astype(np.float32)[:, None]
        return cls(vectors, stored_table["biases"].astype(np.float32), stored_table.get("steps"))

    def exact(self, states: TokenStates) -> Floats:
        """Stored term states as float32."""
        exact = states.astype(np.float32)
        return exact if self.steps is None else exact * self.steps


class TermEncoder:
    """The language model without its output layer, and the terms of recent queries.

    A query's terms are chosen by a graph, not by numpy: numpy's products start threads that compete
    with those of the runtime for a while after (LOG.md, 2026-11-27).
    """

    def __init__(self, encoder: Session, query_terms: Session, table: TermTable) -> None:
        self._encoder, self._query_terms, self._table = encoder, query_terms, table
        self.count, self.dim = table.vectors.shape
        self._recent: OrderedDict[bytes, QueryTerms] = OrderedDict()

    @classmethod
    def open(
        cls, files: Sequence[Path], runtime: str | None = None, threads: int = 0
    ) -> "TermEncoder":
        """Open `TERM_FILES` in a runtime. Raises `ArtifactError` if they are others."""
        *graphs, table = files
        encoder, query_terms = (open_session(graph, runtime, threads) for graph in graphs)
        read = TermTable.read(table)
        check_term_graphs(graphs, [encoder, query_terms], (TERMS, read.vectors.shape[1]))
        return cls(encoder, query_terms, read)

    def states(self, feeds: Mapping[str, NDArray[Any]]) -> TokenStates:
        """Term states of padded rows, ``(rows, positions, dim)``, in their stored type."""
        inputs = {**feeds, "table": self._table.vectors}
        return stored(run(self._encoder, inputs, ["states"], shared=["table"])["states"])

    def exact(self, states: TokenStates) -> Floats:
        """Term states as float32."""
        return self._table.exact(states)

    def of_query(self, row: TokenRow) -> QueryTerms:
        """The strongest terms of a query."""
        return self._terms(self.states(pad([row]))[0][: len(row.ids)])

    def feeds(self, queries: Sequence[TokenStates]) -> dict[str, NDArray[Any]]:
        """Inputs of the late-interaction graph for the term states of each row's query."""
        terms = [self._terms(states) for states in queries]
        return {
            "terms": np.stack([each.vectors for each in terms]),
            "term_biases": np.stack([each.biases for each in terms]),
            "term_shares": np.stack([each.shares for each in terms]),
        }

    def _terms(self, states: TokenStates) -> QueryTerms:
        key = states.tobytes()
        terms = self._recent.pop(key, None) or self._strongest(states)
        self._recent[key] = terms
        while len(self._recent) > _REMEMBERED_QUERIES:
            self._recent.popitem(last=False)
        return terms

    def _strongest(self, states: TokenStates) -> QueryTerms:
        """The terms with the highest weights in a query's stored term states ``(tokens, dim)``."""
        more = padded_length(len(states)) - len(states)  # the last token again changes no maximum
        inputs = {
            "states": np.pad(self.exact(states), ((0, more), (0, 0)), mode="edge"),
            "table": self._table.vectors,
            "table_biases": self._table.biases,
        }
        return QueryTerms(**self._query_terms.run(inputs))


def _check_table(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise `ArtifactError` for arrays of a wrong type or size, or that hold no numbers."""
    columns = arrays.get("columns")
    pairs, terms = columns.shape if columns is not None and columns.ndim == 2 else (0, 0)
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "columns": ("uint8", (pairs, terms)),
        "scales": ("float16", (terms,)),
        "biases": ("float16", (terms,)),
        "steps": ("float32", (2 * pairs,)),
    }
    for name, (kind, shape) in expected.items():
        array = arrays.get(name)
        if array is None and name == "steps":
            continue  # of float states
        actual = "missing" if array is None else f"{array.dtype} {array.shape}"
        if terms < TERMS or actual != f"{kind} {shape}":
            raise ArtifactError(
                f"{file}: {name} {actual}, expected {kind} {shape} for {TERMS} terms or more; copy "
                "the model again"
            )
        if array is not None and not np.isfinite(array).all():
            raise ArtifactError(f"{file}: {name} hold NaN or infinity; copy the model again")


def pack(vectors: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Round to 4 bits, two values a byte ``(terms, dim / 2)``, with a scale a row ``(terms,)``.

    The scale of a row is the one of four with the least squared error.
    """
    best, scales = np.zeros(vectors.shape, np.int8), np.zeros(len(vectors), np.float16)
    least = np.full(len(vectors), np.inf)
    highest = np.abs(vectors).max(axis=1)
    for share in (1.0, 0.9, 0.8, 0.7):
        tried = np.maximum(highest * share / 7, 1e-6).astype(np.float16)
        steps = tried.astype(np.float32)[:, None]
        rounded = np.clip(np.round(vectors / steps), -8, 7)
        errors = np.square(rounded * steps - vectors).sum(axis=1)
        better = errors < least
        best[better], scales[better], least[better] = rounded[better], tried[better], errors[better]
    nibbles = (best + 8).astype(np.uint8)
    packed: NDArray[np.uint8] = nibbles[:, 0::2] | nibbles[:, 1::2] * np.uint8(16)
    return packed, scales


def unpack(packed: NDArray[np.uint8]) -> Floats:
    """The values of `pack`, -8 to 7, ``(terms, dim)``."""
    values = np.empty((len(packed), 2 * packed.shape[1]), np.float32)
    values[:, 0::2] = packed & 15
    values[:, 1::2] = packed >> 4
    values -= 8
    return values
