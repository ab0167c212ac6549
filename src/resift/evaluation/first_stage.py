"""The first stage of an evaluation: a run, an index, or an index made of the corpus."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Collection as Names
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from resift.errors import DatasetError
from resift.evaluation.collection import Collection
from resift.evaluation.measures import CUTOFF, scores_by_rank
from resift.evaluation.result import Latency
from resift.evaluation.trec import Run, RunEntry
from resift.files import claim_folder, reason
from resift.index.embed import Precomputer
from resift.search.index import Index
from resift.search.options import Mode
from resift.settings import Settings, cache_folder
from resift.types import Candidate, Document, Hit

TITLE_CHARACTERS = 80  # of the text, for a document without a title
ROWS_PER_FILE = 2_000  # of an indexed corpus; a changed file is read again as a whole
_CORPUS_FILE = re.compile(r"\d{5}\.jsonl")
_CACHE_COMMENT = "A corpus and its index, for resift eval and calibrate. May be deleted."
_REMEDY = "move it away, or name another cache folder (RESIFT_CACHE_DIR) or an index (--index)"


@dataclass(frozen=True, slots=True)
class FirstStageCandidates:
    """A query's candidates, best first. `ms` is None if the search was not timed.

    `tail` has the ids of documents ranked below the candidates. `scores` has the scores of
    candidates and tail if their ties matter, as in a run.
    """

    candidates: Sequence[Candidate]
    ms: float | None = None
    requests: int = 0
    tail: Sequence[str] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


class FirstStage(Protocol):
    """Retrieves the candidates of a query."""

    @property
    def name(self) -> str:
        """A description for people."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about missing data."""

    def retrieve(self, query_id: str, query: str, depth: int) -> FirstStageCandidates:
        """Retrieve the best `depth` candidates, or fewer if there are no more."""


def doc_id(candidate: Candidate | Hit) -> str:
    """The id that judgments use; for a passage of an index, its document's id."""
    return candidate.citation.doc_id if candidate.citation else candidate.id


def distinct(doc_ids: Iterable[str]) -> list[str]:
    """Each document once, at the rank of its best passage (MaxP)."""
    return list(dict.fromkeys(doc_ids))


@dataclass(slots=True)
class FirstStageResults:
    """The first stage's results for the queries so far, by query id.

    `ranked` has document ids, best first; the first `reachable` of them are candidates, so that a
    reranker can move them. `tied` has queries with equal scores among the first candidates.
    """

    ranked: dict[str, Sequence[str]] = field(default_factory=dict)
    reachable: dict[str, int] = field(default_factory=dict)
    scores: dict[str, Mapping[str, float]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    tied: list[str] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    _requests: int = 0

    def add(self, query_id: str, retrieved: FirstStageCandidates) -> None:
        """Record the results of one query, without texts."""
        candidates = distinct(map(doc_id, retrieved.candidates))
        ranked = distinct([*candidates, *retrieved.tail])
        self.ranked[query_id] = ranked
        self.reachable[query_id] = len(candidates)
        self.scores[query_id] = dict(retrieved.scores) or scores_by_rank(ranked)
        top = [candidate.score for candidate in retrieved.candidates[: CUTOFF + 1]]
        if retrieved.scores and any(score == following for score, following in pairwise(top)):
            self.tied.append(query_id)
        if retrieved.ms is not None:
            self.ms.append(retrieved.ms)
        self._requests += retrieved.requests

    def add_titles(self, candidates: Sequence[Candidate]) -> None:
        """Record titles, or the beginning of texts, of documents that a report may list."""
        for candidate in candidates:
            text = candidate.text if isinstance(candidate.text, str) else ""
            beginning = " ".join(text[: 2 * TITLE_CHARACTERS].split())[:TITLE_CHARACTERS]
            self.titles.setdefault(doc_id(candidate), candidate.title or beginning)

    def has_a_judged_id(self, judged: Iterable[Names[str]]) -> bool:
        """Whether any query has a document that is judged, be it for another query."""
        retrieved = {doc_id for ranked in self.ranked.values() for doc_id in ranked}
        return any(not retrieved.isdisjoint(doc_ids) for doc_ids in judged)

    @property
    def latency(self) -> Latency | None:
        """Latency without the first query, which warms up, if there are others."""
        return Latency.of(self.ms[1:] or self.ms)

    @property
    def requests(self) -> float:
        """Mean requests to the object store per query."""
        return self._requests / max(len(self.ranked), 1)


def run_candidates(
    entries: Sequence[RunEntry], documents: Mapping[str, Document]
) -> list[Candidate]:
    """Make candidates of a run's entries, in their order."""
    return [
        Candidate(document.id, document.text, document.title, document.metadata, rank, entry.score)
        for rank, entry in enumerate(entries, 1)
        for document in [documents[entry.doc_id]]
    ]


def read_run_documents(
    collection: Collection, doc_ids: Names[str]
) -> tuple[dict[str, Document], set[str], tuple[str, ...]]:
    """The documents of a run, the ids that the corpus lacks (their documents are empty), notes."""
    corpus = collection.read_documents(doc_ids)
    missing = set(doc_ids) - corpus.by_id.keys()
    empty = {doc_id: Document(doc_id, "") for doc_id in missing}
    return corpus.by_id | empty, missing, corpus.notes


@dataclass(frozen=True, slots=True)
class FromRun:
    """A TREC run over a collection's documents."""

    name: str
    run: Run
    documents: Mapping[str, Document]
    notes: tuple[str, ...] = ()

    def retrieve(self, query_id: str, query: str, depth: int) -> FirstStageCandidates:
        entries = self.run.get(query_id, ())
        return FirstStageCandidates(
            run_candidates(entries[:depth], self.documents),
            tail=[entry.doc_id for entry in entries[depth:]],
            scores={entry.doc_id: entry.score for entry in entries},
        )


def from_run(collection: Collection, run: Run, name: str, depth: int) -> FromRun:
    """Read the documents of the first `depth` entries of a run.

    Documents that the corpus lacks (it may be a sample) rank below scored ones in their old order;
    a note counts them. Raises `DatasetError` if the corpus lacks all.
    """
    needed = {entry.doc_id for entries in run.values() for entry in entries[:depth]}
    documents, missing, notes = read_run_documents(collection, needed)
    if needed and missing == needed:
        raise DatasetError(
            f"{name}: none of its {len(needed)} documents is in {collection.folder}, the first is "
            f"{min(needed):.80}; is the run of this collection?"
        )
    if missing:
        notes += (
            f"{len(missing)} of {len(needed)} documents of {name} are not in the corpus, the first "
            f"is {min(missing):.80}: they rank below the readable ones",
        )
    return FromRun(name, run, documents, notes)


@dataclass(frozen=True, slots=True)
class FromIndex:
    """Searches of an index without reranking; candidates are passages."""

    index: Index
    mode: Mode = "hybrid"
    precomputer: Precomputer | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The mode and the index."""
        return f"{self.mode} of {self.index.uri}"

    def retrieve(self, query_id: str, query: str, depth: int) -> FirstStageCandidates:
        start = time.perf_counter()
        retrieved = self.index.retrieve(query, depth, self.mode, reranker=self.precomputer)
        ms = (time.perf_counter() - start) * 1000
        return FirstStageCandidates(retrieved.candidates, ms, retrieved.requests)


def index_corpus(
    collection: Collection, settings: Settings, progress: Callable[..., None] | None = None
) -> tuple[Index, tuple[str, ...]]:
    """Sync an index of a collection's corpus in the user's cache folder; returns it and notes.

    Raises `DatasetError`, and writes nothing, if the cache folder is missing or not ours.
    """
    cache = cache_folder(settings)
    if cache is None:
        raise DatasetError(
            "no home folder to cache an index in: make an index and name it by --index"
        )
    name = hashlib.sha256(str(collection.folder.resolve()).encode()).hexdigest()[:16]
    folder = cache / "collections" / name
    documents, index_folder = folder / "documents", folder / "index"
    try:
        _check_cache(folder, (documents, index_folder), collection)
        corpus = collection.read_documents(None)
        _write_corpus(corpus.by_id.values(), documents)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written ({reason(error)}); {_REMEDY}") from error
    index = Index(str(index_folder), settings=settings)
    index.sync(str(documents), progress, allow_deletes=True)  # resift wrote both folders
    return index, corpus.notes


def _check_cache(folder: Path, folders: Sequence[Path], collection: Collection) -> None:
    """Raise `DatasetError` for a folder that resift did not make, or that has links in it."""
    purpose = f"expected the cached index of {collection.folder}"
    if not claim_folder(folder, _CACHE_COMMENT):
        raise DatasetError(f"{folder}: has no CACHEDIR.TAG of resift, {purpose}; {_REMEDY}")
    files = [file for file in folders[0].glob("*") if _CORPUS_FILE.fullmatch(file.name)]
    for path, kind in [*((folder, "folder") for folder in folders), *((f, "file") for f in files)]:
        is_right = path.is_dir() if kind == "folder" else path.is_file()
        if os.path.lexists(path) and (not is_right or path.is_symlink()):
            raise DatasetError(f"{path}: is not a {kind}, {purpose}; {_REMEDY}")


def _write_corpus(corpus: Iterable[Document], folder: Path) -> None:
    """Write the corpus as JSON Lines and delete other corpus files; unchanged files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_corpus_row(document) for document in corpus]
    files = set()
    for start in range(0, len(rows), ROWS_PER_FILE):
        file = folder / f"{start // ROWS_PER_FILE:05}.jsonl"
        content = ("\n".join(rows[start : start + ROWS_PER_FILE]) + "\n").encode()
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
        files.add(file)
    for file in set(folder.iterdir()) - files:
        if _CORPUS_FILE.fullmatch(file.name):
            file.unlink()


def _corpus_row(document: Document) -> str:
    """A document as JSON; escaped as ASCII if its text has a lone surrogate."""
    values = {"_id": document.id, "title": document.title, "text": document.text}
    row = json.dumps(values, ensure_ascii=False)
    try:
        row.encode()
    except UnicodeEncodeError:
        return json.dumps(values)
    return row
