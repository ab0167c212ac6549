"""What a sentence-transformers folder says beside its weights: modules, prompts, how it reads.

Its modules' configurations have changed their names over the years; both the old and the new are
read. Bi-encoders and cross-encoders are both saved so.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import ModelError
from resift.files import read_regular

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts by name, and the one that a cross-encoder puts before its query (never a document).

    A bi-encoder asks by name, and takes no other. Both as sentence-transformers does.
    """

    named: dict[str, str]
    default: str

    def first(self, *names: str) -> str:
        """The first that says something, or nothing."""
        return next((self.named[name] for name in names if self.named.get(name)), "")


def read_prompts(folder: Path) -> Prompts:
    """The folder's prompts; none where it has no such file. Raises `ModelError`."""
    file = folder / SETTINGS
    settings = read_json(file) if file.is_file() else {}
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
    named = {name: text or "" for name, text in prompts.items()}
    return Prompts(named, named.get(default, "") if default is not None else "")


def read_limit(home: Path, tokenizer: Any, limit: int) -> int:
    """How many tokens are read: the folder's own limit, where it is below `limit`.

    Raises `ModelError` where texts are to be lower-cased by somebody other than the tokenizer.
    """
    settings: dict[str, Any] = {}
    for file in home.glob("sentence_*_config.json"):
        settings |= read_json(file)
    if settings.get("do_lower_case") and _minds_case(tokenizer):
        raise ModelError(f"{home}: do_lower_case with a tokenizer that keeps case, as none has")
    own = settings.get("max_seq_length")
    if own is None:
        return limit
    if type(own) is not int or own < 1:
        raise ModelError(f"{home}: max_seq_length {own!r}; expected a whole number from 1")
    return min(own, limit)


def modules(folder: Path) -> list[tuple[str, str]]:
    """(kind, folder inside) of each module, in order; of its class only the last name counts."""
    file = folder / MODULES
    try:
        return [(str(row["type"]).rpartition(".")[2], str(row["path"])) for row in _parsed(file)]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file}: expected a list of modules with type and path") from error


def path_of(folder: Path, kind: str) -> str:
    """Where the one module of a kind lies, inside of the folder."""
    paths = [path for name, path in modules(folder) if name == kind]
    if len(paths) != 1:
        raise ModelError(f"{folder}: {len(paths)} modules of the kind {kind}; expected one")
    if not (folder / paths[0]).resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder}: module {kind} lies at {paths[0]}, outside of the folder")
    return paths[0]


def read_json(file: Path) -> dict[str, Any]:
    """A file's JSON object. Raises `ModelError`."""
    values = _parsed(file)
    if not isinstance(values, dict):
        raise ModelError(f"{file}: expected a JSON object")
    return values


def _minds_case(tokenizer: Any) -> bool:
    return bool(tokenizer("A b C")["input_ids"] != tokenizer("a b c")["input_ids"])


def _parsed(file: Path) -> Any:
    try:
        return json.loads(read_regular(file, MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not readable as JSON ({error})") from error
