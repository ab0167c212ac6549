"""Counts tokens as a caller asks: by a function, by a tokenizer with a name, or by the bundled one.

A count is asked for a text once.
"""

import math
import os
from collections.abc import Callable, Mapping, Set, Sized
from functools import lru_cache
from pathlib import Path
from typing import Any

from resift.errors import InputError, ModelNotFound, shortened, shown
from resift.extras import require
from resift.files import from_home
from resift.rerank.artifact import TOKENIZER
from resift.rerank.catalogue import checked_hub_id, checked_name
from resift.rerank.native import native
from resift.rerank.tokenization import load_tokenizer
from resift.rerank.values import number, without_surrogates
from resift.search.token_counts import Count, count_tokens

_OPEN_TOKENIZERS = 4


class Counter:
    """Counts the tokens of texts, of each only once.

    `adds_up` says that the tokens of texts add up to those of the whole, if white space separates
    them.
    """

    def __init__(self, count: Count, *, adds_up: bool = False) -> None:
        self._count = count
        self._counts: dict[str, int] = {}
        self.adds_up = adds_up

    def __call__(self, text: str) -> int:
        """The number of tokens."""
        if text not in self._counts:
            self._counts[text] = self._count(text)
        return self._counts[text]


def open_counter(
    count: Callable[[str], Any] | None = None, tokenizer: str | os.PathLike[str] | None = None
) -> Counter:
    """The counter that a caller asks for, with one of the two arguments or none.

    Raises `InputError` for both, and for an argument of another type, and `ModelError` for a
    tokenizer that cannot be opened.
    """
    if count is not None and tokenizer is not None:
        raise InputError("count and tokenizer: expected one of them; leave one out")
    if count is not None:
        if not callable(count):
            raise InputError(
                f"count={shown(count)}: expected a function that counts the tokens of a text; the "
                "name of a tokenizer goes into tokenizer"
            )
        return Counter(lambda text: _number(count(text)))
    if tokenizer is not None:
        return Counter(_open(checked_name("tokenizer", tokenizer)))
    return Counter(count_tokens, adds_up=True)


def _number(counted: object) -> int:
    """The number of tokens that a caller's function gives, or the length of its list.

    A tokenizer called as a function may give an object or a mapping with the list.
    """
    tokens = number(counted)  # a rule of thumb may give fractions
    if tokens is None:
        tokens = _length(_listed(counted))
    if tokens is None or tokens < 0:
        raise InputError(
            f"count gave {shown(counted)}: expected a number of tokens from 0, a list of the "
            "tokens of one text, or a mapping or an object with input_ids"
        )
    return math.ceil(tokens)


def _listed(counted: object) -> object:
    """The tokens in what a tokenizer gives; any other value as it is."""
    if isinstance(counted, Mapping):
        return counted.get("input_ids")
    for name in ("input_ids", "ids"):
        if hasattr(counted, name):
            return getattr(counted, name)
    return counted


def _length(tokens: object) -> int | None:
    """The length of the tokens of one text, also if they are a batch of it; None for others."""
    if isinstance(tokens, str | bytes | Mapping | Set) or not isinstance(tokens, Sized):
        return None
    shape = getattr(tokens, "shape", None)
    if isinstance(shape, tuple) and shape:  # of an array or a tensor
        return int(shape[-1]) if math.prod(shape[:-1]) == 1 else None
    if isinstance(tokens, list | tuple) and tokens and isinstance(tokens[0], list | tuple):
        return len(tokens[0]) if len(tokens) == 1 else None
    return len(tokens)


@lru_cache(_OPEN_TOKENIZERS)
def _open(name: str) -> Count:
    """The counter of a tokenizer by its name; open ones are used again."""
    tokenizer: Any = load_tokenizer(_file(name))

    def count(text: str) -> int:
        with native:
            (encoding,) = tokenizer.encode_batch_fast(
                [without_surrogates(text)], add_special_tokens=False
            )
        return len(encoding)

    return count


def _file(name: str) -> Path:
    """The ``tokenizer.json`` of a file, a folder or a repository on the hub."""
    path = from_home(name)
    if path.is_file():
        return path
    if path.is_dir():
        if not (path / TOKENIZER).is_file():
            raise ModelNotFound(f"{shortened(name)}: has no {TOKENIZER}")
        return path / TOKENIZER
    try:
        checked_hub_id(name)
    except ModelNotFound as error:
        raise ModelNotFound(
            f"tokenizer={shown(name)}: no such file or folder, and not a hub id; expected a "
            f"{TOKENIZER}, a folder with one, or OWNER/NAME"
        ) from error
    fetched: Path = require("resift.convert.hub_tokenizer", "hub").fetch_tokenizer(name)
    return fetched
