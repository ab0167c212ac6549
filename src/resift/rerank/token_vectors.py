"""How a multi-vector model (ColBERT) reads queries and documents: its settings in the manifest.

A text's row is ``[CLS] marker tokens [SEP]``. A query's row is expanded by a mask token to
`query_length`; longer ones stay as they are. Knows no runtime and no text.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.rerank.calibration import Platt
from resift.rerank.values import token_ids

_IDS = ("query_marker", "document_marker", "query_skiplist", "document_skiplist")
_LOGISTIC = math.pi / math.sqrt(3)  # the standard deviation of the logistic distribution

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """Token ids and settings of a multi-vector model.

    The markers follow the first special token. `expansion_token` None expands no query; other
    tokens attend to expansion tokens only with `attends_to_expansion`. Tokens of the skiplists are
    read and are not compared. A logit is the sum of the query tokens' best cosines, with `is_mean`
    their mean. `centre` and `spread` are the mean and the standard deviation of float32 logits of
    the lists that the conversion checks.
    """

    query_marker: tuple[int, ...]
    document_marker: tuple[int, ...]
    query_length: int
    expansion_token: int | None
    attends_to_expansion: bool
    query_skiplist: tuple[int, ...]
    document_skiplist: tuple[int, ...]
    is_mean: bool = False
    centre: float = 0.0
    spread: float = 1.0

    @property
    def curve(self) -> Platt:
        """From logits to scores in 0..1.

        A score is about the share of the conversion's pairs with a lower logit: the logistic
        distribution with their mean and deviation. It is no probability of relevance.
        """
        scale = _LOGISTIC / self.spread
        return Platt(scale, -scale * self.centre)

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides a logit."""
        values = asdict(self)
        del values["centre"], values["spread"]
        return values

    def query_ids(self, ids: Ids) -> tuple[Ids, Ids]:
        """A query's row → its ids with expansion ``(n,)``, and their attention mask."""
        mask = np.ones(len(ids), np.int64)
        missing = self.query_length - len(ids)
        if self.expansion_token is None or missing <= 0:
            return ids, mask
        ids = np.concatenate([ids, np.full(missing, self.expansion_token, np.int64)])
        return ids, np.concatenate([mask, np.full(missing, self.attends_to_expansion, np.int64)])

    @classmethod
    def of(cls, **values: Any) -> "TokenVectors":
        """Read from JSON. Raises `ValueError` and `TypeError`."""
        for name in _IDS:
            values[name] = token_ids(values.get(name), name)
        token, length = values.get("expansion_token"), values.get("query_length")
        if token is not None:
            token_ids([token], "expansion_token")
        if type(length) is not int or length < 0:
            raise ValueError(f"query_length {length!r}, expected a whole number from 0")
        for name in ("attends_to_expansion", "is_mean"):
            if type(values.get(name)) is not bool:
                raise ValueError(f"{name} {values.get(name)!r}, expected true or false")
        vectors = cls(**values)
        if not _is_positive(vectors.spread):
            raise ValueError(f"spread {vectors.spread!r}, expected a number above 0")
        if not math.isfinite(vectors.curve.bias):
            raise ValueError(f"centre {vectors.centre!r}, expected a number")
        return vectors


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and value > 0
