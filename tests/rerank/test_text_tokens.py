"""A long text's beginning has the tokens of the whole, and reading it takes a bounded time.

Against the tokenizer itself on whole texts: blanks or none, words of any length, any script.
"""

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from resift.rerank.catalogue import BUNDLED
from resift.rerank.characters import next_border
from resift.rerank.text_tokens import SLICE, TextTokens, Wanted
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer

WORDPIECE = load_tokenizer(BUNDLED / "tokenizer.json")
MOST = 32
FIRST = 6 * MOST


def _byte_level() -> Tokenizer:
    """A tokenizer as RoBERTa's: blanks are of the next word, and nothing is unknown."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = NFC()
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=400,
        initial_alphabet=ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the other cat ran"] * 20, trainer)
    return tokenizer


TOKENIZERS = {"wordpiece": WORDPIECE, "byte level": _byte_level()}

pieces = st.one_of(
    st.sampled_from(["alpha", "beta", "the", "[SEP]", "[MASK]", "<s>", "don't", "1,000.50"]),
    st.sampled_from([" ", "  ", "\n", "\t", " " * 50, "\u00a0", "\u3000", "\u200b", "\x00"]),
    st.sampled_from(
        ["深圳市", "ひらがな", "한국어", "🙂", "é", "e\u0301", "\u0301" * 20, "İ", "ß"]
    ),
    st.sampled_from(["+", "/", "==", "...", "!?", "-", "_"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
    st.integers(90, 250).map(lambda size: "x" * size),
    st.integers(1, 400).map(lambda size: " " * size),
)
texts = st.tuples(st.lists(pieces, max_size=60), st.integers(1, 12)).map(
    lambda drawn: "".join(drawn[0]) * drawn[1]
)


def read(tokens: Tokens, text: str, wanted: Wanted) -> TextTokens:
    *before, last = tokens.read([text], wanted)
    assert last is not None and not any(before)
    return last


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts)
@example(text=" " * 5000 + "alpha beta " * 100)
@example(text="x" * 20_000 + " alpha" + "y" * 99 + " beta " * 80)
@example(text="x" * SLICE + "alpha beta " * 80)
@example(text="x" * (SLICE - 1) + ",beta " * 80)
@example(text="alpha" + " " * 3 * SLICE + "beta " * 80)
@example(text="深圳" * 400)
@example(text="a+b/cDe" * 300)
@example(text="e\u0301" * 300)
@example(text="\u200b" * 3 * SLICE + "alpha" * 60)
@example(text="alpha [SEP]" * 100)
@example(text="x" * (FIRST - 3) + "[SEP] alpha" * 100)
@example(text=("\u0301" * 20 + "x" * 800) * 11)
@example(text=("x" * 800 + "\u200b" * 20) * 30)
@example(text=("\u200b" + "x" * 692) * 12)
@example(text="x" * SLICE + "\u200b" * SLICE + " beta " * 80)
@settings(max_examples=150, deadline=None)
def test_tokens_are_those_of_the_whole_text(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    if name == "byte level" and ("x" * 1000 in text):
        return  # a word of thousands of tokens may be cut: see the next test but one
    tokens = Tokens(tokenizer, MOST)
    whole = tokenizer.encode(text, add_special_tokens=False)
    counted, beginning = read(tokens, text, "count"), read(tokens, text, "beginning")
    assert read(tokens, text, "all").ids.tolist() == whole.ids
    assert counted.counted and counted.total == len(whole.ids)
    assert beginning.ids.tolist() == whole.ids[: len(beginning.ids)]
    assert beginning.total <= len(whole.ids)
    assert len(beginning.ids) > MOST or beginning.total == len(whole.ids)
    longest_word = max((end - start for start, end in whole.offsets), default=0)
    if beginning.ends is not None and longest_word < SLICE:  # else its end is not exact
        ends = [end for _, end in whole.offsets[: len(beginning.ends)]]
        assert beginning.ends.tolist() == ends


@given(texts)
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_the_whole_text(text: str) -> None:
    tokens = Tokens(WORDPIECE, MOST, known_only=False)
    encoding = WORDPIECE.encode(text, add_special_tokens=False)
    ids, room = encoding.ids, MOST - 2
    (row,) = tokens.single([text], [read(tokens, text, "beginning")])
    (counted,) = tokens.single([text])
    for made in (row, counted):
        assert made.ids[1:-1].tolist() == ids[:room]
        assert made.seen == min(len(ids), room)
        cut = next_border(text, encoding.offsets[room - 1][1]) if len(ids) > room else len(text)
        assert made.end == cut
    assert counted.dropped == max(len(ids) - room, 0) and counted.counted
    assert bool(row.dropped) == bool(counted.dropped) and row.dropped <= counted.dropped


def test_a_word_longer_than_a_slice_is_cut_where_the_slice_ends() -> None:
    """For a tokenizer to which nothing is unknown; its beginning is right all the same."""
    tokenizer = TOKENIZERS["byte level"]
    text = "xyz" * SLICE
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    beginning = read(Tokens(tokenizer, MOST), text, "beginning")
    assert beginning.ids[:MOST].tolist() == whole[:MOST]
    counted = read(Tokens(tokenizer, MOST), text, "count")
    assert abs(counted.total - len(whole)) <= 4


def test_a_lone_surrogate_far_in_a_text_is_one_character_of_it() -> None:
    tokens = Tokens(WORDPIECE, MOST)
    text = "alpha " * 500 + "\udcff beta"
    assert (
        read(tokens, text, "count").total
        == read(tokens, text.replace("\udcff", "\ufffd"), "count").total
    )


TEN_MB = {
    "words": "alpha beta gamma " * 600_000,
    "no blanks": "aGVsbG8gd29ybGQ+/" * 600_000,
    "cjk": "深圳市" * 1_000_000,
    "lines": "x" * 70 + "\n" * 9_000_000,
}


@pytest.mark.parametrize("kind", TEN_MB)
def test_a_beginning_takes_no_longer_where_the_text_is_long(kind: str) -> None:
    tokens = Tokens(WORDPIECE, 512)
    start = time.thread_time()
    beginning = read(tokens, TEN_MB[kind] + " alpha", "beginning")
    assert time.thread_time() - start < 2  # whole it takes ten
    assert len(beginning.ids) <= SLICE


@pytest.mark.parametrize(
    "text", ["x" * 3_000_000, "e" + "\u0301" * 3_000_000, "\u200b" * 3_000_000]
)
def test_the_clock_is_looked_at_within_a_text(text: str) -> None:
    steps = Tokens(WORDPIECE, 512).read([text], "beginning")
    longest, last = 0.0, time.perf_counter()
    for _ in zip(steps, range(40), strict=False):
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert longest < 0.5


def test_rows_of_an_empty_list_are_none() -> None:
    tokens = Tokens(WORDPIECE, MOST)
    rows: list[TokenRow] = tokens.single([])
    assert rows == [] and list(tokens.read([])) == []
    assert np.array_equal(read(tokens, "", "count").ids, [])
