"""A sentence-transformers folder → its encoder, how it pools, and what it reads before a text.

Its ``modules.json`` says of what it is made; its modules' configurations have changed their names
over the years, and both the old and the new are read.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resift.errors import ModelError
from resift.rerank.artifact import Pooling
from resift.rerank.schedule import LENGTH_STEP
from resift.training.checkpoint import Checkpoint, read_encoder

MODULES = "modules.json"
CONVERTIBLE = ("Transformer", "Pooling", "Normalize")
_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls"}
_OLD_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_PASSAGE_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True, slots=True)
class BiEncoder:
    """A checkpoint that makes one vector of a text. The prompts are empty where it has none."""

    encoder: Checkpoint
    pooling: Pooling
    query_prompt: str
    passage_prompt: str


def is_bi_encoder(folder: Path) -> bool:
    """Whether a checkpoint has modules and no head that classifies: both kinds may have modules."""
    if not (folder / MODULES).is_file():
        return False
    config = _read_json(folder / _path_of(folder, "Transformer") / "config.json")
    return not any("SequenceClassification" in name for name in config.get("architectures") or [])


def read_bi_encoder(folder: Path) -> BiEncoder:
    """Load one of Transformer, Pooling (mean or cls) and Normalize; `ModelError` for others."""
    for kind, _ in _modules(folder):
        if kind not in CONVERTIBLE:
            raise ModelError(
                f"{folder}: its module {kind} cannot be converted; expected "
                f"{', '.join(CONVERTIBLE)} and no other"
            )
    home = folder / _path_of(folder, "Transformer")
    encoder = read_encoder(home)
    settings: dict[str, Any] = {}
    for file in home.glob("sentence_*_config.json"):
        settings |= _read_json(file)
    if settings.get("do_lower_case") and _minds_case(encoder.tokenizer):
        raise ModelError(f"{folder}: do_lower_case with a tokenizer that keeps case, as none has")
    limit = min(int(settings.get("max_seq_length") or encoder.max_tokens), encoder.max_tokens)
    if limit < LENGTH_STEP:
        raise ModelError(f"{folder}: reads {limit} tokens; a text needs at least {LENGTH_STEP}")
    prompts = _prompts(folder)
    return BiEncoder(
        replace(encoder, max_tokens=limit - limit % LENGTH_STEP),
        _pooling(folder),
        query_prompt=prompts.get("query") or "",
        passage_prompt=next((prompts[name] for name in _PASSAGE_PROMPTS if prompts.get(name)), ""),
    )


def _pooling(folder: Path) -> Pooling:
    config = _read_json(folder / _path_of(folder, "Pooling") / "config.json")
    found = config.get("pooling_mode")
    if found is None:
        old = [name for name in config if name.startswith("pooling_mode_") and config[name]]
        found = [_OLD_POOLINGS.get(name, name) for name in old] or "mean"
    modes = [found] if isinstance(found, str) else list(found)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ModelError(
            f"{folder}: pools by {', '.join(map(str, modes))}; only mean or cls can be converted"
        )
    if not config.get("include_prompt", True):
        raise ModelError(f"{folder}: leaves its prompt out of the pooling; that is not converted")
    return _POOLINGS[modes[0]]


def _prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    prompts = (_read_json(file) if file.is_file() else {}).get("prompts") or {}
    known = isinstance(prompts, dict) and [own or "" for own in prompts.values()]
    if not isinstance(known, list) or not all(isinstance(own, str) for own in known):
        raise ModelError(f"{file}: prompts {prompts!r}; expected texts by name")
    return dict(zip(prompts, known, strict=True))


def _minds_case(tokenizer: Any) -> bool:
    return bool(tokenizer("A b C")["input_ids"] != tokenizer("a b c")["input_ids"])


def _modules(folder: Path) -> list[tuple[str, str]]:
    """(kind, folder inside) of each module, in order; of its class only the last name counts."""
    file = folder / MODULES
    try:
        return [(str(row["type"]).rpartition(".")[2], str(row["path"])) for row in _parsed(file)]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file}: expected a list of modules with type and path") from error


def _path_of(folder: Path, kind: str) -> str:
    paths = [path for own, path in _modules(folder) if own == kind]
    if len(paths) != 1:
        raise ModelError(f"{folder}: {len(paths)} modules of the kind {kind}; expected one")
    return paths[0]


def _read_json(file: Path) -> dict[str, Any]:
    found = _parsed(file)
    if not isinstance(found, dict):
        raise ModelError(f"{file}: expected a JSON object")
    return found


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: not readable as JSON ({error})") from error
