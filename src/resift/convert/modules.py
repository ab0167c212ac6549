"""A folder's sentence-transformers files: modules, prompts, limits, and a head of dense layers.

Both bi-encoders and cross-encoders may have them, with older or newer names of settings.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.convert.config import ACTIVATIONS, Config, read_json, read_object
from resift.convert.families.family import Arrays
from resift.convert.graph import Activation
from resift.convert.safetensors_files import read_weights
from resift.convert.tokenizer_files import CheckpointTokenizer
from resift.errors import ModelError
from resift.rerank.artifact import Pooling
from resift.rerank.checkpoint_files import CONFIG, MODULES, SETTINGS

LOGIT_SCORE = "LogitScore"  # sentence-transformers' name of what makes logits of tokens a score
_RISING = ("identity", "sigmoid", "tanh")  # a higher logit has a higher score, so logits suffice
_DEFAULT_ACTIVATION = "Tanh"  # of a dense layer that names none
_POOLED = "sentence_embedding"
_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls"}
_OLD_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts by name; a cross-encoder puts the `default` prompt before its query."""

    by_name: dict[str, str]
    default: str

    def first(self, *names: str) -> str:
        """The first of these prompts that is not empty, or an empty text."""
        return next((self.by_name[name] for name in names if self.by_name.get(name)), "")


def read_prompts(folder: Path) -> Prompts:
    """Read the folder's prompts; there are none without a settings file. Raises `ModelError`."""
    file = folder / SETTINGS
    settings = read_object(file) if file.is_file() else {}
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(
        isinstance(text, str | None) for text in prompts.values()
    ):
        raise ModelError(f"{file}: prompts {prompts!r}; expected texts by name")
    if default is not None and default not in prompts:
        raise ModelError(
            f"{file}: default_prompt_name {default!r} is none of its prompts; expected one of "
            f"{', '.join(prompts) or 'none'}"
        )
    by_name = {name: text or "" for name, text in prompts.items()}
    return Prompts(by_name, by_name.get(default, "") if default is not None else "")


def read_limit(folder: Path, tokenizer: CheckpointTokenizer, limit: int) -> int:
    """The maximum number of tokens: the folder's limit if it is below `limit`.

    Raises `ModelError` if texts must be lower-cased and the tokenizer does not do that.
    """
    settings: dict[str, Any] = {}
    for file in folder.glob("sentence_*_config.json"):
        settings |= read_object(file)
    if settings.get("do_lower_case") and not tokenizer.lowers_case():
        raise ModelError(
            f"{folder}: do_lower_case is set, but its tokenizer keeps case; this is not supported"
        )
    max_length = settings.get("max_seq_length")
    if max_length is None:
        return limit
    if type(max_length) is not int or max_length < 1:
        raise ModelError(f"{folder}: max_seq_length {max_length!r}; expected a whole number from 1")
    return min(max_length, limit)


def module_kinds(folder: Path) -> list[str]:
    """The class names of the folder's modules, in order."""
    return [kind for kind, _ in _modules(folder)]


def module_folders(folder: Path) -> list[tuple[str, Path]]:
    """The class name and the folder of each module, in order. Raises `ModelError`."""
    return [(kind, _inside(folder, path)) for kind, path in _modules(folder)]


def module_folder(folder: Path, kind: str) -> Path:
    """The folder of the one module of a kind. Raises `ModelError`."""
    paths = [path for name, path in _modules(folder) if name == kind]
    if len(paths) != 1:
        raise ModelError(f"{folder}: {len(paths)} modules of the kind {kind}; expected one")
    return _inside(folder, paths[0])


def _inside(folder: Path, path: str) -> Path:
    """The folder of a module. Raises `ModelError` if it is elsewhere."""
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder}: a module is at {path}; expected a path inside the folder")
    return folder / path


def transformer_folder(folder: Path) -> Path:
    """The folder of the encoder: that of the module, or the folder itself without modules."""
    return module_folder(folder, "Transformer") if (folder / MODULES).is_file() else folder


def has_scoring_modules(folder: Path) -> bool:
    """Whether modules after the encoder make a score of its states: a head of dense layers."""
    if not (folder / MODULES).is_file():
        return False
    kind, path = _modules(folder)[-1]
    return (
        kind == "Dense"
        and read_object(_inside(folder, path) / CONFIG).get("module_output_name") == "scores"
    )


def is_causal(folder: Path) -> bool:
    """Whether a folder's model is a decoder whose next token answers: alone, or with LogitScore."""
    if (folder / MODULES).is_file() and module_kinds(folder)[-1] != LOGIT_SCORE:
        return False
    return _is_a(transformer_folder(folder), "ForCausalLM")


def is_bi_encoder(folder: Path) -> bool:
    """Whether a folder has modules and its model is no classifier and has no head that scores."""
    if not (folder / MODULES).is_file() or has_scoring_modules(folder) or is_causal(folder):
        return False
    return not _is_classifier(module_folder(folder, "Transformer"))


def is_reranker(folder: Path) -> bool:
    """Whether a folder's model gives scores: by a classifier, modules, or its next token."""
    is_classifier = _is_classifier(transformer_folder(folder))
    return has_scoring_modules(folder) or is_classifier or is_causal(folder)


def _is_classifier(folder: Path) -> bool:
    return _is_a(folder, "SequenceClassification")


def _is_a(folder: Path, kind: str) -> bool:
    """Whether the class of a folder's model is of a kind, by a part of its name."""
    return any(kind in name for name in Config.read(folder).architectures)


@dataclass(frozen=True, slots=True)
class Head:
    """A head of modules: its weights under canonical names, and what they do not show."""

    weights: Arrays
    pooling: Pooling
    activation: Activation
    epsilon: float = 1e-5  # of torch's LayerNorm


def read_head(folder: Path) -> Head:
    """Read ``Pooling``, at most one ``Dense`` and ``LayerNorm``, and the ``Dense`` that scores.

    Raises `ModelError` for other modules.
    """
    _, *modules, (_, last) = _modules(folder)
    weights, last_activation = _dense(_inside(folder, last), "head.projection")
    _check_order_is_kept(last_activation, len(weights["head.projection.weight"]), folder / last)
    activation: Activation = "identity"
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Pooling"], ["Pooling", "Dense"], ["Pooling", "Dense", "LayerNorm"]):
        raise ModelError(
            f"{folder}: modules {', '.join(kinds)} and Dense cannot be converted; expected "
            "Pooling, Dense, LayerNorm and Dense"
        )
    for kind, path in modules:
        if kind == "Dense":
            dense, name = _dense(_inside(folder, path), "head.dense")
            activation = dense_activation(name, folder / path)
            weights |= dense
        if kind == "LayerNorm":
            weights |= read_weights(
                _inside(folder, path), lambda name: name.replace("norm.", "head.norm.")
            )
    return Head(weights, read_pooling(folder), activation)


def _dense(folder: Path, ours: str) -> tuple[Arrays, str]:
    """A dense layer's weights under our name, and its activation in lower case."""
    config = read_object(folder / CONFIG)
    if config.get("use_residual") or config.get("module_input_name", _POOLED) != _POOLED:
        raise ModelError(
            f"{folder}: cannot be converted; expected a dense layer that reads {_POOLED}, without "
            "a residual"
        )
    name = short_name(config.get("activation_function") or _DEFAULT_ACTIVATION)
    weights = read_weights(folder, lambda name: name.replace("linear.", f"{ours}."))
    if f"{ours}.weight" not in weights:
        raise ModelError(f"{folder}: its weights have no linear.weight; expected a dense layer")
    return weights, name


def read_dense(folder: Path) -> tuple[Arrays, tuple[Activation, ...]]:
    """The dense layers behind the pooling of a bi-encoder, ``head.dense.N``, and what activates.

    Raises `ModelError`.
    """
    weights: Arrays = {}
    activations: list[Activation] = []
    for kind, path in _modules(folder):
        if kind == "Dense":
            layer, name = _dense(_inside(folder, path), f"head.dense.{len(activations)}")
            weights |= layer
            activations.append(dense_activation(name, folder / path))
    return weights, tuple(activations)


def dense_activation(name: str, folder: Path) -> Activation:
    """An activation by its `short_name`. Raises `ModelError` for one that graphs cannot have."""
    if name not in ("identity", *ACTIVATIONS):
        raise ModelError(
            f"{folder}: activation {name}; expected identity or one of {', '.join(ACTIVATIONS)}"
        )
    return "identity" if name == "identity" else ACTIVATIONS[name]


def activation_of(folder: Path) -> str:
    """What sentence-transformers makes scores of logits with, in small letters; empty if unnamed.

    It is in the settings file, or in the encoder's config as older versions save it.
    """
    file, config = folder / SETTINGS, Config.read(transformer_folder(folder))
    older = config.get("sentence_transformers")
    activation = (
        (read_object(file) if file.is_file() else {}).get("activation_fn")
        or (older.get("activation_fn") if isinstance(older, dict) else None)
        or config.get("sbert_ce_default_activation_function")
    )
    return short_name(activation or "")


def check_activation(folder: Path, labels: int) -> None:
    """Raise `ModelError` if scores are activated by what changes the order of their logits."""
    if activation := activation_of(folder):
        _check_order_is_kept(activation, labels, folder)


def _check_order_is_kept(activation: str, labels: int, folder: Path) -> None:
    if activation not in _RISING and not (activation == "softmax" and labels == 2):
        raise ModelError(
            f"{folder}: its scores are activated by {activation}, which does not keep the order of "
            f"its {labels} logits; expected one of {', '.join(_RISING)}, or softmax for two labels"
        )


def short_name(activation: object) -> str:
    """``torch.nn.modules.activation.GELU`` → ``gelu``."""
    return str(activation).rpartition(".")[2].lower()


def read_pooling(folder: Path) -> Pooling:
    """How a bi-encoder pools its token states. Raises `ModelError`."""
    config = read_object(module_folder(folder, "Pooling") / CONFIG)
    modes = config.get("pooling_mode")
    if modes is None:
        flags = [name for name in config if name.startswith("pooling_mode_") and config[name]]
        modes = [_OLD_POOLINGS.get(name, name) for name in flags] or "mean"
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ModelError(
            f"{folder}: pools by {', '.join(map(str, modes))}; only mean or cls can be converted"
        )
    if not config.get("include_prompt", True):
        raise ModelError(
            f"{folder}: leaves its prompt out of the pooling; this cannot be converted"
        )
    return _POOLINGS[modes[0]]


def _modules(folder: Path) -> list[tuple[str, str]]:
    """The class name and the folder of each module."""
    file = folder / MODULES
    try:
        rows = read_json(file)
        modules = [(str(row["type"]).rpartition(".")[2], str(row["path"])) for row in rows]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file}: expected a list of modules with type and path") from error
    if not modules:
        raise ModelError(f"{file}: has no modules; expected a list of them with type and path")
    return modules
