"""A folder of documents beside an index of three shards."""

from pathlib import Path

import lance

from index.shelf import LOCAL, Shelf
from resift.index.embed import Models
from resift.index.report import SyncReport
from resift.index.shards.layout import shard_of
from resift.index.shards.publish import clean_whole, rollback_whole
from resift.index.shards.sync import sync_shards
from resift.index.source_options import SourceOptions
from resift.index.sources.source import open_source
from resift.index.storage.location import TABLE
from resift.index.sync import SyncConsent
from resift.index.table.rows import READ_COLUMNS, Passage, from_row
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version


class ShelfOfShards(Shelf):
    """`docs` and the `index` of `count` shards made of it, below one folder."""

    count = 3

    def sync(
        self,
        below: str = "",
        source_options: SourceOptions | None = None,
        *,
        allow_deletes: bool = False,
    ) -> SyncReport:
        source = open_source(str(self.docs / below), LOCAL)
        models, consent = Models(self.embedder), SyncConsent(deletes=allow_deletes)
        return sync_shards(
            source,
            self.versions,
            models,
            self.count,
            source_options,
            self.progress.append,
            consent=consent,
        )

    def passages(self, number: int | None = None) -> list[Passage]:
        """All rows of a published version of the whole, by id."""
        rows = []
        for shard, version in enumerate(self.versions.shard_versions(self.versions.find(number))):
            if version:
                folder = self.versions.shard(shard).location.folder
                table = lance.dataset(str(folder / TABLE), version=version.table_version)
                rows += table.to_table(columns=list(READ_COLUMNS)).to_pylist()
        return sorted(map(from_row, rows), key=lambda passage: passage.id)

    def rollback(self, number: int) -> Version:
        return rollback_whole(self.versions, number, self.embedder, self.open_shard)

    def clean(self, keep: int = 1, older_than_s: float = 0) -> tuple[list[int], int]:
        return clean_whole(self.versions, keep, older_than_s, self.open_shard)

    def open_shard(self, shard: Versions) -> Store:
        return Store.open(shard.location, self.embedder)

    def fill_shards(self, text: str = "text") -> None:
        """Write two documents of each shard."""
        names = [name for shard in range(self.count) for name in self.names_in(shard, 2)]
        self.write(**{name: f"{text} {name}" for name in names})

    def change(self, shard: int, text: str) -> None:
        """Change a document of a shard, and sync."""
        self.write(**{self.names_in(shard)[0]: text})
        self.sync()

    def names_in(self, shard: int, count: int = 1) -> list[str]:
        """Names of files without ``.txt`` that belong to a shard."""
        names = (f"n{number}" for number in range(1_000))
        return [n for n in names if shard_of(self.uri(f"{n}.txt"), self.count) == shard][:count]

    def path_in(self, shard: int, below: str) -> Path:
        """The path of a file in a folder of documents that belongs to a shard."""
        names = (f"{below}/{number}.txt" for number in range(1_000))
        return self.docs / next(n for n in names if shard_of(self.uri(n), self.count) == shard)

    def shard_numbers(self) -> list[list[int]]:
        """The numbers of all published versions of each shard."""
        return [self.versions.shard(shard).numbers() for shard in range(self.count)]

    def store_is_empty(self, shard: int) -> bool:
        return len(self.open_shard(self.versions.shard(shard))) == 0
