"""Proves that a newer version is opened beside the one that is read, and passages by id."""

import threading
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexNotFound, InputError
from resift.index.table.open import open_choice
from resift.search.index import Index
from resift.settings import Settings
from search.opened import Gate
from search.stand_ins import Backwards


def index_at(folder: Path, **options: Any) -> Index:
    return Index(
        folder / "index",
        settings=Settings(),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
        **options,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "cat.md").write_text("The cat is an animal.")
    index_at(tmp_path).sync(str(tmp_path / "docs"))
    return tmp_path


def publish(folder: Path, name: str) -> None:
    (folder / "docs" / f"{name}.md").write_text(f"The {name} is an animal.")
    index_at(folder).sync(str(folder / "docs"))


def test_a_newer_version_is_read_after_renew_and_not_before(folder: Path) -> None:
    index = index_at(folder)
    assert index.opened is None
    assert index.open().number == 1
    publish(folder, "dog")
    assert index.search("animal").receipt.version == 1
    assert index.renew().number == 2
    assert index.opened is not None and index.opened.number == 2
    ranking = index.search("animal")
    assert ranking.receipt.version == 2 and len(ranking) == 2
    assert index.renew().number == 2


def test_searches_read_the_old_version_while_the_new_one_opens(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_at(folder)
    index.open()
    publish(folder, "dog")
    with Gate() as gate:
        monkeypatch.setattr("resift.search.components.open_choice", gate.hold(open_choice))
        renewing = threading.Thread(target=index.renew)
        renewing.start()
        while not gate.calls:
            pass
        assert index.search("animal").receipt.version == 1
        gate.open()
        renewing.join(60)
    assert index.search("animal").receipt.version == 2


def test_a_version_that_cannot_be_opened_leaves_the_old_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_at(folder)
    index.open()
    publish(folder, "dog")

    def fail(*_: Any) -> None:
        raise IndexNotFound("the store is down")

    with monkeypatch.context() as patch:
        patch.setattr("resift.search.components.open_choice", fail)
        with pytest.raises(IndexNotFound):
            index.renew()
    assert index.search("animal").receipt.version == 1
    assert index.renew().number == 2


def test_a_pinned_version_stays(folder: Path) -> None:
    index = index_at(folder, version=1)
    index.open()
    publish(folder, "dog")
    assert index.renew().number == 1


def test_an_index_without_a_version_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    with pytest.raises(IndexNotFound):
        index_at(tmp_path).open()
    with pytest.raises(IndexNotFound):
        index_at(tmp_path).renew()


def test_a_passage_by_the_id_of_a_hit(folder: Path) -> None:
    index = index_at(folder)
    hit = index.search("animal")[0]
    passage = index.passage(hit.id)
    assert passage is not None and passage.text == hit.text
    assert index.passage("nothing") is None
    with pytest.raises(InputError, match="passage_id=7"):
        index.passage(7)  # type: ignore[arg-type]
