"""A sentence-transformers folder → its encoder, how it pools, and what it reads before a text."""

from dataclasses import dataclass, replace
from pathlib import Path

from resift.convert.checkpoint import Checkpoint, read_encoder
from resift.convert.sentence_folder import (
    MODULES,
    modules,
    path_of,
    read_json,
    read_limit,
    read_prompts,
)
from resift.errors import ModelError
from resift.rerank.artifact import Pooling
from resift.rerank.batching import LENGTH_STEP

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
    config = read_json(folder / path_of(folder, "Transformer") / "config.json")
    return not any("SequenceClassification" in name for name in config.get("architectures") or [])


def read_bi_encoder(folder: Path) -> BiEncoder:
    """Load one of Transformer, Pooling (mean or cls) and Normalize; `ModelError` for others."""
    for kind, _ in modules(folder):
        if kind not in CONVERTIBLE:
            raise ModelError(
                f"{folder}: its module {kind} cannot be converted; expected "
                f"{', '.join(CONVERTIBLE)} and no other"
            )
    home = folder / path_of(folder, "Transformer")
    encoder = read_encoder(home)
    limit = read_limit(home, encoder.tokenizer, encoder.max_tokens)
    if limit < LENGTH_STEP:
        raise ModelError(f"{folder}: reads {limit} tokens; a text needs at least {LENGTH_STEP}")
    prompts = read_prompts(folder)
    return BiEncoder(
        replace(encoder, max_tokens=limit - limit % LENGTH_STEP),
        _pooling(folder),
        query_prompt=prompts.first("query"),
        passage_prompt=prompts.first(*_PASSAGE_PROMPTS),
    )


def _pooling(folder: Path) -> Pooling:
    config = read_json(folder / path_of(folder, "Pooling") / "config.json")
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
