"""Cutting keeps the first tokens and no more; what a model drops is known before it ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers_of_scripts import KINDS, SCRIPTS, tokenizer_of

from resift import InputError, QueryError, Reranker
from resift.rerank.characters import next_border
from resift.rerank.lengths import cut
from resift.rerank.models import CrossEncoder
from resift.rerank.tokenization import Tokens

words = st.sampled_from([*SCRIPTS.values(), "playing footballs ", " ", "\n", "🙂", "x" * 300])


class TokensOnly(CrossEncoder):
    """A model that is asked for tokens, and reads 32 of them."""

    def __init__(self, kind: str) -> None:
        self._tokens = Tokens(tokenizer_of(kind), 32)


@pytest.mark.parametrize("kind", KINDS)
@given(parts=st.lists(words, max_size=12), most=st.integers(1, 90))
@example(parts=["🙂"] * 20, most=3)
@example(parts=["playing footballs "] * 300, most=5)
@example(parts=["e\u0301"] * 300, most=7)
@settings(max_examples=60)
def test_a_beginning_has_at_most_so_many_tokens_and_hardly_fewer(
    kind: str, parts: list[str], most: int
) -> None:
    text = "".join(parts)
    (beginning,) = cut(TokensOnly(kind), [text], most)
    assert text.startswith(beginning)
    assert _count(kind, beginning) <= most
    more = len(beginning)
    for _ in range(2):  # a character may be of several tokens, and share one with the next
        while more < len(text) and text[more].isspace():
            more += 1
        more = next_border(text, more + 1)
    assert _count(kind, text[:more]) > most or beginning == text


def _count(kind: str, text: str) -> int:
    return len(tokenizer_of(kind).encode(text, add_special_tokens=False).ids)


def test_short_texts_and_what_is_no_text_stay(in_one_runtime: Reranker) -> None:
    odd: list[Any] = ["two words", "", " \n", "half \ud83d pair " * 9, None, 7, {"text": "a b c"}]
    assert in_one_runtime.cut(odd, 2) == odd


def test_texts_are_cut_one_by_one(in_one_runtime: Reranker) -> None:
    long = "one two three four five " * 400
    assert in_one_runtime.cut(["one two three four", long, "a"], 3) == [
        "one two three",
        "one two three",
        "a",
    ]
    assert in_one_runtime.cut(iter(["one two three"]), np.int64(1)) == ["one"]  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [0, -1, 1.5, "3", None, True])
def test_a_number_of_tokens_is_a_whole_number(in_one_runtime: Reranker, most: Any) -> None:
    with pytest.raises(InputError, match=r"^max_tokens=.*: expected a whole number from 1$"):
        in_one_runtime.cut(["a"], most)


def test_texts_are_a_list(in_one_runtime: Reranker) -> None:
    with pytest.raises(InputError, match=r"^texts: expected a list of texts, got str"):
        in_one_runtime.cut("one two three", 1)
    with pytest.raises(InputError, match=r"^texts: expected a list of them, got int"):
        in_one_runtime.dropped("query", 7)  # type: ignore[arg-type]


def test_a_cut_text_has_the_score_that_its_beginning_has(in_one_runtime: Reranker) -> None:
    text = "the office is closed on sundays and reset is under settings " * 3
    (beginning,) = in_one_runtime.cut([text], 6)
    assert beginning == "the office is closed on sundays"
    first, second = in_one_runtime.score("office", [text, beginning])
    assert first != second


@pytest.mark.parametrize("kind", ["bundled", "cross-encoder"])
def test_dropped_tokens_are_those_of_the_ranking(
    kind: str, in_one_runtime: Reranker, joint_folder: Path
) -> None:
    model = in_one_runtime if kind == "bundled" else Reranker(joint_folder)
    long = "a " * (model.max_tokens + 9)
    documents = ["red", "", long, long + "blue", "red blue " * 3_000]
    ranking = model.rank("red sky", documents)
    expected = [hit.tokens_dropped for hit in sorted(ranking, key=lambda hit: hit.index)]
    dropped = model.dropped("red sky", documents)
    assert dropped[:4] == expected[:4]
    assert dropped[:2] == [0, 0] and dropped[3] == dropped[2] + 1
    assert 0 < dropped[4] < expected[4]  # the rest of a very long text is not counted


def test_queries_that_are_refused_are_refused(in_one_runtime: Reranker) -> None:
    for query in ("", " ", "red " * 1000, "half \ud83d pair"):
        with pytest.raises(QueryError, match=r"^query: "):
            in_one_runtime.dropped(query, ["red"])


def test_the_limit_is_that_of_the_manifest(in_one_runtime: Reranker) -> None:
    assert in_one_runtime.max_tokens == 512
