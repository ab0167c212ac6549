"""A folder of documents beside its index, and rows that were never in a file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance

from index.fakes import HashingEmbedder
from resift.index.embed import Models
from resift.index.manifest import Entry
from resift.index.publish import SyncDelta, publish
from resift.index.report import SyncReport
from resift.index.run import Progress
from resift.index.source_options import SourceOptions
from resift.index.sources.source import open_source
from resift.index.storage.location import TABLE, Location, locate
from resift.index.sync import SyncConsent, sync
from resift.index.table.open import open_version
from resift.index.table.rows import READ_COLUMNS, Origin, Passage, from_row, to_arrow
from resift.index.table.snapshot import Snapshot
from resift.index.table.store import Store
from resift.index.table.where import parse_where
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.settings import Settings, StorageSettings

LOCAL = StorageSettings()
NOTHING = SyncDelta()


class Shelf:
    """`docs` and the `index` made of it, below one folder."""

    def __init__(self, root: Path) -> None:
        self.docs = root / "docs"
        self.docs.mkdir(parents=True, exist_ok=True)
        self.index = root / "index"
        self.embedder = HashingEmbedder()
        self.progress: list[Progress] = []

    @property
    def location(self) -> Location:
        return locate(str(self.index))

    @property
    def versions(self) -> Versions:
        return Versions(self.location)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.docs / f"{name}.txt").write_text(text)

    def uri(self, name: str) -> str:
        return str(self.docs.resolve() / name)

    def sync(
        self,
        below: str = "",
        source_options: SourceOptions | None = None,
        *,
        allow_deletes: bool = False,
    ) -> SyncReport:
        source = open_source(str(self.docs / below), LOCAL)
        models, consent = Models(self.embedder), SyncConsent(deletes=allow_deletes)
        return sync(
            source, self.versions, models, source_options, self.progress.append, consent=consent
        )

    def store(self) -> Store:
        return Store.open(self.location, self.embedder)

    def publish(self, delta: SyncDelta = NOTHING) -> Version:
        return publish(self.store(), self.versions, self.embedder, delta)

    def newest(self) -> Version:
        return self.versions.find()

    def snapshot(self, number: int | None = None) -> Snapshot:
        version = self.versions.find(number)
        opened = open_version(self.location, Settings(), version)
        assert isinstance(opened, Snapshot)
        return opened

    def passages(self, number: int | None = None) -> list[Passage]:
        """All rows of a published version, by id."""
        table_version = self.versions.find(number).table_version
        table = lance.dataset(str(self.index / TABLE), version=table_version)
        rows = table.to_table(columns=list(READ_COLUMNS)).to_pylist()
        return sorted(map(from_row, rows), key=lambda passage: passage.id)

    def texts(self, number: int | None = None) -> list[str]:
        return sorted(passage.text for passage in self.passages(number))

    def add(self, *passages: Passage) -> None:
        """Write rows in one commit, as a run that was killed before it published leaves them."""
        store = self.store()
        vectors = self.embedder.embed([passage.search_text for passage in passages])
        store.append([to_arrow(passages, vectors, store.schema)])

    def files(self) -> list[Path]:
        return sorted(path for path in self.index.rglob("*") if path.is_file())


def origin(uri: str, attempt: str = "1", **facts: Any) -> Origin:
    plain = Origin(uri, etag="e1", size=3, content=b"c", made_by="text 1", attempt=attempt)
    return replace(plain, **facts)


def entry(uri: str, attempt: str = "1", passages: int = 1, **facts: Any) -> Entry:
    return Entry(origin(uri, attempt), passages, **facts)


def passage(
    uri: str, text: str, ordinal: int = 0, of: int = 1, attempt: str = "1", **facts: Any
) -> Passage:
    plain = Passage(
        id=f"{uri}#{ordinal}",
        origin=origin(uri, attempt),
        passages=of,
        doc_id=uri,
        title="",
        heading="H > I",
        text=text,
        start=5,
        end=5 + len(text),
        page=2,
        row=None,
        ordinal=ordinal,
        metadata={"tags": ["ä", 1], "deep": {"a": None}},
    )
    return replace(plain, **facts)


def texts_found(
    snapshot: Snapshot, query: str, k: int = 10, where: str | None = None
) -> Sequence[str]:
    """Texts that lexical search finds, best first."""
    view = snapshot.view()
    allowed = view.matching_rows(parse_where(where)) if where else None
    return [
        p.text for p in view.passages([row_id for row_id, _ in view.lexical(query, k, allowed)])
    ]
