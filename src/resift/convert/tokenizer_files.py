"""A checkpoint's tokenizer: ``tokenizer.json``, or made of an older vocabulary file.

Reads with the tokenizers package alone, as the artifact does later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from resift.convert.config import read_object
from resift.errors import ModelError
from resift.rerank.artifact import TOKENIZER
from resift.rerank.native import first_line

SETTINGS = "tokenizer_config.json"
NO_LIMIT = 1 << 40  # transformers writes 1e30 for a tokenizer without a limit
TYPES = "token_type_ids"
_ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@dataclass(frozen=True, slots=True)
class CheckpointTokenizer:
    """A tokenizer without truncation and padding, with the limits of its settings.

    `max_tokens` limits a text or pair. `pair_types`: the second text has token type 1.
    """

    tokenizer: Tokenizer
    max_tokens: int
    pair_types: bool

    def lowers_case(self) -> bool:
        """Whether upper case makes no difference."""
        upper, lower = self.tokenizer.encode("A b C"), self.tokenizer.encode("a b c")
        return bool(upper.ids == lower.ids)


def read_tokenizer(folder: Path, rows: int) -> CheckpointTokenizer:
    """Open a folder's tokenizer for an embedding table of `rows`. Raises `ModelError`."""
    file = folder / SETTINGS
    settings = read_object(file) if file.is_file() else {}
    tokenizer = _open(folder, settings)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _check_vocabulary(tokenizer, rows, folder)
    limit = settings.get("model_max_length")
    if not isinstance(limit, int | float) or limit < 1:
        limit = NO_LIMIT
    names = settings.get("model_input_names")
    reads_types = not isinstance(names, list) or TYPES in names
    return CheckpointTokenizer(
        tokenizer,
        int(min(limit, NO_LIMIT)),
        reads_types and _has_pair_types(tokenizer, folder),
    )


def _open(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    for name, read in _READERS.items():
        if (folder / name).is_file():
            try:
                tokenizer = read(folder, settings)
                tokenizer.encode("a", "b")  # a vocabulary may lack the token of unknown words
                return tokenizer
            except Exception as error:  # tokenizers raises Exception itself
                raise ModelError(
                    f"{folder / name}: not a readable tokenizer ({first_line(error)}); expected "
                    "the tokenizer that the model was trained with"
                ) from error
    pieces = sorted(file.name for file in folder.glob("*.model"))
    only = f", only the SentencePiece model {pieces[0]}" if pieces else ""
    raise ModelError(
        f"{folder}: contains no {TOKENIZER}{only}; use a revision that has one, or save its "
        "tokenizer again with transformers' save_pretrained"
    )


def _read_json(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_file(str(folder / TOKENIZER))


def _read_word_pieces(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    """BERT's vocabulary file, one word piece a line."""
    from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

    made = BertWordPieceTokenizer(
        str(folder / "vocab.txt"),
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    return Tokenizer.from_str(made.to_str())


def _read_byte_pairs(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    """RoBERTa's vocabulary and merges of bytes."""
    from tokenizers.implementations.byte_level_bpe import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing

    made = ByteLevelBPETokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        add_prefix_space=bool(settings.get("add_prefix_space", False)),
    )
    tokenizer = Tokenizer.from_str(made.to_str())
    known = [name for name in _ROBERTA_SPECIALS if tokenizer.token_to_id(name) is not None]
    tokenizer.add_special_tokens(known)
    tokenizer.post_processor = RobertaProcessing(
        ("</s>", _id(tokenizer, "</s>")),
        ("<s>", _id(tokenizer, "<s>")),
        add_prefix_space=bool(settings.get("add_prefix_space", False)),
    )
    return tokenizer


def _id(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"the vocabulary has no {token}")
    return int(number)


_READERS: dict[str, Callable[[Path, dict[str, Any]], Tokenizer]] = {
    TOKENIZER: _read_json,
    "vocab.txt": _read_word_pieces,
    "vocab.json": _read_byte_pairs,
}


def _check_vocabulary(tokenizer: Tokenizer, rows: int, folder: Path) -> None:
    """Raise `ModelError` if token ids do not fit an embedding table of `rows`."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    highest = max(vocabulary.values(), default=0)
    if len(vocabulary) < rows / 2:
        raise ModelError(
            f"{folder}: its tokenizer knows {len(vocabulary)} tokens, its embedding table {rows}; "
            "expected the tokenizer that the model was trained with"
        )
    if highest >= rows:
        raise ModelError(
            f"{folder}: its tokenizer gives ids up to {highest}, its embedding table has {rows} "
            "rows; use the tokenizer that the model was trained with, or train it with a table "
            "of that size"
        )


def _has_pair_types(tokenizer: Tokenizer, folder: Path) -> bool:
    """Whether the second text of a pair gets token type 1.

    Raises `ModelError` for types that are neither all 0 nor 1 from the second text on.
    """
    encoding = tokenizer.encode("a", "b")
    types = list(encoding.type_ids)
    if not any(types):
        return False
    first = types.index(1) if 1 in types else len(types)
    expected = [0] * first + [1] * (len(types) - first)
    if types != expected or first != encoding.sequence_ids.index(1):
        raise ModelError(
            f"{folder}: its tokenizer gives a pair the types {types}; expected 0 for the "
            "first text and 1 from the second on"
        )
    return True
