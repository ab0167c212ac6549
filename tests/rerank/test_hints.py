"""A hint is given once, and never costs an answer, not where warnings are errors either."""

import logging
import warnings
from pathlib import Path

import pytest

from resift import Reranker
from resift.settings import Settings

DEEP = ["text"] * 101


def test_where_warnings_are_errors_the_answer_stands_and_the_hint_is_logged(
    joint_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = Reranker(joint_folder, settings=Settings())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranking = reranker.rank("lock", DEEP, None, min_score=0.0)
        assert len(ranking) == 101
        reranker.rank("lock", DEEP, None, min_score=0.0)
    messages = [record.getMessage() for record in caplog.records]
    assert [message[:14] for message in messages] == ["101 candidates", "min_score and "]
    assert all(record.name == "resift" for record in caplog.records)
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_hints_name_the_line_that_called(joint_folder: Path) -> None:
    reranker = Reranker(joint_folder, settings=Settings())
    with pytest.warns(UserWarning, match="101 candidates") as caught:
        reranker.rank("lock", DEEP)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="not calibrated") as caught:
        reranker.rank("lock", DEEP, abstain_below=0.5)
    assert caught[0].filename == __file__
