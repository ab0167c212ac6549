"""A hub model's name → a folder with the files that a conversion reads, at a commit.

huggingface_hub fetches, into the cache that it shares with other libraries: HF_HOME, HF_TOKEN,
HF_ENDPOINT, HF_HUB_OFFLINE and proxies are its matter. No code of a repository is run, and none
is fetched.
"""

import logging
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from resift.convert.hub_errors import explained, is_passing, is_unreachable, retry_after_s
from resift.errors import HubError, ModelError, shortened
from resift.extras import require
from resift.rerank.checkpoint_files import (
    CONFIG,
    INDEX,
    check_files,
    is_weights,
    needed_files,
)
from resift.rerank.native import first_line
from resift.rerank.stored_models import COMMIT, Use, checkpoint_names

_LIBRARY = "resift"
_MAIN = "main"
_TIMEOUT_S = 30.0
_WAITS_S = (1.0, 4.0)  # before the second and the third try
_MAX_WAIT_S = 20.0  # a hub that asks for a longer wait is reported at once

_log = logging.getLogger("resift")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at a commit.

    `sizes` maps its files, with slashes, to bytes. `folder` is in the hub's cache, if the hub could
    not be asked.
    """

    name: str
    commit: str
    sizes: Mapping[str, int]
    folder: Path | None = None


def open_repository(name: str, revision: str | None = None) -> Repository:
    """The files of a repository, and the commit that a revision names, in one request.

    `revision` is a commit, branch or tag; None is the default branch. If the hub cannot be reached,
    it is what the hub's cache has of this revision. Raises `ModelNotFound` and `HubError`.
    """
    api = require("huggingface_hub", "hub").HfApi(library_name=_LIBRARY)

    def ask() -> Any:
        return api.model_info(name, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)

    try:
        info = _retried(ask, name, revision)
    except ModelError as error:
        cached = _cached(name, revision) if was_unreachable(error) else None
        if cached is None:
            raise
        _log.info("%s: the hub was not asked; taking commit %s from its cache", name, cached.commit)
        return cached
    if not isinstance(info.sha, str) or not COMMIT.fullmatch(info.sha):
        raise HubError(f"{name}: the hub names no commit for it; check HF_ENDPOINT")
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return Repository(name, info.sha, sizes)


def fetch(repository: Repository, use: Use | None = "reranker") -> Path:
    """Fetch what a conversion reads, as far as the hub's cache lacks it; returns the folder.

    Raises `HubError`, and `ModelError` for a repository that cannot be converted, or not for this
    use. None is any use.
    """
    name = repository.name
    if repository.folder is not None:
        check_use(repository.folder, name, use)
        return repository.folder
    check_files(repository.sizes, name)
    needed = needed_files(repository.sizes)
    _announce(repository, needed)
    folder: Path | None = None
    for file in needed:  # small files first: what they rule out costs no download of weights
        if is_weights(file) and folder is not None:
            check_use(folder, name, use)
            check_shards(folder, name, repository.sizes)
        folder = _folder_of(download(repository, file), file)
    if folder is None:
        raise ModelError(f"{name}: has no files")
    return folder


def was_unreachable(error: ModelError) -> bool:
    """Whether an error of this module says that the hub could not be asked."""
    return isinstance(error.__cause__, Exception) and is_unreachable(error.__cause__)


def check_use(folder: Path, name: str, use: Use | None) -> None:
    """Raise `ModelError` for an embedder as a reranker, or a reranker as an embedder."""
    # Here, because it imports onnx, which a tokenizer alone does not need.
    from resift.convert.late_settings import late_format
    from resift.convert.modules import is_bi_encoder, is_reranker

    is_late = late_format(folder) is not None
    if use == "reranker" and not is_late and is_bi_encoder(folder):
        raise ModelError(
            f"{name}: an embedder, which gives vectors; expected a cross-encoder, which gives "
            "scores: resift models lists some. An index takes it as  embedder=  or RESIFT_EMBEDDER"
        )
    if use == "embedder" and (is_late or is_reranker(folder)):
        raise ModelError(
            f"{name}: a reranker, which gives scores; expected an embedder, which gives vectors, "
            "such as intfloat/e5-small-v2. A reranker is named by  Reranker(…)  or RESIFT_MODEL"
        )


def download(repository: Repository, file: str) -> Path:
    """A file of a repository, from the hub or from its cache. Raises `HubError`."""
    hub = require("huggingface_hub", "hub")

    def ask() -> Any:
        return hub.hf_hub_download(
            repository.name, file, revision=repository.commit, library_name=_LIBRARY
        )

    return Path(_retried(ask, repository.name, repository.commit))


def _retried(ask: Callable[[], _Result], name: str, revision: str | None) -> _Result:
    """The answer; what may pass is asked again, twice. Raises the explained error."""
    waits_s = iter(_WAITS_S)
    while True:
        try:
            return ask()
        except Exception as error:  # many types, of huggingface_hub and its HTTP client
            wait_s = next(waits_s, None) if is_passing(error) else None
            asked_s = retry_after_s(error)
            if wait_s is None or (asked_s or 0) > _MAX_WAIT_S:
                raise explained(error, name, revision) from error
            wait_s = wait_s if asked_s is None else asked_s
            _log.info("%s: %s; asking again in %.0f s", name, first_line(error), wait_s)
            time.sleep(wait_s)


def _announce(repository: Repository, names: Sequence[str]) -> None:
    hub = require("huggingface_hub", "hub")
    missing = [
        name
        for name in names
        if not isinstance(
            hub.try_to_load_from_cache(repository.name, name, revision=repository.commit), str
        )
    ]
    if missing:
        size = sum(repository.sizes[name] for name in missing)
        _log.info(
            "%s: fetching %s in %d files at commit %s",
            repository.name, megabytes(size), len(missing), repository.commit,
        )  # fmt: skip
    else:
        _log.info("%s: in the hub's cache at commit %s", repository.name, repository.commit)


def megabytes(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _cached(name: str, revision: str | None) -> Repository | None:
    """The repository in the hub's cache, if all that is needed of it is there."""
    hub = require("huggingface_hub", "hub")
    config = hub.try_to_load_from_cache(name, CONFIG, revision=revision or _MAIN)
    if isinstance(config, str):
        return _whole(Path(config).parent, name)
    return _only_commit(name) if revision is None else None


def _only_commit(name: str) -> Repository | None:
    """The repository at the only commit that the hub's cache has of it whole; None of several.

    A fetch by commit, as this module's, leaves no note of which commit the default branch names.
    """
    cache = Path(require("huggingface_hub.constants", "hub").HF_HUB_CACHE)
    snapshots = cache / f"models--{name.replace('/', '--')}" / "snapshots"
    try:
        folders = [path for path in snapshots.iterdir() if COMMIT.fullmatch(path.name)]
    except OSError:  # nothing of it, or it may not be read
        return None
    whole = [repository for path in folders if (repository := _whole(path, name)) is not None]
    return whole[0] if len(whole) == 1 else None


def _whole(folder: Path, name: str) -> Repository | None:
    """The repository in a folder of the hub's cache, if all that is needed of it is there."""
    try:
        names = checkpoint_names(folder)
        check_files(names, name)
        check_shards(folder, name, names)
    except ModelError:
        return None  # a part of it is of no use
    return Repository(name, folder.name, dict.fromkeys(names, 0), folder)


def check_shards(folder: Path, name: str, names: Container[str]) -> None:
    """Raise `ModelError` if the index of sharded weights names a file that is not there."""
    from resift.convert.config import read_object

    if not (folder / INDEX).is_file():
        return
    shards = read_object(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelError(f"{name}: {INDEX} has no weight_map; the repository is broken")
    missing = sorted({str(file) for file in shards.values() if str(file) not in names})
    if missing:
        raise ModelError(
            f"{name}: {shortened(missing[0])}, named by {INDEX}, is missing from the repository"
        )


def _folder_of(file: Path, name: str) -> Path:
    """The folder that `name`, with slashes, leads from to `file`."""
    return file.parents[name.count("/")]
