"""How a late-interaction checkpoint reads texts, from the files of its three formats.

*Stanford ColBERT*: ``artifact.metadata`` beside an ``HF_ColBERT``. *PyLate*: the settings file has
``query_prefix``, ``document_length`` and so on. *sentence-transformers*: a MultiVectorEncoder keeps
them with its modules. What a file leaves out has the format's own default.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resift.convert.config import Config, read_json, read_object
from resift.convert.modules import module_folder, module_kinds, transformer_folder
from resift.errors import ModelError
from resift.rerank.checkpoint_files import CONFIG, METADATA, MODULES, SETTINGS

Format = Literal["stanford", "pylate", "sentence-transformers"]

MASK = "MultiVectorMask"
_STANFORD = "HF_ColBERT"
_PYLATE_KEYS = ("query_prefix", "document_prefix", "attend_to_expansion_tokens")
_QUERY_LENGTH, _STANFORD_DOCUMENT, _PYLATE_DOCUMENT = 32, 220, 180  # the authors' defaults
_MAXSIM, _MEAN = "maxsim", "meanmaxsim"
_OTHER_NAMES = ("cosine", "dot", "l2")
"""Names of a metric in older files. They order unit vectors alike; the sum is of cosines."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What precedes a text: a `marker`, which is a token, and then `text`. Both may be empty."""

    marker: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class LateSettings:
    """A checkpoint's settings; `document_length` None is the tokenizer's limit.

    Queries are expanded to `query_length` tokens, 0 without expansion, by `expansion_token`; None
    is the tokenizer's mask token. Tokens of the skiplists are not compared.
    """

    query: Prompt
    document: Prompt
    query_length: int
    document_length: int | None
    attends_to_expansion: bool
    query_skiplist: tuple[str, ...] = ()
    document_skiplist: tuple[str, ...] = ()
    expansion_token: str | None = None
    is_mean: bool = False


def late_format(folder: Path) -> Format | None:
    """The format of a late-interaction checkpoint; None for another model. Raises `ModelError`."""
    if (folder / MODULES).is_file():
        settings = _settings(folder)
        if settings.get("model_type") == "ColBERT" or _is_pylate(folder, settings):
            return "pylate"
        if settings.get("model_type") == "MultiVectorEncoder" or MASK in module_kinds(folder):
            return "sentence-transformers"
        return None
    if not (folder / CONFIG).is_file():
        return None
    return "stanford" if _STANFORD in Config.read(folder).architectures else None


def read_late_settings(folder: Path, kind: Format) -> LateSettings:
    """Raises `ModelError` for settings that an artifact cannot have."""
    if kind == "stanford":
        return _stanford(folder)
    return _pylate(folder) if kind == "pylate" else _multi_vector_encoder(folder)


def _stanford(folder: Path) -> LateSettings:
    file = folder / METADATA
    metadata = Config(file, read_object(file) if file.is_file() else {})
    _is_mean(metadata.get("similarity"), file)
    is_masked = _flag(metadata, "mask_punctuation", True)
    return LateSettings(
        query=Prompt(_text(metadata, "query_token_id", "[unused0]")),
        document=Prompt(_text(metadata, "doc_token_id", "[unused1]")),
        query_length=metadata.whole("query_maxlen", default=_QUERY_LENGTH, least=1),
        document_length=metadata.whole("doc_maxlen", default=_STANFORD_DOCUMENT, least=1),
        attends_to_expansion=_flag(metadata, "attend_to_mask_tokens", False),
        document_skiplist=tuple(string.punctuation) if is_masked else (),
    )


def _pylate(folder: Path) -> LateSettings:
    settings = Config(folder / SETTINGS, _settings(folder))
    prompts = settings.get("prompts", {})
    expands = _flag(settings, "do_query_expansion", True)
    length = settings.whole("query_length", default=_QUERY_LENGTH, least=1)
    return LateSettings(
        query=_with_marker(_text(settings, "query_prefix", "[Q] "), _prompt(prompts, "query")),
        document=_with_marker(
            _text(settings, "document_prefix", "[D] "), _prompt(prompts, "document")
        ),
        query_length=length if expands else 0,
        document_length=settings.whole("document_length", default=_PYLATE_DOCUMENT, least=1),
        attends_to_expansion=_flag(settings, "attend_to_expansion_tokens", False),
        document_skiplist=_words(settings, "skiplist_words", tuple(string.punctuation)),
        is_mean=_is_mean(settings.get("similarity_fn_name"), settings.file),
    )


def _multi_vector_encoder(folder: Path) -> LateSettings:
    settings = Config(folder / SETTINGS, _settings(folder))
    prompts = settings.get("prompts", {})
    values: dict[str, Any] = {}
    files = sorted(transformer_folder(folder).glob("sentence_*_config.json"))
    for file in files:
        values |= read_object(file)
    encoder = Config(files[0] if files else folder / MODULES, values)
    expansion = encoder.get("query_expansion")
    if not isinstance(expansion, dict | None):
        raise ModelError(f"{encoder.file}: query_expansion {expansion!r}; expected an object")
    query = Config(encoder.file, expansion or {})
    mask = _mask(folder)
    skipped, tasks = _words(mask, "skiplist_words", ()), mask.get("skiplist_tasks", ["document"])
    length = encoder.get("document_length")
    token = query.get("token")
    if not isinstance(token, str | None):
        raise ModelError(f"{encoder.file}: expansion token {token!r}; expected text")
    return LateSettings(
        query=Prompt(text=_prompt(prompts, "query")),
        document=Prompt(text=_prompt(prompts, "document")),
        query_length=0 if expansion is None else query.whole("length", least=1),
        document_length=None if length is None else encoder.whole("document_length", least=1),
        attends_to_expansion=_flag(query, "attend", False),
        query_skiplist=skipped if "query" in tasks else (),
        document_skiplist=skipped if "document" in tasks else (),
        expansion_token=token,
        is_mean=_is_mean(settings.get("similarity_fn_name"), settings.file),
    )


def _mask(folder: Path) -> Config:
    """The settings of the module that decides which tokens are compared."""
    if MASK not in module_kinds(folder):
        return Config(folder / MODULES, {})
    mask = Config.read(module_folder(folder, MASK))
    mask.refuse(
        "keep_only_token_ids", [], remedy="it compares parts of images, which cannot be converted"
    )
    return mask


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / SETTINGS
    return read_object(file) if file.is_file() else {}


def _is_pylate(folder: Path, settings: Mapping[str, Any]) -> bool:
    if any(key in settings for key in _PYLATE_KEYS):
        return True
    modules = read_json(folder / MODULES)
    rows = modules if isinstance(modules, list) else []
    return any(isinstance(row, dict) and "pylate." in str(row.get("type")) for row in rows)


def _with_marker(marker: str, prompt: str) -> Prompt:
    """PyLate puts the marker before the prompt, which repeats it in some files."""
    return Prompt(marker, prompt.removeprefix(marker))


def _prompt(prompts: object, name: str) -> str:
    prompt = prompts.get(name) if isinstance(prompts, dict) else None
    if not isinstance(prompt, str | None):
        raise ModelError(f"{SETTINGS}: the prompt {name} is {prompt!r}; expected text")
    return prompt or ""


def _text(config: Config, name: str, default: str) -> str:
    value = config.get(name, default)
    if not isinstance(value, str):
        raise ModelError(f"{config.file}: {name} {value!r}; expected text")
    return value


def _flag(config: Config, name: str, default: bool) -> bool:
    value = config.get(name, default)
    if type(value) is not bool:
        raise ModelError(f"{config.file}: {name} {value!r}; expected true or false")
    return value


def _words(config: Config, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    words = config.get(name, list(default))
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ModelError(f"{config.file}: {name} {words!r}; expected a list of texts")
    return tuple(words)


def _is_mean(name: object, file: Path) -> bool:
    """Whether a score is the mean of the best cosines, by the name of a metric."""
    metric = _MAXSIM if name is None else str(name).lower()
    if metric not in (_MAXSIM, _MEAN, *_OTHER_NAMES):
        raise ModelError(
            f"{file}: compares by {name!r}, which cannot be converted; expected {_MAXSIM} or "
            f"{_MEAN}"
        )
    return metric == _MEAN
