"""A checkpoint's own tokenizer: opened, held against its model, and the types that it gives."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelError
from resift.extras import require

FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_WORDS = "embeddings.word_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_TYPES = "embeddings.token_type_embeddings.weight"

Weights = dict[str, NDArray[np.float32]]


def open_tokenizer(folder: Path, options: Mapping[str, Any]) -> Any:
    """The folder's tokenizer, in its fast form. Raises `ModelError`."""
    if not any(file for name in FILES for file in folder.glob(name)):
        raise ModelError(f"{folder}: no tokenizer there; expected {', '.join(FILES)}")
    if not any(file for name in FILES[:-1] for file in folder.glob(name)) and not _sentencepiece():
        raise ModelError(f"{folder}: its tokenizer is a SentencePiece model; {_remedy(folder)}")
    transformers = require("transformers", "convert")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, **options)
    except Exception as error:  # the library raises every kind
        raise ModelError(
            f"{folder}: its tokenizer cannot be read ({_first_line(error)}); {_remedy(folder)}"
        ) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(f"{folder}: its tokenizer has no fast form; {_remedy(folder)}")
    return tokenizer


def check_size(tokenizer: Any, weights: Weights, folder: Path) -> None:
    """Raise `ModelError` where the tokenizer gives ids that the table does not have."""
    vocabulary = tokenizer.get_vocab()
    rows, highest = len(weights[_WORDS]), max(vocabulary.values(), default=0)
    if len(vocabulary) < rows / 2:  # what the library makes up where it finds no vocabulary
        raise ModelError(
            f"{folder}: its tokenizer knows {len(vocabulary)} tokens, its embedding table {rows}; "
            f"{_remedy(folder)}"
        )
    if highest >= rows:
        raise ModelError(
            f"{folder}: its tokenizer gives ids up to {highest}, its embedding table has {rows} "
            "rows; take the tokenizer that the model was trained with, or train it with a table "
            "of that size"
        )


def gives_types(tokenizer: Any, folder: Path) -> bool:
    """Whether the second text of a pair is told apart by its type, as its own tokenizer does it.

    Raises `ModelError` for types that are neither all 0 nor 1 from the second text on.
    """
    types = tokenizer("a", "b").get("token_type_ids")
    if types is None or not any(types):
        return False
    first = list(types).index(1) if 1 in types else len(types)
    texts = tokenizer("a", "b").sequence_ids(0)
    if list(types) != [0] * first + [1] * (len(types) - first) or first != texts.index(1):
        raise ModelError(
            f"{folder}: its tokenizer gives a pair the types {list(types)}; expected 0 for the "
            "first text and 1 from the second on"
        )
    return True


def without_types(weights: Weights) -> Weights:
    """Type 0 at every position, as a part of the positions: what a model without types reads."""
    if _TYPES not in weights:
        return weights
    positions = weights[_POSITIONS] + weights[_TYPES][0]
    return {name: table for name, table in weights.items() if name != _TYPES} | {
        _POSITIONS: positions
    }


def _sentencepiece() -> bool:
    """Whether such a model can be read."""
    return find_spec("sentencepiece") is not None


def _remedy(folder: Path) -> str:
    if (folder / "tokenizer.json").is_file():
        return "expected the tokenizer.json that the model was trained with"
    return (
        "it has no tokenizer.json: pip install sentencepiece protobuf, so that one can be made, "
        "or take a revision that has one"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
