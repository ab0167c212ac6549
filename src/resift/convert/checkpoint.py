"""Transformers checkpoints on disk → canonical weights, shape and head.

Only safetensors are read and no remote code is run. Four families share one layout of layers
and differ in names, heads and position counting; anything else is refused by name.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from resift.convert.checkpoint_tokenizer import (
    check_size,
    gives_types,
    open_tokenizer,
    without_types,
)
from resift.convert.graph import Activation, EncoderShape, Head
from resift.convert.labels import one_logit, relevant_label
from resift.convert.sentence_folder import read_limit, read_prompts
from resift.errors import ModelError, ModelNotFound
from resift.extras import require
from resift.rerank.batching import LENGTH_STEP

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
MIN_TOKENS = 64  # a model that reads less has no room for a query beside a document
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


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between BERT-type checkpoints."""

    head: Activation
    first_position: Callable[[Any], int] = lambda config: 0
    token_types: bool = True


def _roberta_position(config: Any) -> int:
    return int(config.pad_token_id) + 1


FAMILIES = {
    "bert": Family("tanh"),
    "electra": Family("gelu"),
    "distilbert": Family("relu", token_types=False),
    "roberta": Family("tanh", _roberta_position),
    "xlm-roberta": Family("tanh", _roberta_position),
    "camembert": Family("tanh", _roberta_position),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model read into memory: canonical float32 weights, and the torch model itself.

    `query_prompt` stands before every query. `relevant` is the label that means relevance, of a
    head with two; `shape` says whether positions have types, as its own tokenizer gives them.
    """

    weights: dict[str, NDArray[np.float32]]
    shape: EncoderShape
    head: Head
    model_type: str
    max_tokens: int
    torch_model: Any
    tokenizer: Any
    query_prompt: str = ""
    relevant: int = 1

    def logits(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """What the checkpoint itself says of texts, ``(n,)``: its own tokenizer, its own model.

        Only the document is cut, as this project does.
        """
        torch = require("torch", "convert")
        logits = []
        for query, text in pairs:
            feeds = self.tokenizer(
                self.query_prompt + query,
                text,
                truncation="only_second",
                max_length=self.max_tokens,
                return_tensors="pt",
            )
            if not self.shape.token_types:
                feeds.pop("token_type_ids", None)
            with torch.inference_mode():
                labels = self.torch_model(**feeds).logits[0].double().numpy()
            alone = len(labels) == 1
            logits.append(float(labels[0] if alone else self._margin(labels)))
        return np.array(logits)

    def _margin(self, labels: NDArray[np.float64]) -> float:
        return float(labels[self.relevant] - labels[1 - self.relevant])


def read_checkpoint(folder: Path) -> Checkpoint:
    """Load a sequence-classification checkpoint with one relevance logit or two labels."""
    source = _read(folder, classifies=True)
    labels = len(source.weights["head.projection.weight"])
    named = source.torch_model.config.id2label
    relevant = relevant_label(named, folder) if labels == 2 else 1
    weights = one_logit(source.weights, relevant, folder)
    limit = read_limit(folder, source.tokenizer, source.max_tokens)
    if limit < MIN_TOKENS:
        raise ModelError(f"{folder}: reads {limit} tokens; a pair needs at least {MIN_TOKENS}")
    source = replace(
        source,
        weights=weights,
        relevant=relevant,
        max_tokens=limit - limit % LENGTH_STEP,
        query_prompt=read_prompts(folder).default,
    )
    types = source.weights.get("embeddings.token_type_embeddings.weight", ())
    if len(types) > 1 and gives_types(source.tokenizer, folder):
        return source
    shape = replace(source.shape, token_types=False)
    return replace(source, weights=without_types(source.weights), shape=shape)


def read_encoder(folder: Path) -> Checkpoint:
    """Load a checkpoint of the same families without a head: its torch model gives states."""
    return _read(folder, classifies=False)


def _read(folder: Path, *, classifies: bool) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"{folder}: no config.json there; expected a transformers checkpoint folder"
        )
    transformers = require("transformers", "convert")
    require("torch", "convert")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with _unreadable(folder, "not a readable checkpoint"):
        config = transformers.AutoConfig.from_pretrained(folder, **options)
    family = _family(config, folder, classifies=classifies)
    tokenizer = open_tokenizer(folder, options)
    _check_weights_are_safe(folder)
    kind = "AutoModelForSequenceClassification" if classifies else "AutoModel"
    with _unreadable(folder, "not a readable safetensors checkpoint"):
        model, loading = getattr(transformers, kind).from_pretrained(
            folder,
            use_safetensors=True,
            dtype="float32",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **options,
        )
    _check_complete(loading, folder)
    weights = _canonical(model)
    _check_numbers(weights, folder)
    check_size(tokenizer, weights, folder)
    return Checkpoint(
        weights=weights,
        shape=_shape(config, family),
        head=Head(family.head),
        model_type=config.model_type,
        max_tokens=_max_tokens(config, tokenizer, folder, classifies=classifies),
        torch_model=model.eval(),
        tokenizer=tokenizer,
    )


@contextmanager
def _unreadable(folder: Path, what: str) -> Iterator[None]:
    """Whatever the libraries raise, safetensors its own kind and torch RuntimeError, in a line."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(f"{folder}: {what} ({reason})") from error


def _check_weights_are_safe(folder: Path) -> None:
    """Only safetensors are read: a pickle runs what its maker put there."""
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(file.name for end in ("*.bin", "*.pt", "*.ckpt") for file in folder.glob(end))
    there = f", only {pickles[0]}, which can run code when it is read" if pickles else ""
    raise ModelError(
        f"{folder}: no safetensors weights{there}; take a revision that has model.safetensors, or "
        "load it where you trust it and save it again with save_pretrained"
    )


def _check_numbers(weights: dict[str, NDArray[np.float32]], folder: Path) -> None:
    broken = [name for name, values in weights.items() if not np.isfinite(values).all()]
    if broken:
        raise ModelError(
            f"{folder}: {len(broken)} weights hold NaN or infinity, {broken[0]} among them; "
            "expected finite numbers: take a checkpoint from before the training broke"
        )


def _family(config: Any, folder: Path, *, classifies: bool) -> Family:
    family = FAMILIES.get(config.model_type)
    architectures = config.architectures or []
    headless = not any("SequenceClassification" in name for name in architectures)
    if family is None or (classifies and headless):
        found = f"{config.model_type} ({', '.join(architectures) or 'no architecture'})"
        what = "cross-encoder" if classifies else "encoder"
        expected = "a sequence classification model of one of " if classifies else "one of "
        also = ", or a sentence-transformers folder with its modules.json" if classifies else ""
        raise ModelError(
            f"{folder}: {found} is no {what} that resift can convert; expected {expected}"
            f"{', '.join(FAMILIES)}{also}"
        )
    positions = getattr(config, "position_embedding_type", "absolute")
    if positions not in (None, "absolute"):
        raise ModelError(f"{folder}: {positions} positions; only absolute ones can be converted")
    if getattr(config, "sinusoidal_pos_embds", False):
        raise ModelError(f"{folder}: sinusoidal positions; only learned ones can be converted")
    activation = getattr(config, "hidden_act", None) or config.activation
    if activation not in ACTIVATIONS:
        raise ModelError(
            f"{folder}: activation {activation}; expected one of {', '.join(ACTIVATIONS)}"
        )
    return family


def _check_complete(loading: dict[str, Any], folder: Path) -> None:
    """Weights that a checkpoint lacks are made up at random when it is loaded: refuse it."""
    missing = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]
    names = {*missing, *(name for name, *_ in loading["mismatched_keys"])}
    if names:
        raise ModelError(
            f"{folder}: {len(names)} weights are missing or of another size than the config "
            f"says, {min(names)} among them; expected a trained model, its head included"
        )


def _shape(config: Any, family: Family) -> EncoderShape:
    return EncoderShape(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        epsilon=getattr(config, "layer_norm_eps", 1e-12),
        activation=ACTIVATIONS[getattr(config, "hidden_act", None) or config.activation],
        first_position=family.first_position(config),
        token_types=family.token_types,
    )


def _max_tokens(config: Any, tokenizer: Any, folder: Path, *, classifies: bool) -> int:
    first = FAMILIES[config.model_type].first_position(config)
    positions = int(config.max_position_embeddings) - first
    limit = min(positions, int(tokenizer.model_max_length))
    what, least = ("pair", MIN_TOKENS) if classifies else ("text", LENGTH_STEP)
    if limit < least:
        raise ModelError(f"{folder}: reads {limit} tokens; a {what} needs at least {least}")
    return limit - limit % LENGTH_STEP


def _canonical(model: Any) -> dict[str, NDArray[np.float32]]:
    prefix = f"{model.base_model_prefix}."
    weights = {}
    for name, tensor in model.state_dict().items():
        name = name.removeprefix(prefix)
        if prefix == "distilbert.":
            for theirs, ours in _DISTILBERT_NAMES.items():
                name = name.replace(theirs, ours)
        for theirs, ours in _HEAD_NAMES.items():
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
                break
        weights[name] = cast("NDArray[np.float32]", tensor.float().numpy())
    return weights
