"""Where candidates come from: a run, an index, or a corpus that is indexed for it.

Knows no judgments and no reranker but what an index has kept for one.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from resift.errors import DatasetError
from resift.evaluation.collection import Collection
from resift.evaluation.trec import Run
from resift.files import claim_folder
from resift.index.embed import Precomputer
from resift.search.index import Index
from resift.search.options import Mode
from resift.settings import Settings, cache_folder
from resift.types import Candidate, Document, Hit

_OWN_FILE = re.compile(r"\d{5}\.jsonl")
_COMMENT = "A corpus and its index, for resift eval and calibrate. All of it can be made again."
_OTHER_PLACE = "move that away, name another cache folder (RESIFT_CACHE_DIR), or an index (--index)"
ROWS_A_FILE = 2_000  # of a corpus: one file that changes is read again whole


@dataclass(frozen=True, slots=True)
class FirstStageCandidates:
    """A query's candidates, best first. `ms` is None where nobody timed them.

    `beyond` are ids of documents that the first stage ranked below the candidates, `scores` its own
    of all of them where ties should count as it has them.
    """

    candidates: Sequence[Candidate]
    ms: float | None = None
    requests: int = 0
    beyond: Sequence[str] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


class FirstStage(Protocol):
    """What gives each query its candidates."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    @property
    def notes(self) -> Sequence[str]:
        """What is missing, a sentence each."""

    def window(self, query_id: str, query: str, depth: int) -> FirstStageCandidates:
        """The best `depth` candidates, or as many as there are."""


def doc_id(candidate: Candidate | Hit) -> str:
    """The judged name: a passage of an index goes by its document's."""
    return candidate.citation.doc_id if candidate.citation else candidate.id


@dataclass(frozen=True, slots=True)
class FromRun:
    """A TREC run over a collection's documents."""

    name: str
    run: Run
    documents: Mapping[str, Document]
    notes: tuple[str, ...] = ()

    def window(self, query_id: str, query: str, depth: int) -> FirstStageCandidates:
        scored = self.run.get(query_id, ())
        candidates = [
            _candidate(rank, own.score, self.documents[own.doc_id])
            for rank, own in enumerate(scored[:depth], 1)
        ]
        beyond = [own.doc_id for own in scored[depth:]]
        return FirstStageCandidates(
            candidates, beyond=beyond, scores={own.doc_id: own.score for own in scored}
        )


def from_run(collection: Collection, run: Run, name: str, depth: int) -> FromRun:
    """Read the texts that the first `depth` of a run need; raise `DatasetError` for missing ones.

    Those that are missing beside others (a corpus that is a sample) cannot be read: they stand
    behind what is scored, and are noted.
    """
    needed = {own.doc_id for scored in run.values() for own in scored[:depth]}
    corpus = collection.read(needed)
    if needed and not corpus.by_id:
        raise DatasetError(
            f"{name}: none of its {len(needed)} documents is in {collection.folder}, the first is "
            f"{min(needed):.80}; is the run of this collection?"
        )
    absent = needed - corpus.by_id.keys()
    notes = corpus.notes
    if absent:
        notes += (
            f"{len(absent)} of {len(needed)} documents of {name} are not in the corpus, the first "
            f"is {min(absent):.80}: they stand behind what can be read",
        )
    documents = corpus.by_id | {doc_id: Document(doc_id, "") for doc_id in absent}
    return FromRun(name, run, documents, notes)


@dataclass(frozen=True, slots=True)
class FromIndex:
    """A search of an index without reranking; passages are candidates."""

    index: Index
    mode: Mode = "hybrid"
    precomputer: Precomputer | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The arms that look, and where."""
        return f"{self.mode} of {self.index.uri}"

    def window(self, query_id: str, query: str, depth: int) -> FirstStageCandidates:
        start = time.perf_counter()
        found = self.index.retrieve(query, depth, self.mode, reranker=self.precomputer)
        return FirstStageCandidates(
            found.candidates, (time.perf_counter() - start) * 1000, found.requests
        )


def index_corpus(
    collection: Collection, settings: Settings, progress: Callable[..., None] | None = None
) -> tuple[Index, tuple[str, ...]]:
    """An index of a collection's corpus, kept in the user's cache folder and brought up to date.

    With what of the corpus could not be read, a sentence each.

    Raises `DatasetError` where there is no such folder to keep it in, or where something else is in
    its place; nothing is written then.
    """
    cache = cache_folder(settings)
    if cache is None:
        raise DatasetError("no home folder to keep an index in: make one and name it by --index")
    place = cache / "collections" / _name_of(collection)
    documents, index_folder = place / "documents", place / "index"
    try:
        _check_place(place, (documents, index_folder), collection)
        corpus = collection.read(None)
        _write_documents(corpus.by_id.values(), documents)
    except OSError as error:
        raise DatasetError(
            f"{place}: cannot be written ({error.strerror}); {_OTHER_PLACE}"
        ) from error
    index = Index(str(index_folder), settings=settings)
    index.sync(str(documents), progress, allow_deletes=True)  # both folders are ours
    return index, corpus.notes


def _name_of(collection: Collection) -> str:
    return hashlib.sha256(str(collection.folder.resolve()).encode()).hexdigest()[:16]


def _check_place(place: Path, folders: Sequence[Path], collection: Collection) -> None:
    """Raise `DatasetError` for a place that somebody else made, or put something into."""
    purpose = f"expected the index that resift keeps of {collection.folder} there"
    if not claim_folder(place, _COMMENT):
        raise DatasetError(
            f"{place}: has no CACHEDIR.TAG that says that resift made it, {purpose}; {_OTHER_PLACE}"
        )
    documents = folders[0]
    files = [file for file in documents.glob("*") if _OWN_FILE.fullmatch(file.name)]
    for path, kind in [*((folder, "folder") for folder in folders), *((f, "file") for f in files)]:
        is_right = path.is_dir() if kind == "folder" else path.is_file()
        if os.path.lexists(path) and (not is_right or path.is_symlink()):
            raise DatasetError(f"{path}: is no {kind}, {purpose}; {_OTHER_PLACE}")


def _write_documents(corpus: Iterable[Document], folder: Path) -> None:
    """The corpus as files that say the same for the same documents; others are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row({"_id": own.id, "title": own.title, "text": own.text}) for own in corpus]
    files = set()
    for start in range(0, len(rows), ROWS_A_FILE):
        file = folder / f"{start // ROWS_A_FILE:05}.jsonl"
        content = ("\n".join(rows[start : start + ROWS_A_FILE]) + "\n").encode()
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
        files.add(file)
    for file in set(folder.iterdir()) - files:
        if _OWN_FILE.fullmatch(file.name):
            file.unlink()


def _row(values: Mapping[str, str]) -> str:
    """As JSON that people can read; half a character, as JSON can hold it, needs escapes."""
    row = json.dumps(values, ensure_ascii=False)
    try:
        row.encode()
    except UnicodeEncodeError:
        return json.dumps(values)
    return row


def _candidate(rank: int, score: float, document: Document) -> Candidate:
    return Candidate(document.id, document.text, document.title, document.metadata, rank, score)
