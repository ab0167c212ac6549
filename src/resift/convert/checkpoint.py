"""A checkpoint folder → canonical weights, shape, tokenizer. Needs no torch and no transformers.

Everything is read from ``config.json``, the tokenizer's file, sentence-transformers' files and
safetensors. A checkpoint's code is never run. `families` knows what an architecture is special in.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from resift.convert.config import Config
from resift.convert.families import family_of
from resift.convert.families.family import Arrays, Family
from resift.convert.labels import KERNEL, with_relevance_logit
from resift.convert.layers import EncoderShape
from resift.convert.modules import (
    check_activation,
    has_scoring_modules,
    read_head,
    read_limit,
    read_prompts,
    transformer_folder,
)
from resift.convert.safetensors_files import read_weights
from resift.convert.tokenizer_files import CheckpointTokenizer, read_tokenizer
from resift.convert.weight_checks import POSITIONS, TYPES, WORDS, check_sizes, check_weights
from resift.errors import ModelError
from resift.rerank.batching import LENGTH_STEP

MAX_ATTENTION_BYTES = 1_200_000_000
"""Of one row's attention logits, ``heads * tokens²`` float32, of which a runtime may hold three
copies (benchmarks/row_memory.py). Longer texts are cut, or read in windows."""

MIN_PAIR_TOKENS = 64  # fewer have no room for a query and a document


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in memory. `query_prompt` is put before every query."""

    weights: Arrays
    shape: EncoderShape
    max_tokens: int
    tokenizer: CheckpointTokenizer
    config: Config
    query_prompt: str = ""


def read_cross_encoder(folder: Path, label: str | int | None = None) -> Checkpoint:
    """Read a reranker: a sequence classifier, or an encoder with a head of modules.

    `label` is the relevant label of a head with several (`labels.py`). Raises `ModelError`.
    """
    transformer = transformer_folder(folder)
    config = Config.read(transformer)
    has_modules = has_scoring_modules(folder)
    family = family_of(config, transformer)
    if not has_modules:
        _check_classifier(config, transformer)
    source = _read(transformer, config, family)
    shape, weights = source.shape, source.weights
    if not has_modules:
        _check_head(weights, family, transformer)
    if has_modules:
        head = read_head(folder)
        weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
        weights |= head.weights
        shape = replace(
            shape,
            pooling=head.pooling,
            head_activation=head.activation,
            head_epsilon=head.epsilon,
        )
        check_sizes(weights, shape, folder)
    check_activation(folder, len(weights.get(KERNEL, ())))
    weights = with_relevance_logit(weights, config.get("id2label"), label, folder)
    if not (len(weights.get(TYPES, ())) > 1 and source.tokenizer.pair_types):
        shape, weights = replace(shape, token_types=False), _with_first_type(weights)
    limit = read_limit(transformer, source.tokenizer, source.max_tokens)
    limit = min(limit, most_tokens(shape.heads))
    limit = whole_steps(limit, MIN_PAIR_TOKENS, "pair", folder)
    return replace(
        source,
        weights=weights,
        shape=replace(shape, positions=shape.positions.limited(limit)),
        max_tokens=limit,
        query_prompt=read_prompts(folder).default,
    )


def read_encoder(folder: Path, *, whole_positions: bool = False) -> Checkpoint:
    """Read an encoder without a head. Raises `ModelError`.

    With `whole_positions` it reads as many tokens as it has positions, whatever its tokenizer's
    limit is.
    """
    config = Config.read(folder)
    family = family_of(config, folder)
    source = _read(folder, config, family)
    limit = family.tokens(config) if whole_positions else source.max_tokens
    limit = whole_steps(limit, LENGTH_STEP, "text", folder)
    shape = replace(source.shape, positions=source.shape.positions.limited(limit))
    return replace(source, shape=shape, max_tokens=limit)


def most_tokens(heads: int) -> int:
    """The longest row whose attention stays within `MAX_ATTENTION_BYTES`."""
    return math.isqrt(MAX_ATTENTION_BYTES // (3 * 4 * heads))


def _read(folder: Path, config: Config, family: Family) -> Checkpoint:
    config.refuse(
        "is_decoder", False, remedy="only encoders, which read both ways, can be converted"
    )
    shape = family.shape(config)
    weights = family.finish(read_weights(folder, family.canonical), config)
    if WORDS not in weights:
        raise ModelError(
            f"{folder}: its weights have no word embeddings under the names of "
            f"{config.model_type}; expected a trained model of the kind that its config names"
        )
    positions = family.tokens(config)
    if family.positions is not None:
        shape = replace(shape, positions=family.positions(weights, config))
    check_weights(weights, shape, config, positions)
    tokenizer = read_tokenizer(folder, len(weights[WORDS]))
    limit = min(positions, tokenizer.max_tokens)
    return Checkpoint(weights, shape, limit, tokenizer, config)


def _check_classifier(config: Config, folder: Path) -> None:
    if any("SequenceClassification" in name for name in config.architectures):
        return
    names = ", ".join(config.architectures) or "no architecture"
    raise ModelError(
        f"{folder}: {config.model_type} ({names}) is not a reranker; expected a sequence "
        "classification model, or a sentence-transformers folder with a head that scores. If it "
        "is an embedding model, name it as RESIFT_EMBEDDER"
    )


def _check_head(weights: Arrays, family: Family, folder: Path) -> None:
    """Raise `ModelError` for a classifier with a part of its head only."""
    parts = sorted({f"{part}weight" for part in family.head.values()})
    missing = [name for name in parts if name not in weights]
    if missing and KERNEL in weights:
        raise ModelError(
            f"{folder}: {missing[0]} is missing in its head; expected a trained model with a whole "
            "head"
        )


def _with_first_type(weights: Arrays) -> Arrays:
    """Weights without token types: all tokens have type 0, which is added to another table."""
    if TYPES not in weights:
        return weights
    weights = dict(weights)
    first = weights.pop(TYPES)[:1]
    table = POSITIONS if POSITIONS in weights else WORDS
    return weights | ({table: weights[table] + first} if len(first) else {})


def whole_steps(limit: int, least: int, unit: str, folder: Path) -> int:
    """Round a token limit down to a multiple of `LENGTH_STEP`. Raises `ModelError`."""
    if limit < least:
        raise ModelError(f"{folder}: reads {limit} tokens; a {unit} needs at least {least}")
    return limit - limit % LENGTH_STEP
