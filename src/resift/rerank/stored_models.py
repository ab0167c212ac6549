"""Models that were made from checkpoints and stored: their folders, and the commit of each name.

In the user's cache folder::

    models/OWNER--NAME/revisions.json     commits of revisions, as of the last look at the hub
    models/OWNER--NAME/COMMIT-v1/         an artifact of version 1 of the converter
    models/OWNER--NAME/COMMIT-v1-label-3f1c…/   the same with another label
    models/folders/NAME/HASH-v1/          of a checkpoint folder, by the hash of its files

This side only reads: opening a stored model needs no network and no optional package.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from resift.errors import ArtifactError, ModelError, ModelNotFound
from resift.files import open_regular, read_regular, reason
from resift.rerank.artifact import (
    CONVERTER_VERSION,
    MANIFEST,
    Manifest,
    load_artifact,
    read_manifest,
)
from resift.rerank.checkpoint_files import CONFIG, MODULES, needed_files
from resift.settings import Settings, cache_folder

COMMIT = re.compile(r"[0-9a-f]{40}")
ARTIFACT_NAME = re.compile(r"([0-9a-f]{40,64})-v(\d+)(-[0-9a-z-]+)?")
REVISIONS = "revisions.json"
FOLDERS = "folders"
FOLDER_PREFIX = "folder:"  # of the names of models made from folders; no hub id has a colon
Label = str | int | None
"""The relevance column of a head with several labels, by name or index."""
Use = Literal["reranker", "embedder"]
"""What a model is opened for."""

_MAX_REVISIONS_BYTES = 1 << 20
_MODEL_FILES = (MANIFEST, CONFIG, MODULES)
_WEIGHTS = (".safetensors", ".onnx", ".bin", ".pt")


@dataclass(frozen=True, slots=True)
class Revisions:
    """The commit that a hub model without a revision stands for, and those of named revisions."""

    pinned: str | None = None
    named: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the store. `manifest` is None, and `problem` says why, if it cannot be opened."""

    name: str
    commit: str
    version: int
    folder: Path
    size: int
    manifest: Manifest | None
    problem: str | None = None

    @property
    def agreement(self) -> dict[str, Any] | None:
        """How int8 agrees with float32, from the report of the conversion; None without one."""
        report = None if self.manifest is None else self.manifest.report
        return None if report is None else asdict(report)


def models_folder(settings: Settings) -> Path:
    """The folder of all stored models. Raises `ModelError` if no home folder is known."""
    cache = cache_folder(settings)
    if cache is None:
        raise ModelError(
            "no folder for models is known, since there is no home folder; name one by "
            "RESIFT_CACHE_DIR"
        )
    return cache.absolute() / "models"


def repository_folder(models: Path, hub_id: str) -> Path:
    """The folder of a hub model."""
    return models / hub_id.replace("/", "--")


def checkpoint_store(models: Path, checkpoint: Path) -> Path:
    """The folder of what is made from a checkpoint folder."""
    return models / FOLDERS / (checkpoint.resolve().name or "root")


def artifact_name(commit: str, label: Label = None) -> str:
    """The name of a stored artifact; `commit` is a commit or the hash of a folder's files.

    Artifacts of different labels are stored apart.
    """
    chosen = "" if label is None else f"-label-{_short_hash(json.dumps(label).encode())}"
    return f"{commit}-v{CONVERTER_VERSION}{chosen}"


def is_stored(folder: Path) -> bool:
    """Whether there is an artifact; its files are checked when it is opened."""
    return (folder / MANIFEST).is_file()


def is_whole(folder: Path, use: Use | None = "reranker") -> bool:
    """Whether there is an artifact for this use, or any, whose files match their hashes."""
    try:
        artifact = load_artifact(folder)
    except (ArtifactError, ModelNotFound):
        return False
    return use is None or (artifact.manifest.kind == "embedder") == (use == "embedder")


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a transformers checkpoint rather than an artifact."""
    return (folder / CONFIG).is_file() and not (folder / MANIFEST).exists()


def has_model(folder: Path) -> bool:
    """Whether a folder has files of a model, even if some are missing."""
    try:
        names = [Path(entry.name) for entry in os.scandir(folder)]
    except NotADirectoryError:
        return False
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({reason(error)})") from error
    return any(name.name in _MODEL_FILES or name.suffix in _WEIGHTS for name in names)


def read_revisions(repository: Path) -> Revisions:
    """The commits that were written down for a hub model; an unreadable file counts as none."""
    try:
        values = json.loads(read_regular(repository / REVISIONS, _MAX_REVISIONS_BYTES))
        named = {str(key): commit for key, commit in values["named"].items() if _is_commit(commit)}
        pinned = values["pinned"]
        return Revisions(pinned if _is_commit(pinned) else None, named)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return Revisions()  # as if it were the first time


def checkpoint_names(folder: Path) -> list[str]:
    """Names of all files of a checkpoint folder and its module folders, with slashes."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
        for module in (entry for entry in os.scandir(folder) if entry.is_dir()):
            names += [f"{module.name}/{file.name}" for file in os.scandir(module) if file.is_file()]
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({reason(error)})") from error
    return names


def content_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of the files that a conversion of a folder reads."""
    digest = hashlib.sha256()
    for name in needed_files(checkpoint_names(folder)):
        try:
            with open_regular(folder / name) as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read ({reason(error)})") from error
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def stored_models(models: Path) -> list[StoredModel]:
    """All stored models, by name. Does not read the weights; `problem` is what is seen without."""
    return [
        _stored_model(name, folder, match)
        for name, repository in sorted(_repositories(models))
        for folder in sorted(_folders(repository))
        if (match := ARTIFACT_NAME.fullmatch(folder.name))
    ]


def stored_repository(models: Path, name: str) -> Path | None:
    """The folder of what is stored of a model; None if none.

    `name` is a hub id, the path of a checkpoint folder, or ``folder:NAME`` as in the list.
    """
    stored = dict(_repositories(models))
    if name not in stored and is_checkpoint(Path(name)):
        folder = checkpoint_store(models, Path(name))
        return folder if folder.is_dir() else None
    return stored.get(name)


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder and below; those that vanish meanwhile count as none."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(root) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def _stored_model(name: str, folder: Path, match: re.Match[str]) -> StoredModel:
    manifest, problem = None, None
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        problem = str(error)
    size = folder_size(folder)
    return StoredModel(name, match[1], int(match[2]), folder, size, manifest, problem)


def _repositories(models: Path) -> Iterator[tuple[str, Path]]:
    """(name, folder) of each hub model, and of each model made from a folder."""
    for folder in _folders(models):
        if folder.name == FOLDERS:
            yield from ((FOLDER_PREFIX + made.name, made) for made in _folders(folder))
        elif folder.name.count("--") == 1:
            yield folder.name.replace("--", "/"), folder


def _folders(folder: Path) -> list[Path]:
    try:
        return [Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({reason(error)})") from error


def _is_commit(value: object) -> bool:
    return isinstance(value, str) and COMMIT.fullmatch(value) is not None


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
