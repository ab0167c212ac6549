"""A checkpoint's tokenizer gives what transformers makes of the same files, limits and types too.

Files are small: a ``tokenizer.json``, a vocabulary of word pieces, or bytes with their merges.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from convert.plain_checkpoints import WORDS, write_json
from resift.convert.tokenizer_files import NO_LIMIT, CheckpointTokenizer, read_tokenizer
from resift.errors import ModelError

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyzäéABCDEÄÉ0123456789.,;:!?'\"()-#ñßı"
ROWS = len(PIECES) + len(WORDS)
TEXTS = [
    " ",
    "ba be",
    "Ba BE bO",
    "a bad deed, made; (2 of 10)!",
    "café Ärger élan naïve ñandú",
    "cafe\u0301 A\u0308rger",
    "漢字 and 漢 mixed",
    "bad\tbe\n\nbo\u00a0ba",
    "  ba   be  ",
    "don't - 'quoted' \"text\"",
    "über\u200bzero\ufeffwidth",
    "😀 ba 👩‍👩‍👧",
    "straße İstanbul",
    "[SEP] <s> </s> [CLS]",
    "กขค สวัสดี مرحبا हिन्दी",
]


def words_json(folder: Path, **settings: Any) -> Path:
    """Whole words with BERT's template, and settings of the tokenizer."""
    folder.mkdir(exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(PIECES + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def word_pieces(folder: Path, **settings: Any) -> Path:
    """A ``vocab.txt`` with words, letters and pieces of words."""
    folder.mkdir(exist_ok=True)
    lines = [*PIECES, *WORDS, *LETTERS, "漢", "字", "##ld"]
    lines += [f"##{word}" for word in WORDS] + [f"##{letter}" for letter in LETTERS]
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **settings})
    return folder


def byte_pairs(folder: Path, **settings: Any) -> Path:
    """A ``vocab.json`` of bytes and words, with the merges that make them."""
    folder.mkdir(exist_ok=True)
    merges = [(word[0], word[1]) for word in WORDS] + [("Ġ", word) for word in WORDS]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *alphabet]
    tokens += [first + second for first, second in merges] + ["<mask>"]
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    lines = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer", **settings}
    )
    return folder


def read(folder: Path) -> CheckpointTokenizer:
    """The tokenizer for a table that has a row for each of its tokens."""
    if (folder / "vocab.txt").is_file():
        rows = len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
    elif (folder / "vocab.json").is_file():
        rows = len(json.loads((folder / "vocab.json").read_text()))
    else:
        rows = ROWS
    return read_tokenizer(folder, rows)


def tokens(folder: Path, text: str, pair: str | None = None) -> list[str]:
    result: list[str] = read(folder).tokenizer.encode(text, pair).tokens
    return result


def test_a_tokenizer_file_is_read_without_its_truncation_and_padding(tmp_path: Path) -> None:
    folder = words_json(tmp_path / "model")
    assert tokens(folder, "ba be") == ["[CLS]", "ba", "be", "[SEP]"]
    assert len(tokens(folder, " ".join(WORDS))) == len(WORDS) + 2


def test_a_tokenizer_file_goes_before_older_files(tmp_path: Path) -> None:
    folder = words_json(byte_pairs(word_pieces(tmp_path / "model")))
    tokenizer = read_tokenizer(folder, ROWS).tokenizer
    assert tokenizer.encode("bad").tokens == ["[CLS]", "[UNK]", "[SEP]"]


def test_word_pieces_of_a_vocabulary_file(tmp_path: Path) -> None:
    folder = word_pieces(tmp_path / "model")
    assert tokens(folder, "Ba bade", "é 漢字") == (
        ["[CLS]", "ba", "ba", "##de", "[SEP]", "e", "漢", "字", "[SEP]"]
    )
    encoding = read(folder).tokenizer.encode("ba", "be")
    assert encoding.type_ids == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        ({"do_lower_case": False}, "BaÉ", ["B", "##a", "##É"]),
        ({"do_lower_case": True}, "BaÉ", ["ba", "##e"]),
        ({"strip_accents": False}, "BaÉ", ["ba", "##é"]),
        ({"do_lower_case": False, "strip_accents": True}, "BaÉ", ["B", "##a", "##E"]),
        ({"tokenize_chinese_chars": False}, "漢字", ["[UNK]"]),
        ({}, "漢字", ["漢", "字"]),
    ],
)
def test_settings_of_word_pieces_are_read(
    settings: dict[str, Any], text: str, expected: list[str], tmp_path: Path
) -> None:
    assert tokens(word_pieces(tmp_path / "model", **settings), text)[1:-1] == expected


def test_bytes_and_their_merges(tmp_path: Path) -> None:
    folder = byte_pairs(tmp_path / "model")
    assert tokens(folder, "ba be", "é") == (["<s>", "ba", "Ġbe", "</s>", "</s>", "Ã", "©", "</s>"])
    assert not any(read(folder).tokenizer.encode("ba", "be").type_ids)


@pytest.mark.parametrize("add", [True, False])
def test_a_space_before_the_first_word_is_a_setting(add: bool, tmp_path: Path) -> None:
    folder = byte_pairs(tmp_path / "model", add_prefix_space=add)
    assert tokens(folder, "ba")[1] == ("Ġba" if add else "ba")


WORD_PIECES: list[dict[str, Any]] = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"tokenize_chinese_chars": False},
]


@pytest.mark.torch
@pytest.mark.parametrize("settings", WORD_PIECES, ids=str)
def test_word_pieces_are_those_of_transformers(settings: dict[str, Any], tmp_path: Path) -> None:
    same_as_transformers(word_pieces(tmp_path / "model", **settings))


@pytest.mark.torch
@pytest.mark.parametrize("add", [True, False])
def test_bytes_are_those_of_transformers(add: bool, tmp_path: Path) -> None:
    same_as_transformers(byte_pairs(tmp_path / "model", add_prefix_space=add))


@pytest.mark.torch
def test_a_tokenizer_file_gives_what_transformers_gives(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    same_as_transformers(words_json(tmp_path / "model", **settings))


def same_as_transformers(folder: Path) -> None:
    """Ids of texts and pairs, and the types of pairs."""
    transformers = pytest.importorskip("transformers")
    reference: Any = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer = read(folder).tokenizer
    for text in TEXTS:
        assert tokenizer.encode(text).ids == reference(text)["input_ids"], text
        encoding = tokenizer.encode("ba Be", text)
        expected = reference("ba Be", text, return_token_type_ids=True)
        assert encoding.ids == expected["input_ids"], text
        assert encoding.type_ids == expected["token_type_ids"], text


NAMES = ["input_ids", "attention_mask"]


@pytest.mark.parametrize(
    ("settings", "pair_types"),
    [
        ({}, True),
        ({"model_input_names": [*NAMES, "token_type_ids"]}, True),
        ({"model_input_names": NAMES}, False),
        ({"model_input_names": None}, True),
    ],
)
def test_pairs_have_types_if_the_model_reads_them(
    settings: dict[str, Any], pair_types: bool, tmp_path: Path
) -> None:
    assert read(words_json(tmp_path / "model", **settings)).pair_types is pair_types


def test_a_tokenizer_without_types_gives_none(tmp_path: Path) -> None:
    assert not read(byte_pairs(tmp_path / "model")).pair_types


@pytest.mark.parametrize(
    ("pair", "types"),
    [
        ("[CLS] $A [SEP]:1 $B:1 [SEP]:1", [0, 0, 1, 1, 1]),
        ("[CLS]:1 $A:1 [SEP]:1 $B [SEP]", [1, 1, 1, 0, 0]),
        ("[CLS] $A [SEP] $B:2 [SEP]:2", [0, 0, 0, 2, 2]),
        ("[CLS] $A [SEP] $B:1 [SEP]", [0, 0, 0, 1, 0]),
    ],
)
def test_other_types_are_refused(pair: str, types: list[int], tmp_path: Path) -> None:
    folder = words_json(tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    message = f"gives a pair the types {types}; expected 0 for the first text"
    refused(folder, re.escape(message))


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (512, 512),
        (512.0, 512),
        (1, 1),
        (10**30, NO_LIMIT),
        (1e30, NO_LIMIT),
        (0, NO_LIMIT),
        (-5, NO_LIMIT),
        (None, NO_LIMIT),
        ("512", NO_LIMIT),
    ],
)
def test_the_limit_is_the_settings(value: Any, limit: int, tmp_path: Path) -> None:
    assert read(words_json(tmp_path / "model", model_max_length=value)).max_tokens == limit


def test_without_settings_there_is_no_limit(tmp_path: Path) -> None:
    folder = words_json(tmp_path / "model")
    (folder / "tokenizer_config.json").unlink()
    tokenizer = read(folder)
    assert tokenizer.max_tokens == NO_LIMIT
    assert tokenizer.pair_types


def test_whether_case_is_lowered_is_tried(tmp_path: Path) -> None:
    assert read(word_pieces(tmp_path / "lower")).lowers_case()
    assert not read(word_pieces(tmp_path / "cased", do_lower_case=False)).lowers_case()


def test_ids_beyond_the_table_are_refused(tmp_path: Path) -> None:
    folder = words_json(tmp_path / "model")
    read_tokenizer(folder, ROWS)
    refused(folder, f"ids up to {ROWS - 1}, its embedding table has {ROWS - 1} rows", ROWS - 1)


def test_a_vocabulary_of_less_than_half_the_table_is_refused(tmp_path: Path) -> None:
    folder = words_json(tmp_path / "model")
    read_tokenizer(folder, 2 * ROWS)
    refused(folder, f"knows {ROWS} tokens, its embedding table {2 * ROWS + 1}", 2 * ROWS + 1)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_a_file_that_is_no_tokenizer_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    for text in ("", "{", "{}", "[1]"):
        (tmp_path / name).write_text(text)
        refused(tmp_path, f"{name}: not a readable tokenizer")


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("ba\nbe\n")
    refused(tmp_path, r"vocab\.txt: not a readable tokenizer .*sep_token not found")
    (tmp_path / "vocab.txt").unlink()
    write_json(tmp_path / "vocab.json", {"a": 0, "b": 1})
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    refused(tmp_path, r"vocab\.json: not a readable tokenizer .*has no </s>")


def test_merges_that_are_missing_are_refused(tmp_path: Path) -> None:
    folder = byte_pairs(tmp_path / "model")
    (folder / "merges.txt").unlink()
    refused(folder, r"vocab\.json: not a readable tokenizer")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, r"contains no tokenizer\.json; use a revision that has one, or save")
    (tmp_path / "spiece.model").write_bytes(b"\n\x0e")
    refused(tmp_path, r"no tokenizer\.json, only the SentencePiece model spiece\.model; use")


def test_settings_that_are_no_object_are_refused(tmp_path: Path) -> None:
    folder = words_json(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text("[]")
    refused(folder, "expected a JSON object")


def refused(folder: Path, message: str, rows: int = ROWS) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_tokenizer(folder, rows)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
