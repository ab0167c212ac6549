"""The statistics of the full-text indexes of a table, read from Lance's own files.

Lance does not tell in how many rows a token occurs. Its files do: a part of an index has a
dictionary of its tokens, and the length of each token's posting list. The format belongs to the
pinned version of Lance; the tests count the tokens themselves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.index.analysis.analyser import QueryTerms
from resift.index.table.bm25 import QueryWeights, Weights, weights
from resift.index.table.rows import EXACT_TERMS, TERMS
from resift.index.table.term_indexes import TERM_INDEXES
from resift.index.table.token_ids import TokenIds

_BATCH_ROWS = 1 << 20
# Lance asks for a file's size and reads its tail; a small file is whole then. Of a large one it
# reads a column besides, and before the numbers of a column where they are.
_REQUESTS_TO_OPEN, _TAIL_BYTES = 2, 1 << 16
_CACHED_TOKENS = 100_000


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an index: its tokens, and in how many rows each occurs, by its number."""

    tokens: TokenIds
    lengths: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class TermStatistics:
    """The statistics of one column: its rows that have tokens, and all of their tokens.

    Reading them took so many `requests` and `bytes`, of a table in a bucket.
    """

    rows: int
    tokens: int
    parts: Sequence[_Part]
    requests: int
    bytes: int

    def frequency(self, token: str) -> int:
        """In how many rows a token occurs."""
        numbers = ((part, part.tokens.get(token)) for part in self.parts)
        return sum(int(part.lengths[number]) for part, number in numbers if number is not None)


class SharedStatistics:
    """The statistics of several tables together. Threads may share it."""

    def __init__(self, tables: Sequence[Mapping[str, TermStatistics]]) -> None:
        """Use the statistics of each table, by column."""
        self._tables = tables
        # Of the tables alone: a reference to this object would keep it in memory for longer.
        self._frequency = lru_cache(_CACHED_TOKENS)(partial(_frequency, tables))

    def weights(self, terms: QueryTerms) -> QueryWeights:
        """The weights of a query's terms."""
        return QueryWeights(
            self._weights(TERMS, terms.terms),
            self._weights(EXACT_TERMS, terms.words),
            self._weights(EXACT_TERMS, terms.identifiers),
        )

    def _weights(self, column: str, line: str) -> Weights:
        columns = [table[column] for table in self._tables]
        frequencies = {token: self._frequency(column, token) for token in line.split()}
        rows, tokens = sum(each.rows for each in columns), sum(each.tokens for each in columns)
        return weights(frequencies, rows, tokens)


def _frequency(tables: Sequence[Mapping[str, TermStatistics]], column: str, token: str) -> int:
    return sum(table[column].frequency(token) for table in tables)


def read_statistics(table: Any) -> Mapping[str, TermStatistics]:
    """Read the statistics of an open Lance table, by column.

    Raise `ValueError` for files of another format. Lance's errors are raised as they are.
    """
    indexes = {index.name: index.segments for index in table.describe_indices()}
    return {
        column: _Reader(table).read(indexes.get(name, ())) for column, name in TERM_INDEXES.items()
    }


class _Reader:
    """Reads the files of a full-text index, and counts its requests as Lance does."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._requests = 0
        self._bytes = 0

    def read(self, segments: Sequence[Any]) -> TermStatistics:
        """Read an index that consists of these segments."""
        rows = tokens = 0
        parts: list[_Part] = []
        for segment in segments:
            if segment.base_id is not None:
                raise ValueError(f"the index {segment.uuid} lies outside of the table")
            folder = f"{self._table.uri}/_indices/{segment.uuid}"
            metadata = self._open(f"{folder}/metadata.lance").metadata().schema.metadata
            for number in map(int, json.loads(metadata[b"partitions"])):
                path = f"{folder}/part_{number}"
                documents = self._open(f"{path}_docs.lance")
                rows += documents.num_rows()
                tokens += int(documents.metadata().schema.metadata[b"total_tokens"])
                parts.append(self._part(path))
        return TermStatistics(rows, tokens, parts, self._requests, self._bytes)

    def _part(self, path: str) -> _Part:
        dictionary = self._column(f"{path}_tokens.lance", "_token_fst_bytes", requests=1)
        lengths = self._column(f"{path}_invert.lance", "_length", requests=2).to_numpy()
        part = _Part(TokenIds(dictionary[0].as_py()), lengths)
        if len(part.tokens) != len(lengths):
            raise ValueError(f"{path}: {len(part.tokens)} tokens, {len(lengths)} posting lists")
        return part

    def _column(self, path: str, column: str, requests: int) -> Any:
        """Read a column; of a large file that takes so many requests."""
        reader = self._open(path, [column])
        if reader.metadata().num_data_bytes > _TAIL_BYTES:
            self._requests += requests
        values = reader.read_all(batch_size=_BATCH_ROWS).to_table()[column]
        self._bytes += values.nbytes
        return values

    def _open(self, path: str, columns: list[str] | None = None) -> Any:
        self._requests += _REQUESTS_TO_OPEN
        file_reader = require("lance.file", "index").LanceFileReader
        options = self._table.latest_storage_options()
        return file_reader(path, storage_options=options, columns=columns)
