"""Fixtures for tests of an index of shards."""

from pathlib import Path

import pytest

from index.fakes import InProcessParsers
from index.shards.shelf import ShelfOfShards


@pytest.fixture(autouse=True)
def _parsers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)


@pytest.fixture
def shelf(tmp_path: Path) -> ShelfOfShards:
    return ShelfOfShards(tmp_path)
