"""Read a checkpoint folder's tokenizer and its sentence-transformers files.

transformers opens the tokenizer. Both bi-encoders and cross-encoders may have
sentence-transformers files, with older or newer names of settings.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resift.errors import ModelError
from resift.extras import require
from resift.files import read_regular
from resift.rerank.artifact import Pooling
from resift.rerank.native import first_line

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
SENTENCEPIECE = "*.model"
MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
MAX_BYTES = 16 << 20
_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls"}
_OLD_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def open_tokenizer(folder: Path, options: Mapping[str, Any]) -> Any:
    """Open the folder's tokenizer in its fast form. Raises `ModelError`."""
    has_files = any((folder / name).exists() for name in TOKENIZER_FILES)
    if not has_files and not any(folder.glob(SENTENCEPIECE)):
        raise ModelError(
            f"{folder}: contains no tokenizer; expected {', '.join(TOKENIZER_FILES)} or *.model"
        )
    if not has_files and find_spec("sentencepiece") is None:
        raise ModelError(f"{folder}: its tokenizer is a SentencePiece model; {_remedy(folder)}")
    transformers = require("transformers", "convert")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, **options)
    except Exception as error:  # transformers raises many types
        raise ModelError(
            f"{folder}: its tokenizer cannot be read ({first_line(error)}); {_remedy(folder)}"
        ) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(f"{folder}: its tokenizer has no fast form; {_remedy(folder)}")
    return tokenizer


def check_vocabulary(tokenizer: Any, rows: int, folder: Path) -> None:
    """Raise `ModelError` if token ids do not fit an embedding table of `rows`."""
    vocabulary = tokenizer.get_vocab()
    highest = max(vocabulary.values(), default=0)
    if len(vocabulary) < rows / 2:  # transformers invents a vocabulary if it finds none
        raise ModelError(
            f"{folder}: its tokenizer knows {len(vocabulary)} tokens, its embedding table {rows}; "
            f"{_remedy(folder)}"
        )
    if highest >= rows:
        raise ModelError(
            f"{folder}: its tokenizer gives ids up to {highest}, its embedding table has {rows} "
            "rows; use the tokenizer that the model was trained with, or train it with a table "
            "of that size"
        )


def has_pair_types(tokenizer: Any, folder: Path) -> bool:
    """Whether the second text of a pair gets token type 1.

    Raises `ModelError` for types that are neither all 0 nor 1 from the second text on.
    """
    types = list(tokenizer("a", "b").get("token_type_ids") or [])
    if not any(types):
        return False
    first = types.index(1) if 1 in types else len(types)
    expected = [0] * first + [1] * (len(types) - first)
    if types != expected or first != tokenizer("a", "b").sequence_ids(0).index(1):
        raise ModelError(
            f"{folder}: its tokenizer gives a pair the types {types}; expected 0 for the "
            "first text and 1 from the second on"
        )
    return True


def _remedy(folder: Path) -> str:
    if (folder / "tokenizer.json").is_file():
        return "expected the tokenizer.json that the model was trained with"
    return (
        "it has no tokenizer.json: pip install sentencepiece protobuf, to make one, or use a "
        "revision that has one"
    )


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
    settings = _read_object(file) if file.is_file() else {}
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


def read_limit(folder: Path, tokenizer: Any, limit: int) -> int:
    """The maximum number of tokens: the folder's limit if it is below `limit`.

    Raises `ModelError` if texts must be lower-cased and the tokenizer does not do that.
    """
    settings: dict[str, Any] = {}
    for file in folder.glob("sentence_*_config.json"):
        settings |= _read_object(file)
    if settings.get("do_lower_case") and (
        tokenizer("A b C")["input_ids"] != tokenizer("a b c")["input_ids"]
    ):
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


def module_folder(folder: Path, kind: str) -> Path:
    """The folder of the one module of a kind. Raises `ModelError`."""
    paths = [path for name, path in _modules(folder) if name == kind]
    if len(paths) != 1:
        raise ModelError(f"{folder}: {len(paths)} modules of the kind {kind}; expected one")
    if not (folder / paths[0]).resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"{folder}: module {kind} is at {paths[0]}; expected a path inside the folder"
        )
    return folder / paths[0]


def is_bi_encoder(folder: Path) -> bool:
    """Whether a folder has modules and its model is not a classifier."""
    if not (folder / MODULES).is_file():
        return False
    config = _read_object(module_folder(folder, "Transformer") / "config.json")
    return not any("SequenceClassification" in name for name in config.get("architectures") or [])


def read_pooling(folder: Path) -> Pooling:
    """How a bi-encoder pools its token states. Raises `ModelError`."""
    config = _read_object(module_folder(folder, "Pooling") / "config.json")
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
        rows = _read_json(file)
        return [(str(row["type"]).rpartition(".")[2], str(row["path"])) for row in rows]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file}: expected a list of modules with type and path") from error


def _read_object(file: Path) -> dict[str, Any]:
    values = _read_json(file)
    if not isinstance(values, dict):
        raise ModelError(f"{file}: expected a JSON object")
    return values


def _read_json(file: Path) -> Any:
    try:
        return json.loads(read_regular(file, MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not readable as JSON ({error})") from error
