"""Models by name: the bundled one, folders, and well-known checkpoints to convert."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resift.errors import InputError, ModelError, ModelNotFound, shown
from resift.files import from_home, reason

BUNDLED = Path(__file__).parent / "bundled"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A public cross-encoder that `resift convert` reads; `note` is a figure of its authors."""

    hub_id: str
    licence: str
    languages: str
    note: str


CHECKPOINTS = (
    KnownModel(
        "cross-encoder/ms-marco-MiniLM-L6-v2", "apache-2.0", "en", "nDCG@10 74.30 on TREC DL 2019"
    ),
    KnownModel(
        "cross-encoder/ms-marco-MiniLM-L4-v2", "apache-2.0", "en", "nDCG@10 73.04 on TREC DL 2019"
    ),
    KnownModel(
        "cross-encoder/ms-marco-TinyBERT-L2-v2", "apache-2.0", "en", "nDCG@10 69.84 on TREC DL 2019"
    ),
    KnownModel(
        "cross-encoder/ms-marco-electra-base", "apache-2.0", "en", "nDCG@10 71.99 on TREC DL 2019"
    ),
    KnownModel("BAAI/bge-reranker-v2-m3", "apache-2.0", "many", "568M parameters: slow on a CPU"),
)


def resolve(model: str | os.PathLike[str] | None, revision: str | None = None) -> Path:
    """The artifact folder of a model: None or "bundled" is the bundled one, other names folders.

    Downloads nothing: a hub id raises `ModelNotFound` with the command that converts it.
    """
    if model is None or (isinstance(model, str) and model == "bundled"):
        _refuse_revision("the bundled model", revision)
        return BUNDLED
    name = checked_name("model", model)
    folder = from_home(name)
    if _exists(folder):
        _refuse_revision(f"{name} is a folder and", revision)
        return folder
    if _HUB_ID.fullmatch(name):
        raise ModelNotFound(
            f"{name}: no such folder. If it is a hub model, convert it once with  "
            f"resift convert {name} OUT --revision COMMIT  and pass OUT"
        )
    raise ModelNotFound(f"{name}: no such model folder; resift models lists the known ones")


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


def _exists(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError as error:  # the name is too long, or a folder may not be read
        raise ModelNotFound(f"{folder}: cannot be read ({reason(error)})") from error


def _refuse_revision(model: str, revision: str | None) -> None:
    if revision is not None:
        raise InputError(f"revision={shown(revision)}: {model} has no revisions; leave it out")
