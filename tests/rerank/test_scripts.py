"""In every script and with every kind of tokenizer, spans, counts and windows are right.

Spans are in Python characters and split no visible one; tokens are those of the whole text.
"""

import numpy as np
import pytest
from tokenizers_of_scripts import KINDS, SCRIPTS, tokenizer_of

from artifacts import WordCountModel
from resift.rerank.characters import is_border
from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.text_tokens import SLICE
from resift.rerank.tokenization import Tokens
from resift.rerank.windows import split

MOST = 64
EACH = pytest.mark.parametrize("script", SCRIPTS)
EVERY = pytest.mark.parametrize("kind", KINDS)


class SmallModel(WordCountModel):
    """`WordCountModel` with another tokenizer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._tokens = Tokens(tokenizer_of(kind), MOST)


def ids_of(kind: str, text: str) -> list[int]:
    ids: list[int] = tokenizer_of(kind).encode(text, add_special_tokens=False).ids
    return ids


@EVERY
@EACH
def test_a_long_text_has_the_tokens_of_the_tokenizer(kind: str, script: str) -> None:
    """However it is sliced: scripts without spaces, marks before words, bytes as tokens."""
    text = SCRIPTS[script] * (2 * SLICE // len(SCRIPTS[script]))
    tokens = Tokens(tokenizer_of(kind), MOST)
    (whole,) = (part for part in tokens.read([text], "all") if part is not None)
    expected = tokenizer_of(kind).encode(text, add_special_tokens=False)
    assert whole.ids.tolist() == expected.ids
    assert tokens.ends(text, whole).tolist() == [end for _, end in expected.offsets]
    (counted,) = (part for part in tokens.read([text], "count") if part is not None)
    assert counted.total == len(expected.ids)


@EVERY
@EACH
@pytest.mark.parametrize("times", [8, 40, 600])
def test_a_cut_text_was_read_up_to_a_whole_character(kind: str, script: str, times: int) -> None:
    text = SCRIPTS[script] * times
    tokens = Tokens(tokenizer_of(kind), MOST)
    (row,) = tokens.single([text])
    expected = tokenizer_of(kind).encode(text, add_special_tokens=False)
    read = row.seen + row.unknown
    assert read + row.dropped == len(expected.ids)
    assert is_border(text, row.end)
    assert (row.end == len(text)) == (not row.dropped)
    assert ids_of(kind, text[: row.end])[:read] == expected.ids[:read]
    if row.dropped:
        end = expected.offsets[read - 1][1]
        assert end <= row.end and not any(is_border(text, n) for n in range(end, row.end))


@EVERY
@EACH
@pytest.mark.parametrize("size", [16, 62])
def test_windows_begin_and_end_between_characters(kind: str, script: str, size: int) -> None:
    text = SCRIPTS[script] * 40
    tokens = Tokens(tokenizer_of(kind), MOST)
    (whole,) = (part for part in tokens.read([text], "all") if part is not None)
    ends = tokens.ends(text, whole)
    windows = split(text, ends, size, 8)
    assert (windows[0].start == 0 and windows[-1].stop == len(text.rstrip())) or len(text)
    covered = np.zeros(len(text), bool)
    for window in windows:
        assert is_border(text, window.start) and is_border(text, window.stop)
        assert window.start < window.stop and ends[window.end - 1] <= window.stop
        assert not text[window.start].isspace()
        covered[window.start : window.stop] = True
    assert all(text[index].isspace() for index in np.flatnonzero(~covered))


@EVERY
@EACH
def test_a_hit_is_read_where_the_query_is(kind: str, script: str) -> None:
    """A window with the query's words gives the span, and all tokens are counted."""
    other = SCRIPTS["english" if script != "english" else "korean"]
    text = other * 30 + SCRIPTS[script] + other * 30
    engine = Engine(SmallModel(kind))
    query = SCRIPTS[script].strip()
    if len(ids_of(kind, query)) > MOST - 24:
        query = query[: next(n for n in range(8, len(query)) if is_border(query, n))]
    if len(ids_of(kind, query)) > MOST - 24 or not engine.model.query_row(query).seen:
        pytest.skip("the query has no room or no word that this tokenizer knows")
    steps = engine.steps(query, [text], Deadline(), long_documents="windows")
    row = engine.run(steps).rows[0]
    assert row.windows >= 1 and is_border(text, row.start) and is_border(text, row.end)
    begin = len(other) * 30
    assert row.start < begin + len(SCRIPTS[script]) and row.end > begin
    assert row.seen + row.unknown + row.dropped == len(ids_of(kind, text))


def test_an_accent_that_the_tokenizer_strips_is_part_of_the_span() -> None:
    text = "e\u0301 " * 100
    (row,) = Tokens(tokenizer_of("wordpiece uncased"), 12).single([text])
    assert text[: row.end] == "e\u0301 " * 9 + "e\u0301" and row.seen == 10


def test_an_emoji_of_which_some_bytes_were_read_is_part_of_the_span() -> None:
    text = "🇩🇪" * 50
    (row,) = Tokens(tokenizer_of("byte-level bpe"), 13).single([text])
    assert row.seen == 11 and text[: row.end] == "🇩🇪" * 2
