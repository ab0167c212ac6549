"""How many tokens of a document are read with a query, and which queries leave no room."""

from pathlib import Path

import pytest

from resift import Reranker
from resift.errors import QueryError
from resift.rerank.tokenization import QueryTooLong

WORD = "red "


def test_room_is_what_is_read_of_a_long_document(in_one_runtime: Reranker) -> None:
    (hit,) = in_one_runtime.rank("red blue", [WORD * 2_000])
    room = in_one_runtime.max_tokens - 2
    assert in_one_runtime.room("red blue") == hit.tokens_seen == room == 510


def test_a_longer_query_leaves_a_cross_encoder_less_room(joint_folder: Path) -> None:
    joint = Reranker(joint_folder)
    room = joint.room("red")
    assert joint.room("red blue red") == room - 2
    (hit,) = joint.rank("red blue red", [WORD * 2_000])
    assert hit.tokens_seen == room - 2


def test_a_query_that_is_too_long_is_told_from_one_that_is_empty(in_one_runtime: Reranker) -> None:
    with pytest.raises(QueryTooLong, match="room for 510"):
        in_one_runtime.room(WORD * 1_000)
    with pytest.raises(QueryError, match="empty") as raised:
        in_one_runtime.room(" ")
    assert not isinstance(raised.value, QueryTooLong)


def test_a_model_says_how_its_weights_are_stored(in_one_runtime: Reranker) -> None:
    assert "int8" in in_one_runtime.quantisation
