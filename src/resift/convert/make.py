"""Make the artifact of a hub model or a checkpoint folder once, and store it.

`rerank.catalogue` loads this module by name when a model is not stored yet: the only way from
`rerank` to `convert`.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.convert import hub
from resift.convert.steps import visible_steps
from resift.convert.store import check_replaceable, locked, note_revision, put
from resift.errors import ModelError
from resift.extras import require
from resift.rerank.checkpoint_files import check_files
from resift.rerank.known_models import known_model
from resift.rerank.stored_models import (
    COMMIT,
    Label,
    Use,
    artifact_name,
    checkpoint_names,
    checkpoint_store,
    content_hash,
    folder_size,
    is_whole,
    read_revisions,
    repository_folder,
)

_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to make of a checkpoint, known as `name`: for which use, and with which label."""

    convert: Callable[..., Any]
    name: str
    label: Label
    use: Use | None

    def is_stored(self, target: Path) -> bool:
        return is_whole(target, self.use)


def make_from_hub(
    name: str,
    revision: str | None,
    label: Label,
    models: Path,
    *,
    pin: bool = False,
    use: Use | None = "reranker",
) -> Path:
    """The stored artifact of a hub model; it is fetched and converted if need be.

    `revision` is a commit, branch or tag. None is the commit of the catalogue, else the one that
    was written down at the first fetch, else that of the default branch, which is written down.
    With `pin`, the commit of `revision` is written down in its place. `use` None is any. Raises
    `ModelError` and `MissingExtra`.
    """
    model = _Wanted(_converter(), name, label, use)
    store = repository_folder(models, name)
    with visible_steps(), locked(models, store, name):
        noted, known = read_revisions(store), known_model(name)
        wanted = revision or (known.revision if known else None) or noted.pinned
        commit = wanted if wanted is not None and COMMIT.fullmatch(wanted) else None
        target = None if commit is None else store / artifact_name(commit, label)
        if target is None or not model.is_stored(target):
            target = _from_hub(model, wanted, store)
        pin = pin or (revision is None and noted.pinned is None)
        note_revision(store, revision, target.name.partition("-")[0], pin=pin)
        return target


def make_from_folder(
    checkpoint: Path, label: Label, models: Path, use: Use | None = "reranker"
) -> Path:
    """The stored artifact of a checkpoint folder, as its files are now. Raises as above."""
    model = _Wanted(_converter(), str(checkpoint), label, use)
    check_files(checkpoint_names(checkpoint), str(checkpoint))
    hub.check_use(checkpoint, str(checkpoint), use)
    store = checkpoint_store(models, checkpoint)
    with visible_steps(), locked(models, store, str(checkpoint)):
        target = store / artifact_name(content_hash(checkpoint), label)
        if not model.is_stored(target):
            hub.check_shards(checkpoint, str(checkpoint), checkpoint_names(checkpoint))
            _convert(model, checkpoint, target, None)
        return target


def _converter() -> Callable[..., Any]:
    """The conversion; first of all, so that what is not installed costs no download."""
    convert: Callable[..., Any] = require("resift.convert.convert", "hub").convert_folder
    return convert


def _from_hub(model: _Wanted, wanted: str | None, store: Path) -> Path:
    """The artifact at the commit that a revision names now, made if it is not stored.

    If the hub cannot be reached, the artifact at the commit of the last look is taken.
    """
    name, label = model.name, model.label
    try:
        repository = hub.open_repository(name, wanted)
    except ModelError as error:
        last = read_revisions(store).named.get(wanted or "")
        target = store / artifact_name(last or "", label)
        if not last or not hub.was_unreachable(error) or not model.is_stored(target):
            raise
        _log.info(
            "%s: the hub was not asked; %s was commit %s at the last look", name, wanted, last
        )
        return target
    target = store / artifact_name(repository.commit, label)
    if not model.is_stored(target):
        _convert(model, hub.fetch(repository, model.use), target, repository.commit)
    return target


def _convert(model: _Wanted, folder: Path, target: Path, revision: str | None) -> None:
    """Convert a checkpoint, check the artifact and store it as `target`."""
    name = model.name
    start = time.perf_counter()
    check_replaceable(target)
    if target.exists():
        _log.warning("%s: is broken; converting it again", target)

    def write(out: Path) -> None:
        model.convert(
            folder,
            out,
            name=name,
            revision=revision,
            label=model.label,
            work=out.parent,
            is_embedder=model.use == "embedder",
        )

    _log.info("%s: converting", name)
    put(target, write)
    _log.info(
        "%s: %s stored in %s after %.0f s",
        name, hub.megabytes(folder_size(target)), target, time.perf_counter() - start,
    )  # fmt: skip
