"""A late-interaction checkpoint → an encoder, the layers that project its states, its settings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from resift.convert.checkpoint import Checkpoint, most_tokens, read_encoder
from resift.convert.config import Config, read_object
from resift.convert.families.family import Arrays
from resift.convert.graph import Activation
from resift.convert.late_settings import (
    MASK,
    Format,
    LateSettings,
    Prompt,
    late_format,
    read_late_settings,
)
from resift.convert.modules import (
    dense_activation,
    module_folders,
    read_limit,
    short_name,
    transformer_folder,
)
from resift.convert.positions import Rotary
from resift.convert.safetensors_files import read_weights
from resift.convert.tokenizer_files import SETTINGS as TOKENIZER_SETTINGS
from resift.errors import ModelError
from resift.rerank.batching import LENGTH_STEP, padded_length
from resift.rerank.token_vectors import TokenVectors

_LINEAR = "linear.weight"  # of a Stanford checkpoint, beside the encoder's weights
_POOLING = "HierarchicalTokenPooling"
_SPECIAL_TOKENS = "special_tokens_map.json"
_MASK_TOKENS = ("[MASK]", "<mask>")
_PROBES = ("a", "be", "the")


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear layer on token states, ``projection.N``, and whether its input is added to it."""

    activation: Activation = "identity"
    residual: bool = False


@dataclass(frozen=True, slots=True)
class LateCheckpoint:
    """A checkpoint in memory.

    `encoder.max_tokens` is what a document or a query may take, padding included; a document is cut
    to `document_length`. `weights` are those of the encoder and of the `projections`.
    """

    encoder: Checkpoint
    weights: Arrays
    projections: tuple[Projection, ...]
    reading: TokenVectors
    document_length: int


def read_late_checkpoint(folder: Path) -> LateCheckpoint:
    """Read a checkpoint that `late_format` knows. Raises `ModelError`."""
    kind = late_format(folder) or "stanford"
    settings = read_late_settings(folder, kind)
    transformer = transformer_folder(folder)
    encoder = read_encoder(transformer, whole_positions=True)
    weights, projections = _projections(folder, kind, encoder)
    limit = min(encoder.max_tokens, most_tokens(encoder.shape.heads))
    limit -= limit % LENGTH_STEP
    length = settings.document_length
    named = read_limit(transformer, encoder.tokenizer, limit)  # and a check of lower case
    if length is None:
        length = min(named, encoder.tokenizer.max_tokens)
    length = min(length, limit)
    if length < LENGTH_STEP or settings.query_length > limit:
        raise ModelError(
            f"{folder}: documents of {length} tokens and queries of {settings.query_length}; "
            f"expected {LENGTH_STEP} to {limit}, which its encoder reads"
        )
    most = padded_length(max(length, settings.query_length))
    positions = encoder.shape.positions.limited(most)
    if isinstance(positions, Rotary) and not settings.attends_to_expansion:
        positions = replace(positions, blind_is_zero=_is_far(positions, settings))
    shape = replace(encoder.shape, positions=positions)
    return LateCheckpoint(
        replace(encoder, shape=shape, max_tokens=most),
        {**encoder.weights, **weights},
        projections,
        _reading(settings, encoder.tokenizer.tokenizer, transformer),
        length,
    )


def _is_far(positions: Rotary, settings: LateSettings) -> bool:
    """Whether the last expansion tokens may see none of the query's own tokens."""
    windows = [layer.window for layer in positions.layers if layer.window]
    return bool(windows) and settings.query_length > min(windows)


def _projections(
    folder: Path, kind: Format, encoder: Checkpoint
) -> tuple[Arrays, tuple[Projection, ...]]:
    """The layers between the encoder and the comparison. Raises `ModelError`."""
    if kind == "stanford":
        if _LINEAR not in encoder.weights:
            raise ModelError(f"{folder}: its weights have no {_LINEAR}; expected a whole ColBERT")
        weights: Arrays = {"projection.0.weight": encoder.weights[_LINEAR]}
        layers = [Projection()]
    else:
        weights, layers = {}, []
        for path in _dense_folders(folder, kind):
            added, layer = _projection(path, f"projection.{len(layers)}")
            weights |= added
            layers.append(layer)
    _check_widths(encoder, weights, layers, folder)
    return weights, tuple(layers)


def _dense_folders(folder: Path, kind: Format) -> list[Path]:
    """The folders of the dense layers. Raises `ModelError` for modules that compute otherwise."""
    modules = [(name, path) for name, path in module_folders(folder) if name != MASK]
    names = [name for name, _ in modules]
    expected = ["Transformer", *["Dense"] * names.count("Dense")]
    if kind == "pylate":  # which ignores all other modules
        modules = [(name, path) for name, path in modules if name in expected]
        names = [name for name, _ in modules]
    else:
        names = [name for name, path in modules if not _is_idle(name, path)]
        expected.append("Normalize")
    if names != expected:
        raise ModelError(
            f"{folder}: modules {', '.join(names)} cannot be converted; expected "
            f"{', '.join(expected)}"
        )
    return [path for name, path in modules if name == "Dense"]


def _is_idle(name: str, folder: Path) -> bool:
    """Whether a module changes nothing."""
    return name == _POOLING and Config.read(folder).number("pool_factor", default=1) <= 1


def _projection(folder: Path, ours: str) -> tuple[Arrays, Projection]:
    """A dense layer's weights under our names, and what they do not show."""
    config = Config.read(folder)
    config.refuse("module_input_name", "token_embeddings", remedy="it reads no token states")
    activation = dense_activation(short_name(config.get("activation_function", "Identity")), folder)
    residual = bool(config.get("use_residual", False))
    weights = read_weights(
        folder,
        lambda name: name.replace("linear.", f"{ours}.").replace("residual.", f"{ours}.residual."),
    )
    if f"{ours}.weight" not in weights:
        raise ModelError(f"{folder}: its weights have no {_LINEAR}; expected a dense layer")
    return weights, Projection(activation, residual)


def _check_widths(
    encoder: Checkpoint, weights: Arrays, layers: Sequence[Projection], folder: Path
) -> None:
    """Raise `ModelError` for layers that do not fit one another."""
    width = len(encoder.weights["encoder.layer.0.output.dense.weight"])
    for number, layer in enumerate(layers):
        kernel = weights[f"projection.{number}.weight"]
        shapes = [kernel.shape]
        residual = weights.get(f"projection.{number}.residual.weight")
        if layer.residual and (residual is not None or len(kernel) != width):
            shapes.append(() if residual is None else residual.shape)
        bias = weights.get(f"projection.{number}.bias")
        fits = all(shape == (len(kernel), width) for shape in shapes)
        if not fits or (bias is not None and bias.shape != (len(kernel),)):
            raise ModelError(
                f"{folder}: a dense layer of size {kernel.shape} does not fit states of {width} "
                "numbers; expected a model that was saved whole"
            )
        width = len(kernel)


def _reading(settings: LateSettings, tokenizer: Tokenizer, folder: Path) -> TokenVectors:
    """Settings as token ids. Raises `ModelError` for a token that the tokenizer does not know."""
    return TokenVectors(
        query_marker=_marker(settings.query, tokenizer, folder),
        document_marker=_marker(settings.document, tokenizer, folder),
        query_length=settings.query_length,
        expansion_token=_expansion_token(settings, tokenizer, folder),
        attends_to_expansion=settings.attends_to_expansion,
        query_skiplist=_known(settings.query_skiplist, tokenizer),
        document_skiplist=_known(settings.document_skiplist, tokenizer),
        is_mean=settings.is_mean,
    )


def _marker(prompt: Prompt, tokenizer: Tokenizer, folder: Path) -> tuple[int, ...]:
    """The ids before a text: the marker's own if it is a token, else those of its characters.

    Raises `ModelError` if a text's tokens would depend on what precedes it.
    """
    marker, text = prompt.marker, prompt.text
    number = _id(tokenizer, marker) if marker else None
    if marker and number is None:
        text = marker + text
    ids = _text_ids(tokenizer, text)
    for probe in _PROBES:
        if text and _text_ids(tokenizer, text + probe) != ids + _text_ids(tokenizer, probe):
            raise ModelError(
                f"{folder}: the prompt {text!r} changes how the text behind it is split into "
                "tokens; this cannot be converted"
            )
    return (*([] if number is None else [number]), *ids)


def _id(tokenizer: Tokenizer, marker: str) -> int | None:
    """The token of a marker; some files name it with a space that the token does not have."""
    number: int | None = tokenizer.token_to_id(marker)
    return tokenizer.token_to_id(marker.strip()) if number is None else number


def _text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _expansion_token(settings: LateSettings, tokenizer: Tokenizer, folder: Path) -> int | None:
    """The token that expands queries: the named one, the mask token, or a decoder's last token."""
    if not settings.query_length:
        return None
    named = _named_tokens(folder)
    names = [named.get("mask_token", ""), *_MASK_TOKENS, named.get("eos_token", "")]
    if settings.expansion_token:
        names = [settings.expansion_token]
    ids = [tokenizer.token_to_id(name) for name in names if name]
    known: list[int] = [number for number in ids if number is not None]
    if not known:
        raise ModelError(
            f"{folder}: its tokenizer has no token {settings.expansion_token or 'mask_token'} to "
            "expand queries; expected the tokenizer that the model was trained with"
        )
    return known[0]


def _named_tokens(folder: Path) -> dict[str, str]:
    """The special tokens that the tokenizer's settings name."""
    tokens: dict[str, str] = {}
    for name in (TOKENIZER_SETTINGS, _SPECIAL_TOKENS):
        values: dict[str, Any] = read_object(folder / name) if (folder / name).is_file() else {}
        for key, value in values.items():
            content = value.get("content") if isinstance(value, dict) else value
            if isinstance(content, str):
                tokens.setdefault(key, content)
    return tokens


def _known(words: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of words that are tokens."""
    unknown = json.loads(tokenizer.to_str())["model"].get("unk_token")
    ids = [tokenizer.token_to_id(word) for word in words if word != unknown]
    return tuple(number for number in ids if number is not None)
