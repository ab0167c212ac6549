"""A table whose parts lie outside the index is neither read nor written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from index.shelf import Shelf
from resift.errors import StoreError
from resift.index.storage.location import TABLE
from resift.index.table.dataset import check_files
from resift.index.table.store import Store


def table_with_file(path: str, base_id: int | None = None) -> Any:
    """A table with one data file."""
    file = SimpleNamespace(path=path, base_id=base_id)
    fragment = SimpleNamespace(metadata=SimpleNamespace(files=[file]))
    return SimpleNamespace(get_fragments=lambda: [fragment])


@pytest.mark.parametrize("path", ["../../x.lance", "/etc/x.lance", "a/../../x", "a\\x"])
def test_data_outside_the_index_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        check_files(table_with_file(path))
    with pytest.raises(ValueError, match="lies outside"):
        check_files(table_with_file("x.lance", base_id=1))
    check_files(table_with_file("x.lance"))


@pytest.mark.parametrize("part", ["", "/data", "/_indices", "/_versions"])
def test_a_table_behind_a_link_out_of_the_index_is_refused(tmp_path: Path, part: str) -> None:
    shelf = Shelf(tmp_path)
    shelf.write(a="A text.")
    shelf.sync()
    inside, elsewhere = shelf.index / f"{TABLE}{part}", tmp_path / "elsewhere"
    inside.rename(elsewhere)
    inside.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(StoreError, match="a link that leads out of the index"):
        Store.open(shelf.location, HashingEmbedder())
    assert sorted(elsewhere.rglob("*")) == before
