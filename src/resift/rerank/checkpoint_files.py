"""Which files of a checkpoint a conversion reads: from its file list alone, before any is fetched.

Only JSON, vocabularies and safetensors: never a pickle, never code.
"""

import re
from collections.abc import Iterable, Sequence

from resift.errors import ModelError

CONFIG = "config.json"
MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
CHAT_TEMPLATE = "chat_template.jinja"
METADATA = "artifact.metadata"  # of Stanford's ColBERT
_TOKENIZER = "tokenizer.json"
_SMALL = {
    CONFIG,
    _TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    MODULES,
    SETTINGS,
    CHAT_TEMPLATE,
    METADATA,
}
_VOCABULARY = {"vocab.txt", "vocab.json", "merges.txt", "added_tokens.json"}
_SENTENCE_CONFIG = re.compile(r"sentence_\w+_config\.json")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_MODULE_FOLDER = re.compile(r"\d+_\w+")
_PICKLE = re.compile(r"(pytorch_model|model)[\w.-]*\.(bin|pt|pth|ckpt)")


def needed_files(names: Iterable[str]) -> list[str]:
    """The files that a conversion reads, in the order to fetch them: small files, then weights.

    Names are relative to the checkpoint, with slashes. Vocabularies are left out beside a
    tokenizer.json, shards beside a model.safetensors, and so are exports and other variants.
    """
    present = set(names)
    needed = [name for name in present if _is_needed(name, present)]
    return sorted(needed, key=lambda name: (is_weights(name), name))


def is_weights(name: str) -> bool:
    """Whether a needed file holds weights."""
    return name.endswith(".safetensors")


def check_files(names: Iterable[str], checkpoint: str) -> None:
    """Raise `ModelError` if the files of a checkpoint cannot be converted, with a remedy."""
    present = set(names)
    files = [name.rpartition("/")[2] for name in needed_files(present)]
    if CONFIG not in files:
        raise ModelError(f"{checkpoint}: has no {CONFIG}, so it is not a transformers checkpoint")
    if not any(is_weights(name) for name in files):
        raise ModelError(_without_weights(present, checkpoint))
    if not {_TOKENIZER, "vocab.txt", "vocab.json"} & set(files):
        raise ModelError(
            f"{checkpoint}: has no tokenizer; expected {_TOKENIZER} (or vocab.txt, or vocab.json "
            "with merges.txt). transformers writes one:  "
            'AutoTokenizer.from_pretrained("…").save_pretrained(FOLDER)'
        )


def _is_needed(name: str, present: set[str]) -> bool:
    folder, _, file = name.rpartition("/")
    if folder and not _MODULE_FOLDER.fullmatch(folder):
        return False
    prefix = f"{folder}/" if folder else ""
    if file in _SMALL or _SENTENCE_CONFIG.fullmatch(file):
        return True
    if file in _VOCABULARY:
        return prefix + _TOKENIZER not in present
    if file == WEIGHTS:
        return True
    if file == INDEX or _SHARD.fullmatch(file):
        return prefix + WEIGHTS not in present and prefix + INDEX in present
    return bool(folder) and is_weights(file)


def _without_weights(present: set[str], checkpoint: str) -> str:
    pickles: Sequence[str] = sorted(name for name in present if _PICKLE.fullmatch(name))
    if not pickles:
        return f"{checkpoint}: has no {WEIGHTS}; expected the weights of a transformers checkpoint"
    return (
        f"{checkpoint}: its weights are only in {pickles[0]}, a pickle, which can run code when it "
        f"is read; resift reads {WEIGHTS} only. Name a revision that has it (often refs/pr/1), or "
        "save the model again with transformers, into a folder"
    )
