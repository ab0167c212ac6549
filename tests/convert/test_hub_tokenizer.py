"""A tokenizer is fetched from the hub without its weights, and is there without a network."""

import shutil
from pathlib import Path

import pytest

from convert.hub_models import NAME
from convert.loopback_hub import Hub
from convert.test_hub import server as server
from convert.test_hub import waits as waits
from resift.convert.hub_tokenizer import fetch_tokenizer
from resift.errors import ModelNotFound
from resift.rerank.catalogue import BUNDLED
from resift.search.counters import open_counter

constants = pytest.importorskip("huggingface_hub.constants")


def test_only_the_tokenizer_is_fetched_and_it_counts(server: Hub) -> None:
    for commit in server.commits.values():
        shutil.copy(BUNDLED / "tokenizer.json", commit / "tokenizer.json")
    assert open_counter(tokenizer=NAME)("the manager") == 2
    assert server.fetched == ["tokenizer.json"]


def test_without_a_network_it_is_read_from_the_hubs_cache(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fetch_tokenizer(NAME)
    refs = file.parent.parent.parent / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(file.parent.name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert fetch_tokenizer(NAME) == file and server.requests == []


def test_a_repository_without_one_is_named(server: Hub, tmp_path: Path) -> None:
    for commit in server.commits.values():
        (commit / "tokenizer.json").unlink(missing_ok=True)
    with pytest.raises(ModelNotFound, match=rf"{NAME}: has no tokenizer\.json"):
        fetch_tokenizer(NAME)
