"""Proves that a model runs few different shapes, and that nobody sees the rows that it adds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.rerank.graph_runs import run
from resift.rerank.runtimes import Arrays


class Doubling:
    """A session that doubles each row, and notes how many it got."""

    runtime = "a runtime"
    inputs = frozenset({"rows"})
    outputs: Mapping[str, Any] = {"doubled": None}

    def __init__(self) -> None:
        self.sizes: set[int] = set()

    def run(self, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        self.sizes.add(len(feeds["rows"]))
        return {"doubled": feeds["rows"] * 2}


def test_rows_are_added_for_the_runtime_and_left_out_again() -> None:
    session = Doubling()
    for rows in range(1, 41):
        values = np.arange(rows * 3).reshape(rows, 3)
        result = run(session, {"rows": values, "unread": values})
        assert np.array_equal(result["doubled"], values * 2)
    assert session.sizes == {1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40}


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.int8])
def test_added_rows_keep_the_type(dtype: type) -> None:
    result = run(Doubling(), {"rows": np.ones((5, 2, 3), dtype)})
    assert result["doubled"].dtype == dtype and result["doubled"].shape == (5, 2, 3)


def test_a_batch_has_at_least_so_many_rows() -> None:
    session = Doubling()
    assert run(session, {"rows": np.ones((1, 3))}, least_rows=2)["doubled"].shape == (1, 3)
    assert session.sizes == {2}
