"""Proves that a lookup runs once for many threads, again after some minutes, and after an error."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import SimpleNamespace

import pytest

from resift.errors import SettingsError
from resift.index.storage import lookups
from resift.index.storage.lookups import cached_for_minutes


def test_threads_share_one_lookup_by_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "CACHED_S", 1e9)
    calls: list[str] = []
    entered = threading.Event()

    @cached_for_minutes(max_results=2)
    def look_up(name: str) -> str:
        calls.append(name)
        entered.wait(0.05)  # the others arrive meanwhile
        return name.upper()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(look_up, ["a"] * 8)) == {"A"}
    assert look_up("b") == "B" and calls == ["a", "b"]


def test_a_result_is_looked_up_again_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [lookups.CACHED_S]
    monkeypatch.setattr(lookups, "time", SimpleNamespace(monotonic=lambda: now[0]))
    numbers: Iterator[int] = count(1)

    @cached_for_minutes(max_results=1)
    def look_up() -> int:
        return next(numbers)

    assert [look_up(), look_up()] == [1, 1]
    now[0] += lookups.CACHED_S
    assert look_up() == 2


def test_an_error_is_not_cached() -> None:
    outcomes = iter([SettingsError("locked"), None])

    @cached_for_minutes(max_results=1)
    def look_up() -> str:
        if error := next(outcomes):
            raise error
        return "key"

    with pytest.raises(SettingsError):
        look_up()
    assert look_up() == "key"
