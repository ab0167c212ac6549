"""Proves that lengths are the tokenizer's own, in windows too."""

import numpy as np
import pytest

from resift.index.parsing import chunking
from resift.index.parsing.chunking import token_starts
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import Tokens, load_tokenizer


def test_a_text_in_windows_has_the_tokens_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Rain fell, naïvely; 日本語 and unbelievable\nwords: 3.14! " * 40
    whole = Tokens(load_tokenizer(load_artifact(BUNDLED).tokenizer), 256).starts(text)
    monkeypatch.setattr(chunking, "_WINDOW", 97)
    assert np.array_equal(token_starts(text), whole)


def test_a_word_that_no_tokenizer_reads_is_as_long_as_it_is() -> None:
    starts = token_starts("a " + "x" * 16_000 + " b")
    assert 1_000 <= len(starts) <= 1_004
    assert np.all(np.diff(starts) > 0)


def test_nothing_has_no_tokens() -> None:
    assert token_starts("").tolist() == []
