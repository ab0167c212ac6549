"""A model's name → its artifact: the bundled model, folders, and hub models.

A hub model, or a folder with a transformers checkpoint, is opened from the store. If it is not
there, `resift.convert.make` makes it; only then are optional packages imported.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import ArtifactError, InputError, ModelError, ModelNotFound, shortened, shown
from resift.extras import require
from resift.files import from_home, reason
from resift.rerank.artifact import MANIFEST, Artifact, load_artifact
from resift.rerank.known_models import known_model
from resift.rerank.stored_models import (
    COMMIT,
    Label,
    Use,
    artifact_name,
    checkpoint_store,
    content_hash,
    has_model,
    is_checkpoint,
    is_stored,
    models_folder,
    read_revisions,
    repository_folder,
)
from resift.settings import Settings

BUNDLED = Path(__file__).parent / "bundled"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{,95}/[A-Za-z0-9][\w.-]{,95}")  # the hub's limit
_SECOND_STAGE = re.compile(r"[a-z]{2,8}:|.+@\d+\+")  # a name of `families.names`
_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What a model is opened from, here and in other processes and machines.

    `folder` is the artifact. `name` is the hub id, or the checkpoint folder, that it was made from;
    None for artifacts that users name and for the bundled model, whose `folder` is None too.
    """

    folder: Path | None
    name: str | None = None
    revision: str | None = None
    label: Label = None

    def arguments(self) -> dict[str, Any]:
        """Arguments of `Reranker` that open it: the artifact if it is here, else its name."""
        if self.name is None or (self.folder is not None and is_stored(self.folder)):
            return {"model": self.folder or "bundled"}
        return {"model": self.name, "revision": self.revision, "label": self.label}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A model to be opened from the store, or made: a hub id, or a checkpoint folder."""

    name: str
    checkpoint: Path | None
    revision: str | None
    label: Label
    settings: Settings
    use: Use = "reranker"

    def stored(self) -> Path | None:
        """Where its artifact is; None if it is to be made, or to be looked up on the hub."""
        models = models_folder(self.settings)
        if self.checkpoint is not None:
            store, commit = checkpoint_store(models, self.checkpoint), content_hash(self.checkpoint)
        else:
            store = repository_folder(models, self.name)
            known = self.revision or _pinned(self.name, store)
            commit = known if known is not None and COMMIT.fullmatch(known) else ""
        folder = store / artifact_name(commit, self.label)
        return folder if commit and is_stored(folder) else None

    def make(self) -> Path:
        """Make its artifact, or look up its revision. Raises `ModelError` and `MissingExtra`."""
        maker = require("resift.convert.make", "hub")
        models = models_folder(self.settings)
        folder: Path
        if self.checkpoint is not None:
            folder = maker.make_from_folder(self.checkpoint, self.label, models, use=self.use)
            return folder
        try:
            folder = maker.make_from_hub(self.name, self.revision, self.label, models, use=self.use)
        except ModelNotFound as error:
            if not Path(self.name).exists():
                raise
            raise ModelNotFound(f"{error} (the folder {self.name} has no model in it)") from error
        return folder

    def load(self, folder: Path) -> Artifact:
        """The checked stored artifact. Raises `ArtifactError` and `ModelNotFound`."""
        artifact = load_artifact(folder)
        if (artifact.manifest.kind == "embedder") == (self.use == "reranker"):
            kinds = ("an embedder", "a reranker")
            actual, expected = kinds if self.use == "reranker" else kinds[::-1]
            raise ArtifactError(f"{folder}: {actual}, expected {expected}")
        return artifact

    def open(self) -> tuple[Artifact, ModelSource]:
        """The stored artifact; one that is broken, or was removed meanwhile, is made again."""
        stored = self.stored()
        try:
            artifact = self.load(stored or self.make())
        except (ArtifactError, ModelNotFound) as error:
            if stored is None:
                raise
            _log.warning("%s; converting it again", error)
            artifact = self.load(self.make())
        return artifact, self.source(artifact.folder)

    def source(self, folder: Path) -> ModelSource:
        """What `folder` is opened from; a hub model is at its commit from then on."""
        if self.checkpoint is not None:
            return ModelSource(folder, str(self.checkpoint.absolute()), None, self.label)
        return ModelSource(folder, self.name, folder.name.partition("-")[0], self.label)


def open_model(
    model: str | os.PathLike[str] | None,
    revision: str | None = None,
    label: Label = None,
    settings: Settings | None = None,
    use: Use = "reranker",
) -> tuple[Artifact, ModelSource]:
    """The checked artifact of a model, and what it was opened from.

    None or "bundled" is the bundled model; other names are folders and hub ids. A folder goes
    before a hub id of the same name, unless it has no file of a model. A stored artifact that is
    broken, or that was removed meanwhile, is made again. Raises `ModelError`, `InputError` and
    `MissingExtra`.
    """
    wanted = _wanted(model, revision, label, settings, use)
    if isinstance(wanted, Path):
        # Absolute: a fork opens the files again, perhaps in another working folder.
        folder = wanted.absolute()
        return load_artifact(folder), ModelSource(None if folder == BUNDLED else folder)
    return wanted.open()


def open_hub_embedder(hub_id: str, commit: str, settings: Settings) -> tuple[Artifact, ModelSource]:
    """The embedder of a hub id at a commit, whatever folders there are. Raises as `open_model`."""
    return _Wanted(hub_id, None, commit, None, settings, "embedder").open()


def is_hub_id(name: str) -> bool:
    """Whether text has the form OWNER/NAME."""
    return _HUB_ID.fullmatch(name) is not None


@contextmanager
def removal_told(artifact: Artifact) -> Iterator[None]:
    """Raise `ArtifactError` for an error that comes from the removal of a checked artifact."""
    try:
        yield
    except (ModelError, OSError) as error:
        names = [MANIFEST, *artifact.manifest.files]
        if all((artifact.folder / name).is_file() for name in names):
            raise
        raise ArtifactError(
            f"{artifact.folder}: was removed by another process meanwhile; try again"
        ) from error


def resolve(
    model: str | os.PathLike[str] | None,
    revision: str | None = None,
    label: Label = None,
    settings: Settings | None = None,
) -> Path:
    """The artifact folder of a model, as `open_model` would open it; its files are not checked."""
    wanted = _wanted(model, revision, label, settings)
    return wanted if isinstance(wanted, Path) else wanted.stored() or wanted.make()


def checked_hub_id(name: str) -> str:
    """The hub id. Raises `ModelNotFound` for text that is none."""
    if not _HUB_ID.fullmatch(name):
        raise ModelNotFound(
            f"{shown(name)}: no such folder, and not a hub id; expected OWNER/NAME, as "
            "resift models lists them"
        )
    return name


def checked_label(label: object) -> Label:
    """A label's name or index, or None. Raises `InputError` for anything else."""
    if label is None or (isinstance(label, str) and label.strip()):
        return label
    if type(label) is int and label >= 0:
        return label
    raise InputError(f"label={shown(label)}: expected a label's name or its index from 0, or None")


@contextmanager
def named_by(origin: str | None) -> Iterator[None]:
    """Add the variable or settings file that names a model to the message of a `ModelError`."""
    try:
        yield
    except ModelError as error:
        if origin is None:
            raise
        raise type(error)(f"{error} ({origin} names it)") from error


def checked_name(argument: str, value: object) -> str:
    """The path of a file or folder as text. Raises `InputError` for anything else."""
    name = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(
            f"{argument}={shown(value)}: expected the name of a file or folder, or None"
        )
    return name


def _wanted(
    model: str | os.PathLike[str] | None,
    revision: str | None,
    label: Label,
    settings: Settings | None,
    use: Use = "reranker",
) -> Path | _Wanted:
    """The folder of an artifact, or a model to be opened from the store.

    A folder without any file of a model, such as one for results, does not hide a hub id.
    """
    if model is None or (isinstance(model, str) and model == "bundled"):
        _refuse("the bundled model", revision=revision, label=label)
        return BUNDLED
    name = checked_name("model", model)
    label = checked_label(label)
    folder = from_home(name)
    if _exists(folder) and (has_model(folder) or not is_hub_id(name)):
        _refuse(f"{name} is a folder and", revision=revision)
        if is_checkpoint(folder):
            return _Wanted(name, folder, None, label, _settings(settings), use)
        _refuse(f"{name} is a resift model and", label=label)
        return folder
    if is_hub_id(name):
        return _Wanted(name, None, _checked_revision(revision), label, _settings(settings), use)
    hint = "resift models lists the known ones"
    if _SECOND_STAGE.match(name):
        hint = (
            "a service or a chain is opened by resift.open_ranker, and works with resift rerank, "
            "search and eval"
        )
    raise ModelNotFound(f"{shortened(name)}: no such model folder; {hint}")


def _settings(settings: Settings | None) -> Settings:
    return settings or Settings.load()


def _pinned(name: str, store: Path) -> str | None:
    """The commit of a hub model without a revision: the catalogue's, or that of the first fetch."""
    known = known_model(name)
    return (known.revision if known else None) or read_revisions(store).pinned


def _checked_revision(revision: object) -> str | None:
    if revision is None or (isinstance(revision, str) and revision.strip()):
        return revision
    raise InputError(f"revision={shown(revision)}: expected a commit, branch or tag, or None")


def _exists(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError as error:  # the name is too long, or a folder may not be read
        raise ModelNotFound(
            f"{shortened(str(folder))}: cannot be read ({reason(error)})"
        ) from error


def _refuse(model: str, **arguments: object) -> None:
    """Raise `InputError` for an argument that is not None."""
    for name, value in arguments.items():
        if value is not None:
            raise InputError(f"{name}={shown(value)}: {model} has no {name}s; leave it out")
