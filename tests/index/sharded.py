"""The documents of a shelf once more, in an index of shards, made shard by shard."""

import shutil
from dataclasses import replace
from pathlib import Path

from index.shelf import LOCAL, Shelf
from resift.index.embed import Models
from resift.index.shards.layout import shard_location, shard_of
from resift.index.source_options import SourceOptions
from resift.index.sources.patterns import Globs
from resift.index.sources.source import open_source
from resift.index.storage.location import Location, locate
from resift.index.sync import sync
from resift.index.table.open import open_version
from resift.index.table.sharded import ShardedSnapshot
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.settings import Settings


class ShardedShelf(Shelf):
    """`docs` and an index of `count` shards; `index` is the folder of the whole."""

    def __init__(self, root: Path, count: int) -> None:
        super().__init__(root)
        self.count = count

    def sync_shards(self) -> Version:
        """Sync each shard with its part of the documents, and publish the whole."""
        names: list[list[str]] = [[] for _ in range(self.count)]
        for path in sorted(self.docs.iterdir()):
            names[shard_of(self.uri(path.name), self.count)].append(path.name)
        versions = [self.sync_shard(at, part) for at, part in enumerate(names)]
        return self.publish_whole([version.number if version else 0 for version in versions])

    def sync_shard(self, shard: int, names: list[str]) -> Version | None:
        """Sync one shard with these files; without any it has no version."""
        if not names:
            return None
        # Made beside the whole, because no index may be made inside another one.
        folder, outside = self.shard(shard).folder, self.index.with_name("shard")
        if folder.exists():
            shutil.move(folder, outside)
        options = SourceOptions(globs=Globs(include=tuple(names)))
        models = Models(self.embedder)
        sync(open_source(str(self.docs), LOCAL), Versions(locate(outside)), models, options)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(outside, folder)
        return Versions(self.shard(shard)).find()

    def publish_whole(self, numbers: list[int]) -> Version:
        """Publish a version of the whole that names these versions of the shards."""
        shards = {
            at: Versions(self.shard(at)).get(number) for at, number in enumerate(numbers) if number
        }
        newest = self.versions.newest()
        first = next(iter(shards.values()))
        whole = replace(
            first,
            number=newest.number + 1 if newest else 1,
            table="whole",
            table_version=1,
            passages=sum(version.passages for version in shards.values()),
            documents=sum(version.documents for version in shards.values()),
            manifest="",
            files=tuple(
                (f"shards/{at:03}", sum(size for _, size in version.files))
                for at, version in shards.items()
            ),
            shards=tuple(numbers),
            shard_tables=tuple(
                shards[at].table if number else "" for at, number in enumerate(numbers)
            ),
        )
        assert self.versions.publish(whole, {})
        return whole

    def shard(self, number: int) -> Location:
        return shard_location(self.location, number)

    def whole(self, number: int | None = None) -> ShardedSnapshot:
        """The open version of the whole."""
        version = self.versions.find(number)
        opened = open_version(self.location, Settings(), version)
        assert isinstance(opened, ShardedSnapshot)
        return opened
