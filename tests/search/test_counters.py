"""Tokens are counted as the caller asks: by a function, or by a tokenizer with a name."""

import shutil
from collections import UserDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from resift.errors import ArtifactError, InputError, ModelNotFound
from resift.rerank.catalogue import BUNDLED
from resift.search import token_counts
from resift.search.counters import open_counter
from resift.search.token_counts import count_tokens
from search.hits import TEXTS, hit, ranked

TEXT = "The manager approves vacation. " * 5


class Encoding:
    """What some tokenizers give."""

    def __len__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("count", "tokens"),
    [
        (len, len(TEXT)),
        (str.split, 20),
        (lambda text: len(text) / 4, 39),
        (lambda text: Encoding(), 7),
        (lambda text: {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1]}, 3),
        (lambda text: UserDict({"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1]}), 3),
        (lambda text: {"input_ids": [[1, 2, 3]], "attention_mask": [[1, 1, 1]]}, 3),
        (lambda text: {"input_ids": np.ones((1, 3), int)}, 3),
        (lambda text: SimpleNamespace(ids=[1, 2, 3]), 3),
        (lambda text: SimpleNamespace(input_ids=[1, 2, 3]), 3),
        (lambda text: np.ones(3, int), 3),
        (lambda text: np.ones((1, 3), int), 3),
        (lambda text: [[1, 2, 3]], 3),
        (lambda text: [], 0),
        (lambda text: {"input_ids": []}, 0),
    ],
)
def test_a_function_gives_a_number_or_the_tokens(count: Any, tokens: int) -> None:
    assert open_counter(count)(TEXT) == tokens


def test_the_mapping_of_a_tokenizer_keeps_the_budget() -> None:
    def count(text: str) -> dict[str, list[int]]:
        tokens = [1] * len(text.split())
        return {"input_ids": tokens, "attention_mask": tokens}

    context = ranked(hit("One sentence has five words. " * 99)).context(40, count=count)
    assert 20 < len(context.text.split()) == context.tokens <= 40


@pytest.mark.parametrize(
    "counted",
    [
        None, -1, float("nan"), "ten", b"ten", True, object(),
        {"tokens": [1, 2]}, {}, {"input_ids": 3}, {"input_ids": "ten"}, {"input_ids": [[1], [2]]},
        SimpleNamespace(ids=None), [[1, 2], [3]], np.ones((2, 3), int), {1, 2},
    ],
)  # fmt: skip
def test_what_is_no_number_of_tokens_is_named(counted: object) -> None:
    with pytest.raises(InputError, match="count gave"):
        open_counter(lambda text: counted)(TEXT)


def test_a_text_is_counted_once() -> None:
    calls: list[str] = []

    def count(text: str) -> int:
        calls.append(text)
        return 1

    counter = open_counter(count)
    assert [counter("a"), counter("b"), counter("a")] == [1, 1, 1] and calls == ["a", "b"]


@pytest.mark.parametrize("name", ["tokenizer.json", ""])
def test_a_tokenizer_is_a_file_or_a_folder(tmp_path: Path, name: str) -> None:
    shutil.copy(BUNDLED / "tokenizer.json", tmp_path / "tokenizer.json")
    counter = open_counter(tokenizer=tmp_path / name)
    assert counter(TEXT) == 30 and counter("lone \ud800 surrogate") > 2
    context = ranked(hit(TEXT)).context(20, tokenizer=str(tmp_path / name))
    assert 10 < context.tokens == counter(context.text) <= 20


def test_a_tokenizer_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"has no tokenizer\.json"):
        open_counter(tokenizer=tmp_path)
    with pytest.raises(ModelNotFound, match="no such file or folder, and not a hub id"):
        open_counter(tokenizer=str(tmp_path / "absent.json"))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"not a readable tokenizer\.json"):
        open_counter(tokenizer=tmp_path)


def test_two_ways_to_count_are_one_too_many() -> None:
    with pytest.raises(InputError, match="count and tokenizer"):
        open_counter(len, "tokenizer.json")


@given(TEXTS)
def test_plain_text_is_counted_fast_and_alike(text: str) -> None:
    slowly = sum(1 for _ in token_counts._token_ends(text))
    assert count_tokens(text) == slowly
    text = text.strip()
    assert count_tokens(f"{text}\n\n{text}".strip()) == 2 * count_tokens(text)


def test_no_letter_of_plain_text_is_skipped() -> None:
    letters = map(chr, [*range(9, 0x530), *range(0x2010, 0x2400), *range(0x4E00, 0x9FFF, 99)])
    for letter in filter(token_counts._PLAIN.fullmatch, letters):
        for text in (letter, f"a{letter}b", f"x {letter * 9} y"):
            assert count_tokens(text) == sum(1 for _ in token_counts._token_ends(text))
