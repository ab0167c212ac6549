"""Which models there are: the bundled one, folders, and well-known checkpoints to convert."""

import os
from dataclasses import dataclass
from pathlib import Path

from resift.errors import InputError, ModelNotFound
from resift.files import from_home

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A public cross-encoder that `resift convert` reads; `note` is its authors' own figure."""

    hub_id: str
    licence: str
    languages: str
    note: str


CHECKPOINTS = (
    Checkpoint(
        "cross-encoder/ms-marco-MiniLM-L6-v2", "apache-2.0", "en", "nDCG@10 74.30 on TREC DL 2019"
    ),
    Checkpoint(
        "cross-encoder/ms-marco-MiniLM-L4-v2", "apache-2.0", "en", "nDCG@10 73.04 on TREC DL 2019"
    ),
    Checkpoint(
        "cross-encoder/ms-marco-TinyBERT-L2-v2", "apache-2.0", "en", "nDCG@10 69.84 on TREC DL 2019"
    ),
    Checkpoint(
        "cross-encoder/ms-marco-electra-base", "apache-2.0", "en", "nDCG@10 71.99 on TREC DL 2019"
    ),
    Checkpoint("BAAI/bge-reranker-v2-m3", "apache-2.0", "many", "568M parameters: slow on a CPU"),
)


def resolve(model: str | os.PathLike[str] | None, revision: str | None = None) -> Path:
    """The artifact folder that a name stands for: None is the bundled one, else a folder.

    Nothing is downloaded here: a hub id raises `ModelNotFound` saying how to convert it.
    """
    if model is None or model == "bundled":
        return BUNDLED
    folder = from_home(model)
    if folder.exists():
        if revision is not None:
            raise InputError(f"revision={revision!r}: {model} is a folder and has no revisions")
        return folder
    name = os.fspath(model)
    if any(name == known.hub_id for known in CHECKPOINTS) or name.count("/") == 1:
        raise ModelNotFound(
            f"{name}: no such folder. If it is a hub model, convert it once with  "
            f"resift convert {name} OUT --revision COMMIT  and pass OUT"
        )
    raise ModelNotFound(f"{name}: no such model folder; resift models lists what there is")
