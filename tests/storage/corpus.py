"""Documents and their index, in a folder or in a bucket; and processes that sync."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import obstore
from obstore.store import LocalStore

import resift
from index.fakes import HashingEmbedder
from resift.index.sources.source import open_source
from resift.index.storage.client import open_bucket
from resift.index.storage.location import Location, locate
from resift.index.table.dataset import open_table
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.search.index import Index
from resift.settings import Settings, StorageSettings
from search.stand_ins import Backwards

Row = tuple[Any, ...]
COLUMNS = ("id", "uri", "etag", "passages", "start", "end", "title", "text", "vector")
_PACKAGES = (Path(resift.__file__).parents[1], Path(__file__).parents[1])


@dataclass(frozen=True)
class Corpus:
    """Documents below ``ROOT/docs``, their index at ``ROOT/index``."""

    root: str
    storage: StorageSettings = field(default_factory=StorageSettings)

    @property
    def docs(self) -> str:
        return f"{self.root}/docs"

    @property
    def index_uri(self) -> str:
        return f"{self.root}/index"

    @property
    def location(self) -> Location:
        return locate(self.index_uri, self.storage)

    @property
    def versions(self) -> Versions:
        return Versions(self.location)

    def twin(self) -> "Corpus":
        """An index of its own beside this one."""
        return Corpus(f"{self.root}/{uuid.uuid4().hex[:8]}", self.storage)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Put documents, by their keys below ``docs``."""
        for key, text in files.items():
            obstore.put(self._documents(), key, text.encode() if isinstance(text, str) else text)

    def delete(self, *keys: str) -> None:
        obstore.delete(self._documents(), list(keys))

    def index(self, embedder: HashingEmbedder | None = None, **settings: Any) -> Index:
        return Index(
            self.index_uri,
            settings=Settings(storage=self.storage, **settings),
            embedder=embedder or HashingEmbedder(),
            reranker=Backwards(),
        )

    def rows(self, number: int | None = None) -> list[Row]:
        """What a published version holds, read without its indexes, by id."""
        version = self.versions.get(number) if number else self.newest()
        table = open_table(self.location, version=version.table_version)
        columns = table.to_table(columns=list(COLUMNS)).to_pydict()
        columns["vector"] = [tuple(vector) for vector in columns["vector"]]
        return sorted(zip(*(columns[name] for name in COLUMNS), strict=True))

    def newest(self) -> Version:
        version = self.versions.newest()
        assert version is not None
        return version

    def etags(self) -> dict[str, str]:
        """ETags in the source, by URI."""
        return {item.uri: item.etag for item in open_source(self.docs, self.storage).list().objects}

    def _documents(self) -> Any:
        location = locate(self.docs, self.storage)
        if location.bucket:
            return open_bucket(location)
        return LocalStore(location.path, mkdir=True)


class Child:
    """A process that waits for an order, to sync or to search: `storage.child`."""

    def __init__(self, storage: StorageSettings) -> None:
        known = {"PYTHONPATH": os.pathsep.join(map(str, _PACKAGES)), "PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "storage.child"],
            env=known | _environment(storage),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # its own process group: so its children can be found
        )

    def order(self, source: str, index: str, **more: float | str) -> None:
        """Let it begin, once it is ready."""
        self._out.readline()
        pipe = cast(IO[bytes], self.process.stdin)
        pipe.write(json.dumps({"source": source, "index": index, **more}).encode() + b"\n")
        pipe.flush()

    def result(self) -> dict[str, Any]:
        """Its report, once it is done; what it has said on stderr is in the error if it failed."""
        out, err = self.process.communicate(timeout=120)
        if self.process.returncode:
            raise RuntimeError(f"exit {self.process.returncode}: {err.decode()[-2000:]}")
        report: dict[str, Any] = json.loads(out)
        return report

    def kill(self) -> None:
        """``kill -9``, and forget it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            cast(IO[bytes], pipe).close()

    @property
    def _out(self) -> IO[bytes]:
        return cast(IO[bytes], self.process.stdout)


@contextmanager
def children(storage: StorageSettings) -> Iterator[Callable[[], Child]]:
    """Start child processes; none of them outlives the test."""
    started: list[Child] = []

    def start() -> Child:
        started.append(Child(storage))
        return started[-1]

    try:
        yield start
    finally:
        for child in started:
            child.kill()


def _environment(storage: StorageSettings) -> dict[str, str]:
    named = {
        "AWS_ENDPOINT_URL": storage.endpoint,
        "AWS_REGION": storage.region,
        "AWS_ACCESS_KEY_ID": storage.access_key_id,
        "AWS_SECRET_ACCESS_KEY": storage.secret_access_key,
    }
    return {name: value for name, value in named.items() if value}
