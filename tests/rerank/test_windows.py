"""Windows begin at sentences, are together all tokens, and split no word and no character.

The chosen ones are those with the query's words.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resift.rerank.catalogue import BUNDLED
from resift.rerank.characters import is_border
from resift.rerank.sentences import sentence_starts
from resift.rerank.text_tokens import Ids
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.rerank.windows import SIZES, Sizes, Window, choose, split

TOKENS = Tokens(load_tokenizer(BUNDLED / "tokenizer.json"), 64)
SENTENCES = "The cat sat on the mat. It was a grey cat! Who fed the cat? "

texts = st.lists(
    st.sampled_from(
        [
            SENTENCES,
            "one word ",
            "深圳市是一个城市。",
            "कि ",
            "👩‍👩‍👧",
            "x" * 90,
            "\n\n- item ",
            " " * 40,
            "e\u0301",
        ]
    ),
    min_size=1,
    max_size=40,
).map("".join)


def read(text: str) -> tuple[Ids, Ids]:
    (tokens,) = (part for part in TOKENS.read([text], "all") if part is not None)
    return tokens.ids, TOKENS.ends(text, tokens)


@given(texts, st.integers(16, 70), st.integers(0, 40))
@example("x" * 500, 16, 4)
@example("深" * 500, 16, 16)
@settings(max_examples=200, deadline=None)
def test_windows_are_all_tokens_in_order_none_too_long(text: str, size: int, overlap: int) -> None:
    ids, ends = read(text)
    if not len(ids):
        return
    windows = split(text, ends, size, overlap)
    assert windows[0].begin == 0 and windows[-1].end == len(ids)
    assert all(0 < window.end - window.begin <= size for window in windows)
    for window, later in pairwise(windows):
        assert window.begin < later.begin <= window.end < later.end
        assert later.begin >= window.end - 2 * min(overlap, size // 4) - 1
    assert len(windows) <= 1 + len(ids) / (size // 4)


@given(texts, st.integers(16, 70))
@settings(max_examples=200, deadline=None)
def test_windows_begin_and_end_between_characters_and_hold_their_tokens(
    text: str, size: int
) -> None:
    ids, ends = read(text)
    if not len(ids):
        return
    for window in split(text, ends, size, 8):
        assert is_border(text, window.start) and is_border(text, window.stop)
        assert window.start <= ends[window.begin] and ends[window.end - 1] <= window.stop


def test_windows_begin_at_sentences_and_each_sentence_is_whole_in_one() -> None:
    text = SENTENCES * 30
    starts = [0, *sentence_starts(text)]
    windows = split(text, read(text)[1], 64, 16)
    assert len(windows) > 5
    for window in windows:
        part = text[window.start : window.stop]
        assert (window.start in starts and window.end - window.begin > 60) or window is windows[-1]
        assert read(part)[0].tolist() == read(text)[0][window.begin : window.end].tolist()
    overlaps = [a.end - b.begin for a, b in pairwise(windows)]
    assert all(0 <= overlap <= 16 for overlap in overlaps)
    for start, end in pairwise([*starts, len(text)]):
        assert any(w.start <= start and len(text[:end].rstrip()) <= w.stop for w in windows)


def test_a_long_sentence_is_cut_between_words() -> None:
    text = "supercalifragilistic word " * 100
    for window in split(text, read(text)[1], 50, 10)[:-1]:
        assert text[window.stop : window.stop + 1].isspace()
        assert window.start == 0 or text[window.start - 1].isspace()


WINDOWS = [Window(n, n + 10, n, n + 10) for n in range(0, 60, 10)]


def chosen(words: dict[int, list[int]], query: list[int], count: int) -> list[int]:
    """The numbers of the chosen windows; `words` are the tokens of some windows."""
    ids = np.zeros(60, np.int64)
    for number, tokens in words.items():
        ids[10 * number : 10 * number + len(tokens)] = tokens
    return [window.begin // 10 for window in choose(ids, WINDOWS, np.array(query), count)]


def test_the_windows_with_most_of_the_querys_words_come_first() -> None:
    assert chosen({1: [7], 3: [7, 8, 9], 4: [8, 9]}, [7, 8, 9], 3) == [3, 4, 1]


def test_a_word_that_all_windows_have_counts_less_than_a_rare_one() -> None:
    common = {number: [7] for number in range(6) if number != 5}
    assert chosen(common | {5: [8]}, [7, 8], 2) == [5, 0]


def test_a_repeated_word_counts_once() -> None:
    assert chosen({1: [7] * 5, 2: [7, 8]}, [7, 8, 7, 7], 1) == [2]


def test_without_a_word_of_the_query_the_beginning_is_read() -> None:
    assert chosen({}, [7, 8], 3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("room", "window", "count"), [(510, 256, 4), (60, 60, 4), (8000, 256, 62), (16, 16, 4)]
)
def test_windows_hold_about_twice_what_is_read_of_a_cut_document(
    room: int, window: int, count: int
) -> None:
    assert (SIZES.window(room), SIZES.count(room)) == (window, count)
    assert Sizes(most=7, share=0).count(room) == 7
