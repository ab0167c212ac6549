"""Odd callers cost themselves: objects that raise or lie about their class, calls within calls."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from resift import Reranker
from resift.errors import InputError, RuntimeFailure
from resift.settings import Settings
from resift.types import Hit

QUERY = "red blue"


@pytest.fixture(scope="module")
def tiny(joint_folder: Path) -> Reranker:
    """One small model."""
    return Reranker(joint_folder, settings=Settings())


class Raises:
    """Nothing can be asked of it, not even its class."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class SaysItIsText:
    """As proxies do: what is behind it is not text."""

    @property
    def __class__(self) -> Any:
        return str

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise NotImplementedError


class Unreadable(Mapping[str, Any]):
    """A mapping that has a text and does not give it."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["text"])

    def __len__(self) -> int:
        return 1


class NoKeys(Unreadable):
    """One that does not even say what it has."""

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")


class Leaves:
    """What ends a program, out of a document's texts code."""

    def keys(self) -> Any:
        raise SystemExit(3)

    def __getitem__(self, key: str) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("odd", [Raises, SaysItIsText, Unreadable, NoKeys])
def test_an_object_that_raises_or_lies_costs_itself(tiny: Reranker, odd: type) -> None:
    documents: list[Any] = [odd(), "red"]
    assert [hit.status for hit in tiny.rank(QUERY, documents)] == ["ok", "not_text"]
    with pytest.raises(InputError, match=r"^documents: it is "):
        tiny.rank(QUERY, documents[:1])


@pytest.mark.parametrize("odd", [Unreadable, NoKeys])
def test_a_mapping_that_cannot_be_read_is_no_list(tiny: Reranker, odd: Any) -> None:
    with pytest.raises(InputError, match="expected a list of them"):
        tiny.rank(QUERY, odd())


def test_a_document_that_would_end_the_program_ends_its_call_only(tiny: Reranker) -> None:
    leaving: list[Any] = [Leaves(), "red"]

    async def beside() -> list[Any]:
        calls = (tiny.arank(QUERY, texts) for texts in (["red"] * 50, leaving, ["blue"] * 50))
        return await asyncio.gather(*calls, return_exceptions=True)

    first, odd, last = asyncio.run(beside())
    assert isinstance(odd, RuntimeFailure)
    assert (len(first), len(last)) == (50, 50)


def test_documents_that_call_arank_are_refused_and_nobody_waits_for_ever(tiny: Reranker) -> None:
    def within() -> Iterator[Hit]:
        yield asyncio.run(tiny.arank(QUERY, ["red"]))[0]

    async def call(documents: Any) -> Any:
        return await asyncio.wait_for(tiny.arank(QUERY, documents), 20)

    with pytest.raises(InputError, match="calls arank itself"):
        asyncio.run(call(within()))
    assert len(asyncio.run(call(["red"]))) == 1
    assert len(tiny.rank(QUERY, within())) == 1


@pytest.mark.parametrize("remembering", [{}, {"cache_mb": 8}, {"state_cache_mb": 8}])
@pytest.mark.parametrize("budget_ms", [None, 5_000])
def test_half_a_character_far_into_a_text_costs_itself(
    remembering: dict[str, Any], budget_ms: float | None
) -> None:
    reranker = Reranker(settings=Settings(**remembering))
    documents = ["word " * 20_000 + "\ud800", "word"]
    for _ in range(2):  # the second time from what is remembered
        ranking = reranker.rank("word", documents, budget_ms=budget_ms)
        assert {hit.index: hit.status for hit in ranking} == {0: "cut", 1: "ok"}
    assert [states is not None for states in reranker.precompute(documents)][1]
