"""Embedders by name: a hub id, a checkpoint folder or an artifact, with a revision and a length.

A hub id or a checkpoint is converted at its first use, and opened from the store afterwards
(`rerank.catalogue`). An index records the hub id with its commit, so that it opens the same
embedder on another machine.
"""

import logging
import re
from dataclasses import dataclass, replace
from functools import partial

from resift.errors import InputError, ModelNotFound, shortened
from resift.files import from_home
from resift.index.embedders.artifact import ArtifactEmbedder, Identity
from resift.rerank.artifact import Artifact
from resift.rerank.catalogue import (
    ModelSource,
    is_hub_id,
    open_hub_embedder,
    open_model,
    removal_told,
)
from resift.rerank.known_embedders import known_embedder
from resift.rerank.stored_models import COMMIT
from resift.settings import Settings

_NAME = re.compile(r"(?P<name>[^@#]+)(@(?P<revision>[^@#]+))?(#(?P<dim>[0-9]{1,6}))?")
_VECTORS = 1
"""Part of every fingerprint: raise it when a conversion gives other vectors than before."""

_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class EmbedderName:
    """``OWNER/NAME``, ``OWNER/NAME@REVISION`` or a folder; ``#DIM`` cuts its vectors."""

    name: str
    revision: str | None = None
    dim: int | None = None

    @property
    def commit(self) -> str | None:
        """The revision of a hub model, if it is a commit."""
        if self.revision is None or not COMMIT.fullmatch(self.revision):
            return None
        return self.revision if is_hub_id(self.name) else None

    @property
    def unpinned(self) -> str:
        """The same without its revision."""
        return str(replace(self, revision=None))

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.name}{revision}" + (f"#{self.dim}" if self.dim else "")


def parse_name(spec: str) -> EmbedderName:
    """Split the name of an embedder. Raises `ModelNotFound` and `InputError`.

    A folder goes before a hub id, as in `open_model`; it may have any characters in its name. But
    OWNER/NAME@COMMIT, which an index records, is always the hub's.
    """
    if pinned := recorded_name(spec):
        return pinned
    folder, _, dim = spec.rpartition("#")
    if _is_folder(spec):
        return EmbedderName(spec)
    if _is_folder(folder) and dim.isdecimal():
        return EmbedderName(folder, dim=_checked_dim(spec, dim))
    match = _NAME.fullmatch(spec)
    if match is None or not is_hub_id(match["name"]):
        shown = spec.rpartition("@")[2] if ":" in spec else spec  # a mistyped URL has a password
        raise ModelNotFound(
            f"{shortened(shown)}: no such embedder; expected bundled, wordllama, a folder, a hub "
            "id such as intfloat/e5-small-v2, OWNER/NAME@REVISION, OWNER/NAME#256 for shorter "
            "vectors, or a URL like http://host/v1#model"
        )
    dim = match["dim"]
    return EmbedderName(match["name"], match["revision"], _checked_dim(spec, dim) if dim else None)


def recorded_name(text: str) -> EmbedderName | None:
    """The hub model at a commit that an index records; None for anything else.

    Never a folder or a revision that may change: an index of somebody else must not decide which
    files this machine loads.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    name = EmbedderName(match["name"], match["revision"], int(match["dim"] or 0) or None)
    return name if name.commit and str(name) == text else None


def open_stored(name: EmbedderName, settings: Settings) -> ArtifactEmbedder:
    """Open an embedder, which is fetched and converted if need be.

    Raises `ModelError`, `InputError` and `MissingExtra`.
    """
    if name.commit is not None:
        artifact, source = open_hub_embedder(name.name, name.commit, settings)
    else:
        artifact, source = open_model(name.name, name.revision, settings=settings, use="embedder")
    with removal_told(artifact):
        identity, reopen = _identity(artifact, source), partial(open_stored, name, settings)
        embedder = ArtifactEmbedder(artifact, settings, identity, name.dim, reopen)
    if embedder.dim < embedder.width:
        _warn_of_cut(name.name, embedder)
    return embedder


def _warn_of_cut(hub_id: str, embedder: ArtifactEmbedder) -> None:
    """Log a warning unless a model is known to be trained for vectors of this length."""
    known = known_embedder(hub_id)
    dims = known.dims if known is not None else ()
    if embedder.dim in dims:
        return
    trained = f"{', '.join(map(str, dims))} is" if dims else "no shorter length is known to be"
    _log.warning(
        "%s: vectors are cut from %d to %d numbers, and %s what it was trained for; measure it",
        hub_id, embedder.width, embedder.dim, trained,
    )  # fmt: skip


def _identity(artifact: Artifact, source: ModelSource) -> Identity:
    """What names vectors on every machine: a hub model's commit, or the hash of a checkpoint.

    Not the hash of the artifact: int8 weights and ranges may differ in their last digit between
    processors, with vectors that are as close to float32 as any.
    """
    if source.name is None:
        return Identity(str(artifact.folder.resolve()))
    commit = artifact.folder.name.partition("-")[0]
    if is_hub_id(source.name) and source.revision is not None:
        return Identity(f"{source.name}@{source.revision}", f"{source.name} {commit} {_VECTORS}")
    return Identity(source.name, f"checkpoint {commit} {_VECTORS}")


def _is_folder(name: str) -> bool:
    """Whether there is a folder of this name, which is no hub id: `open_model` decides on those."""
    return bool(name.strip()) and not is_hub_id(name) and from_home(name).is_dir()


def _checked_dim(spec: str, dim: str) -> int:
    if not int(dim):
        raise InputError(f"{shortened(spec)}: expected a length of vectors from 1 behind the #")
    return int(dim)
