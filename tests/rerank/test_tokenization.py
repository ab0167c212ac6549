"""Token rows equal the tokenizer's own pair encoding, and only documents are ever cut."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import RobertaProcessing

from resift.errors import ArtifactError, InputError
from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import MIN_DOCUMENT_TOKENS, TokenRow, Tokens, load_tokenizer, pad

TOKENIZER = load_tokenizer(BUNDLED / "tokenizer.json")
sentences = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)


def made(tokens: Tokens, query: str, texts: list[str]) -> list[TokenRow]:
    return tokens.pairs(tokens.head(query), texts)


@given(sentences, st.lists(sentences, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_pairs_are_what_the_tokenizer_itself_makes(query: str, texts: list[str]) -> None:
    assume(TOKENIZER.encode(query, add_special_tokens=False).ids)
    rows = made(Tokens(TOKENIZER, 2048, known_only=False), query, texts)
    feeds = pad(rows)
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        expected = TOKENIZER.encode(query, text)
        assert row.ids.tolist() == expected.ids
        size = len(expected.ids)
        assert feeds["token_type_ids"][index, :size].tolist() == expected.type_ids
        assert feeds["attention_mask"][index].sum() == size
        assert row.dropped == 0


def _ids(tokens: Tokens, text: str) -> list[int]:
    return [token for part in tokens.read([text], "all") if part for token in part.ids.tolist()]


@given(sentences, sentences, st.integers(40, 80))
@settings(max_examples=60, deadline=None)
def test_the_query_is_whole_whatever_the_document(query: str, text: str, limit: int) -> None:
    tokens = Tokens(TOKENIZER, limit, known_only=False)
    query_ids = _ids(tokens, query)
    assume(len(query_ids))
    if len(query_ids) > limit - 3 - MIN_DOCUMENT_TOKENS:
        with pytest.raises(InputError, match="never cut"):
            made(tokens, query, [text])
        return
    row = made(tokens, query, [text * 5])[0]
    assert row.ids[1 : 1 + len(query_ids)].tolist() == query_ids
    assert len(row.ids) <= limit
    assert row.seen + row.dropped == len(_ids(tokens, text * 5))


def test_end_is_the_character_where_reading_stopped() -> None:
    text = "alpha beta gamma delta " * 40
    row = Tokens(TOKENIZER, 48).single([text])[0]
    assert row.dropped > 0
    assert len(TOKENIZER.encode(text[: row.end], add_special_tokens=False).ids) == row.seen


def test_a_split_row_has_no_second_type() -> None:
    row = Tokens(TOKENIZER, 48).single(["alpha beta"])[0]
    assert pad([row])["token_type_ids"].sum() == 0


def test_robertas_template_is_read_off_its_tokenizer() -> None:
    words = ["<s>", "</s>", "<pad>", "a", "b", "hello", "world"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = RobertaProcessing(("</s>", 1), ("<s>", 0))
    row = made(Tokens(tokenizer, 64), "hello", ["world"])[0]
    assert row.ids.tolist() == tokenizer.encode("hello", "world").ids == [0, 5, 1, 1, 6, 1]


def test_a_broken_tokenizer_is_named(tmp_path: object) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        load_tokenizer(BUNDLED / "manifest.json" / "tokenizer.json")
