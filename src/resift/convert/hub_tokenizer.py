"""Fetches the tokenizer of a repository on the hub, without its weights."""

from pathlib import Path

from resift.convert.hub import download, open_repository, was_unreachable
from resift.errors import ModelError, ModelNotFound
from resift.extras import require
from resift.rerank.artifact import TOKENIZER


def fetch_tokenizer(name: str) -> Path:
    """The ``tokenizer.json`` of the repository, from the hub or from the hub's cache.

    If the hub cannot be reached, it is what the cache has. Raises `ModelNotFound` for a repository
    that has none, and `HubError`.
    """
    try:
        repository = open_repository(name)
    except ModelError as error:
        hub = require("huggingface_hub", "hub")
        cached = hub.try_to_load_from_cache(name, TOKENIZER) if was_unreachable(error) else None
        if not isinstance(cached, str):
            raise
        return Path(cached)
    if repository.folder is not None and (repository.folder / TOKENIZER).is_file():
        return repository.folder / TOKENIZER
    if TOKENIZER not in repository.sizes:
        raise ModelNotFound(f"{name}: has no {TOKENIZER}; name another repository, or a file")
    return download(repository, TOKENIZER)
