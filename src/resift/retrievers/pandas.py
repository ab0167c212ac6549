"""A DataFrame of pandas as a first stage, indexed in memory."""

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError, shown
from resift.extras import require
from resift.index.analysis.spec import ENGLISH, checked_choice
from resift.rerank.values import is_missing
from resift.retrievers.arguments import question
from resift.retrievers.bm25 import Bm25, best_rows
from resift.retrievers.dense import Embed, check_embed, checked_mode, query_vector
from resift.retrievers.rows import by_mode
from resift.search.options import Mode
from resift.types import Candidate


class PandasRetriever:
    """Rows of a DataFrame, found by BM25, by the cosine of their vectors, or both.

    It copies the frame and indexes it once: later changes of the frame are not seen. Threads may
    share it. The id of a row is its index, or its value in `id` (its text if that is missing); all
    other columns are metadata. BM25 has resift's analyser; the score of both retrievers is the
    reciprocal rank fusion of the two orders.
    """

    def __init__(
        self,
        frame: Any,
        *,
        text: Hashable = "text",
        id: Hashable | None = None,
        title: Hashable | None = None,
        vector: Hashable | None = None,
        embed: Embed | None = None,
        mode: Mode | None = None,
        language: str = ENGLISH,
    ) -> None:
        """Index the texts.

        `vector` is a column of vectors of one length, None in rows without one, and `embed`
        encodes the query as these were. `mode` is by default hybrid with both, else lexical.
        `language` is that of the texts, as for `Index`. Raises `InputError` and `MissingExtra`.
        """
        if not isinstance(frame, require("pandas", "pandas").DataFrame):
            raise InputError(f"frame: expected a pandas.DataFrame, got {type(frame).__name__}")
        _check_columns(frame, text=text, id=id, title=title, vector=vector)
        check_embed(embed)
        self._embed = embed
        missing = None if vector is not None and embed is not None else "vector= and embed="
        self._mode = checked_mode(mode, dense=missing, lexical=None)
        used = {name for name in (text, id, title) if name is not None}
        self._frame = _copied_frame(frame, without=None if vector in used else vector)
        self._others = [name for name in self._frame.columns if name not in {*used, vector}]
        self._text, self._id, self._title = text, id, title
        self._bm25 = None
        if self._mode != "dense":
            spoken = checked_choice(None, language).language or ENGLISH
            self._bm25 = Bm25(map(self._full_text, range(len(frame))), spoken)
        self._vectors = None if self._mode == "lexical" else _unit_vectors(frame[vector])

    def __repr__(self) -> str:
        return f"<PandasRetriever {self.name}>"

    @property
    def name(self) -> str:
        """The mode and the number of rows."""
        return f"{self._mode} of a DataFrame of {len(self._frame)} rows"

    def __call__(self, query: str, k: int) -> list[Candidate]:
        """The best `k` rows, best first. Raises the errors of `embed`."""
        query = question(query)
        return by_mode(
            self._mode,
            k,
            lambda count: self._lexical(query, count),
            lambda count: self._dense(query, count),
        )

    def _lexical(self, query: str, k: int) -> list[Candidate]:
        return [] if self._bm25 is None else self._candidates(self._bm25.best(query, k))

    def _dense(self, query: str, k: int) -> list[Candidate]:
        vector = query_vector(self._embed, query)
        if vector is None or self._vectors is None:
            return []
        if len(vector) != self._vectors.shape[1]:
            raise InputError(
                f"embed: returned a vector of {len(vector)} numbers, those of the frame have "
                f"{self._vectors.shape[1]}: use the model that made them"
            )
        unit = _unit(np.array(vector)).astype(np.float32)
        rows = np.flatnonzero(self._vectors.any(axis=1))
        return self._candidates(best_rows(self._vectors @ unit, rows, k))

    def _candidates(self, best: list[tuple[int, float]]) -> list[Candidate]:
        return [self._candidate(row, rank, score) for rank, (row, score) in enumerate(best, 1)]

    def _candidate(self, row: int, rank: int, score: float) -> Candidate:
        name = self._frame.index[row] if self._id is None else self._value(row, self._id)
        title = None if self._title is None else self._value(row, self._title)
        text = self._value(row, self._text)
        return Candidate(
            id=str(text if name is None else name),
            text=text,
            title=title if isinstance(title, str) else "",
            metadata={str(name): self._value(row, name) for name in self._others},
            rank=rank,
            score=score,
        )

    def _value(self, row: int, column: Hashable) -> Any:
        """A value in a plain type, of containers a copy; None if it is missing."""
        value = self._frame[column].iloc[row]
        if is_missing(value):
            return None
        return value.item() if isinstance(value, np.generic) else _copied(value)

    def _full_text(self, row: int) -> str:
        names = [name for name in (self._title, self._text) if name is not None]
        texts = [self._value(row, name) for name in names]
        return "\n".join(text for text in texts if isinstance(text, str))


def _check_columns(frame: Any, **columns: Hashable | None) -> None:
    """Raise `InputError` for a column that is not there, or there twice."""
    if not frame.columns.is_unique:
        raise InputError("frame: expected columns with different names")
    for argument, name in columns.items():
        if name is not None and name not in frame.columns:
            names = ", ".join(map(str, frame.columns[:8]))
            raise InputError(f"{argument}={shown(name)}: no such column; the frame has {names}")


def _copied_frame(frame: Any, without: Hashable | None) -> Any:
    """A frame of its own, also of the lists and arrays in its cells, without a column."""
    copy = frame.drop(columns=[] if without is None else [without]).copy()
    for name in copy.columns:
        if copy[name].dtype == object:
            copy[name] = copy[name].map(_copied)
    return copy


def _copied(value: Any) -> Any:
    """A container with copies of the containers in it, an array as a list; others as they are."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(map(_copied, value))
    if isinstance(value, np.ndarray):
        return _copied(value.tolist()) if value.dtype.kind in "biufUSO" else value.copy()
    return value.copy() if isinstance(value, bytearray) else value


def _unit_vectors(column: Any) -> NDArray[np.float32]:
    """The vectors of a column with length 1, ``(rows, dim)``; zero where there is none."""
    lengths = {len(value) for value in column if not _is_absent(value)}
    if len(lengths) != 1:
        raise InputError(
            f"vector={shown(column.name)}: expected vectors of one length, got "
            f"{', '.join(map(str, sorted(lengths))) or 'none'}"
        )
    vectors = np.zeros((len(column), lengths.pop()), np.float32)
    for row, value in enumerate(column):
        if not _is_absent(value):
            vectors[row] = _unit(_numbers(column.name, value))
    return vectors


def _numbers(column: Hashable, value: Any) -> NDArray[np.float64]:
    """A vector of the frame. Raises `InputError` for anything but a list of finite numbers."""
    try:
        vector = np.asarray(value)
        if vector.dtype.kind not in "iufO" or vector.ndim != 1:
            raise ValueError
        vector = vector.astype(np.float64)
        if not np.isfinite(vector).all():
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"vector={shown(column)}: {shown(value)}: expected a list of finite numbers, or None"
        ) from None
    return vector


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector with length 1; a zero vector stays one. No square of it overflows."""
    largest = np.abs(vector).max(initial=0.0)
    if largest == 0.0:
        return vector
    scaled = vector / largest
    unit: NDArray[np.float64] = scaled / np.linalg.norm(scaled)
    return unit


def _is_absent(value: Any) -> bool:
    return not hasattr(value, "__len__") or isinstance(value, str)
