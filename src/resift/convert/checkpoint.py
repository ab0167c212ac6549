"""Transformers checkpoints on disk → weights under `graph.py`'s names, shape, tokenizer.

This file reads a checkpoint's config and tokenizer, by transformers; a `LoadModel` loads its
weights (`training.checkpoint.load_model`, which needs torch). `FAMILIES` is the table of
architectures: to add one with BERT's layers, add an entry. Only safetensors are read, and a
checkpoint's code is never run.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.convert.folder import (
    check_vocabulary,
    has_pair_types,
    open_tokenizer,
    read_limit,
    read_prompts,
)
from resift.convert.graph import Activation
from resift.convert.layers import EncoderShape
from resift.errors import ModelError, ModelNotFound, ResiftError
from resift.extras import require
from resift.rerank.batching import LENGTH_STEP
from resift.rerank.native import first_line

MIN_PAIR_TOKENS = 64  # fewer have no room for a query and a document
SAFE: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options of all calls that let transformers load files."""

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_HEAD_NAMES = {
    "pooler.dense.": "head.dense.",
    "pre_classifier.": "head.dense.",
    "classifier.dense.": "head.dense.",
    "classifier.out_proj.": "head.projection.",
    "classifier.": "head.projection.",
}
_DISTILBERT_NAMES = {
    "transformer.layer.": "encoder.layer.",
    ".attention.q_lin.": ".attention.self.query.",
    ".attention.k_lin.": ".attention.self.key.",
    ".attention.v_lin.": ".attention.self.value.",
    ".attention.out_lin.": ".attention.output.dense.",
    ".sa_layer_norm.": ".attention.output.LayerNorm.",
    ".ffn.lin1.": ".intermediate.dense.",
    ".ffn.lin2.": ".output.dense.",
    ".output_layer_norm.": ".output.LayerNorm.",
}
RELEVANT = {"relevant", "yes", "true", "positive", "pos", "match", "1", "duplicate", "entailment"}
IRRELEVANT = {"irrelevant", "no", "false", "negative", "neg", "0", "unrelated"}
_DEFAULT_NAME = re.compile(r"label_?([01])")  # transformers' names for unnamed labels
_NEGATIONS = ("not", "non", "no", "un")
_POSITIONS = "embeddings.position_embeddings.weight"
_TYPES = "embeddings.token_type_embeddings.weight"

Weights = dict[str, NDArray[np.float32]]
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Family:
    """How an architecture differs from BERT; `names` maps its names of layers to BERT's.

    In a model with a head, `prefix` precedes the names of the encoder's weights.
    """

    prefix: str
    head_activation: Activation
    first_position: Callable[[Any], int] = lambda config: 0
    token_types: bool = True
    names: Mapping[str, str] = field(default_factory=dict)


_ROBERTA = Family("roberta.", "tanh", first_position=lambda config: int(config.pad_token_id) + 1)

FAMILIES = {
    "bert": Family("bert.", "tanh"),
    "electra": Family("electra.", "gelu"),
    "distilbert": Family("distilbert.", "relu", token_types=False, names=_DISTILBERT_NAMES),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
}
"""Architectures that can be converted, by the ``model_type`` of ``config.json``."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory: its arrays by name, and its forward pass.

    `forward` takes the int64 inputs of one text or pair, ``(1, tokens)``, and returns float32
    logits of labels ``(labels,)``, or without a head token states ``(tokens, dim)``. `missing`
    names weights that the files lack or have in another size.
    """

    arrays: Weights
    missing: Sequence[str]
    forward: Callable[[Mapping[str, NDArray[np.int64]]], NDArray[np.float32]]


class LoadModel(Protocol):
    """Loads the weights of a checkpoint folder, with or without its head."""

    def __call__(self, folder: Path, *, with_head: bool) -> LoadedModel: ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in memory. `query_prompt` is put before every query.

    `relevant_label` is the label that means relevance, for a head with two labels.
    """

    weights: Weights
    shape: EncoderShape
    max_tokens: int
    tokenizer: Any
    model: LoadedModel
    config: Any
    query_prompt: str = ""
    relevant_label: int = 1

    def logits(self, pairs: Pairs) -> NDArray[np.float64]:
        """The checkpoint's logits for pairs, ``(n,)``; only documents are truncated, as in use."""
        logits = []
        for query, text in pairs:
            labels = self._run(self.query_prompt + query, text, truncation="only_second")
            relevant, irrelevant = labels[0], 0.0
            if len(labels) == 2:
                relevant, irrelevant = labels[self.relevant_label], labels[1 - self.relevant_label]
            logits.append(float(relevant) - float(irrelevant))
        return np.array(logits)

    def states(self, text: str) -> NDArray[np.float32]:
        """The checkpoint's token states of a text, ``(tokens, dim)``."""
        return self._run(text, truncation=True)

    def _run(self, *texts: str, truncation: bool | str) -> NDArray[np.float32]:
        inputs = self.tokenizer(
            *texts, truncation=truncation, max_length=self.max_tokens, return_tensors="np"
        )
        names = [name for name in inputs if name != "token_type_ids" or self.shape.token_types]
        return self.model.forward({name: inputs[name] for name in names})


def read_cross_encoder(folder: Path, load: LoadModel) -> Checkpoint:
    """Read a sequence classifier with one relevance logit or two labels. Raises `ModelError`."""
    source = read_checkpoint(folder, load, with_head=True)
    labels = len(source.weights["head.projection.weight"])
    relevant = _relevant_label(source.config.id2label, folder) if labels == 2 else 1
    weights = _relevance_logit(source.weights, relevant, folder)
    shape = source.shape
    limit = read_limit(folder, source.tokenizer, source.max_tokens)
    if not (len(weights.get(_TYPES, ())) > 1 and has_pair_types(source.tokenizer, folder)):
        shape = replace(shape, token_types=False)
        if _TYPES in weights:  # all tokens have type 0, so its embedding is added to the positions
            weights[_POSITIONS] = weights[_POSITIONS] + weights.pop(_TYPES)[0]
    return replace(
        source,
        weights=weights,
        shape=shape,
        max_tokens=_whole_steps(limit, MIN_PAIR_TOKENS, "pair", folder),
        query_prompt=read_prompts(folder).default,
        relevant_label=relevant,
    )


def read_checkpoint(folder: Path, load: LoadModel, *, with_head: bool) -> Checkpoint:
    """Read a model of one of `FAMILIES`, a classifier or an encoder alone. Raises `ModelError`."""
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"{folder}: no config.json there; expected a transformers checkpoint folder"
        )
    transformers = require("transformers", "convert")
    with _readable(folder, "not a readable checkpoint"):
        config = transformers.AutoConfig.from_pretrained(folder, **SAFE)
    family = _family(config, folder, with_head=with_head)
    tokenizer = open_tokenizer(folder, SAFE)
    _check_safetensors(folder)
    with _readable(folder, "not a readable safetensors checkpoint"):
        model = load(folder, with_head=with_head)
    missing = [name for name in model.missing if not name.startswith("pooler.")]
    if missing:  # transformers initialises them at random
        raise ModelError(
            f"{folder}: {len(missing)} weights are missing or do not have the size in the config, "
            f"such as {min(missing)}; expected a trained model with its head"
        )
    weights = {_canonical_name(name, family): array for name, array in model.arrays.items()}
    _check_finite(weights, folder)
    check_vocabulary(tokenizer, len(weights["embeddings.word_embeddings.weight"]), folder)
    first = family.first_position(config)
    limit = min(int(config.max_position_embeddings) - first, int(tokenizer.model_max_length))
    needed = (MIN_PAIR_TOKENS, "pair") if with_head else (LENGTH_STEP, "text")
    shape = EncoderShape(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        epsilon=getattr(config, "layer_norm_eps", 1e-12),
        activation=ACTIVATIONS[_activation(config)],
        first_position=first,
        token_types=family.token_types,
        head_activation=family.head_activation,
    )
    return Checkpoint(
        weights, shape, _whole_steps(limit, *needed, folder), tokenizer, model, config
    )


def _family(config: Any, folder: Path, *, with_head: bool) -> Family:
    family = FAMILIES.get(config.model_type)
    architectures = config.architectures or []
    is_classifier = any("SequenceClassification" in name for name in architectures)
    if family is None or (with_head and not is_classifier):
        name = f"{config.model_type} ({', '.join(architectures) or 'no architecture'})"
        kind, expected, alternative = "model", "one of ", ""
        if with_head:
            kind, expected = "cross-encoder", "a sequence classification model of one of "
            alternative = ", or a sentence-transformers folder with its modules.json"
        raise ModelError(
            f"{folder}: {name} is not a {kind} that resift can convert; expected {expected}"
            f"{', '.join(FAMILIES)}{alternative}"
        )
    positions = getattr(config, "position_embedding_type", "absolute")
    if positions not in (None, "absolute"):
        raise ModelError(
            f"{folder}: {positions} positions; only absolute positions can be converted"
        )
    if getattr(config, "sinusoidal_pos_embds", False):
        raise ModelError(f"{folder}: sinusoidal positions; only learned positions can be converted")
    if _activation(config) not in ACTIVATIONS:
        raise ModelError(
            f"{folder}: activation {_activation(config)}; expected one of {', '.join(ACTIVATIONS)}"
        )
    return family


def _activation(config: Any) -> str:
    name: str = getattr(config, "hidden_act", None) or config.activation
    return name


def _canonical_name(name: str, family: Family) -> str:
    name = name.removeprefix(family.prefix)
    for theirs, ours in family.names.items():
        name = name.replace(theirs, ours)
    for theirs, ours in _HEAD_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _whole_steps(limit: int, least: int, unit: str, folder: Path) -> int:
    """Round a token limit down to a multiple of `LENGTH_STEP`. Raises `ModelError`."""
    if limit < least:
        raise ModelError(f"{folder}: reads {limit} tokens; a {unit} needs at least {least}")
    return limit - limit % LENGTH_STEP


@contextmanager
def _readable(folder: Path, problem: str) -> Iterator[None]:
    """Turn any error of transformers, safetensors or torch into a `ModelError` of one line."""
    try:
        yield
    except ResiftError:
        raise
    except Exception as error:
        raise ModelError(f"{folder}: {problem} ({first_line(error)})") from error


def _check_safetensors(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(file.name for end in ("*.bin", "*.pt", "*.ckpt") for file in folder.glob(end))
    only = f", only {pickles[0]}, which can run code when it is read" if pickles else ""
    raise ModelError(
        f"{folder}: no safetensors weights{only}; use a revision that has model.safetensors, or "
        "load it where you trust it and save it again with save_pretrained"
    )


def _check_finite(weights: Weights, folder: Path) -> None:
    broken = [name for name, values in weights.items() if not np.isfinite(values).all()]
    if broken:
        raise ModelError(
            f"{folder}: {len(broken)} weights contain NaN or infinity, such as {broken[0]}; "
            "expected finite numbers: use a checkpoint from before the training diverged"
        )


def _relevant_label(id2label: Mapping[Any, Any] | None, folder: Path) -> int:
    """Which of two labels means relevance, by its name; 1 if labels have only default names.

    Raises `ModelError` if the names do not decide.
    """
    names = {int(label): str(name) for label, name in (id2label or {}).items()}
    words = [
        re.sub(r"[\s\-]+", "_", names.get(label, f"label_{label}").strip().lower())
        for label in (0, 1)
    ]
    defaults = [_DEFAULT_NAME.fullmatch(word) for word in words]
    if all(defaults):
        return [match and match[1] for match in defaults].index("1")
    meanings = [_means_relevance(word) for word in words]
    if meanings in ([False, True], [None, True], [False, None]):
        return 1
    if meanings in ([True, False], [True, None], [None, False]):
        return 0
    raise ModelError(
        f"{folder}: labels {names.get(0)!r} and {names.get(1)!r} do not decide which one "
        "means relevance; name them irrelevant and relevant in config.json's id2label"
    )


def _relevance_logit(weights: Weights, relevant: int, folder: Path) -> Weights:
    """The weights with a head of one logit, for two labels the difference of their logits."""
    kernel, bias = weights["head.projection.weight"], weights["head.projection.bias"]
    if len(kernel) == 2:
        irrelevant = 1 - relevant
        kernel = (kernel[relevant] - kernel[irrelevant])[None]
        bias = (bias[relevant] - bias[irrelevant])[None]
    if len(kernel) != 1:
        raise ModelError(
            f"{folder}: a head of {len(kernel)} labels; a reranker has one logit or two labels"
        )
    return weights | {"head.projection.weight": kernel, "head.projection.bias": bias}


def _means_relevance(word: str) -> bool | None:
    """Whether a label means relevance; None for an unknown word."""
    if word in RELEVANT:
        return True
    negated = (word.removeprefix(negation).lstrip("_") for negation in _NEGATIONS)
    if word in IRRELEVANT or any(rest != word and rest in RELEVANT for rest in negated):
        return False
    return None
