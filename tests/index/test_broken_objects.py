"""Proves the figure in small: of 400 files 40 are broken in 20 ways, and nothing else is lost."""

import os
from pathlib import Path

import broken_objects
import pytest

from index.fakes import HashingEmbedder
from resift.search.index import Index

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes, no such names")


def test_the_broken_ones_are_named_and_the_rest_is_indexed(tmp_path: Path) -> None:
    broken_objects.make(tmp_path / "docs", 400, 40)
    index = Index(str(tmp_path / "index"), embedder=HashingEmbedder())
    first, second = broken_objects.measure(tmp_path / "docs", index)
    assert (first.listed, first.added, first.unindexed) == (400, 360, 40)
    assert len({uri for uri, _ in first.skipped}) == len(broken_objects.DEFECTS) * 2
    assert (second.unchanged, second.version, second.skipped) == (360, 1, first.skipped)
