"""What workers cannot do is told apart: errors with their cause, and items that kill workers."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from resift.errors import ClusterError, StoreError
from resift.jobs import parts
from resift.jobs.cluster import Cluster
from resift.jobs.parts import Parts, _Worker


def _no_module(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}")


class Newer:
    """What this version of resift cannot read."""

    def __reduce__(self) -> tuple[object, ...]:
        return _no_module, ("resift.newer",)


def _open(process: Callable[[Any], Any]) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: nullcontext(process)


def _failed(part: object, process: Callable[[Any], Any] = lambda part: part) -> Exception:
    """The error of a worker, as the process gets it that waits for the part."""
    done = _Worker(_open(process))({"number": [7], "part": [pickle.dumps(part)]})
    assert done["number"] == [7]
    error = pickle.loads(done["result"][0]).error
    assert isinstance(error, Exception)
    return error


def test_a_part_that_a_worker_cannot_read_is_an_error_that_says_so() -> None:
    assert str(_failed(Newer())) == "No module named 'resift.newer'"


def test_an_unexpected_error_says_where_it_was_raised() -> None:
    def broken(part: object) -> object:
        table: dict[object, object] = {}
        return table[part]

    error = _failed("a key", broken)
    assert isinstance(error, KeyError)
    assert "in broken" in "".join(error.__notes__)


def test_an_error_of_resift_is_the_one_that_it_is_here() -> None:
    def refuse(part: object) -> object:
        raise StoreError("no room on this disk")

    error = _failed(1, refuse)
    assert isinstance(error, StoreError) and not hasattr(error, "__notes__")


def test_an_error_that_cannot_be_copied_keeps_its_words() -> None:
    class Local(Exception):
        pass

    def broken(part: object) -> object:
        raise Local("of a test")

    error = _failed(1, broken)
    assert isinstance(error, RuntimeError) and str(error) == "Local: of a test"
    assert "in broken" in "".join(error.__notes__)


class NoWorker:
    """A cluster of one worker."""

    address = "here"

    @contextmanager
    def connected(self) -> Iterator[Any]:
        yield SimpleNamespace(exceptions=SimpleNamespace(RayError=ConnectionError))

    def worker_count(self, ray: Any) -> int:
        return 1


def _process(
    items: Sequence[str], in_a_part: int, monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """Process items in parts; a part with "poison" kills each worker."""

    def mapped(
        ray: Any, cluster: Any, given: Sequence[Sequence[str]], job: Any
    ) -> Iterator[tuple[int, bytes]]:
        for number, part in enumerate(given):
            if "poison" not in part:
                yield number, pickle.dumps(list(part))

    def cut(workers: int) -> list[Sequence[str]]:
        return [items[at : at + in_a_part] for at in range(0, len(items), in_a_part)]

    monkeypatch.setattr(parts, "_mapped", mapped)
    job: Parts[Sequence[str], list[str]] = Parts(
        _open(list), lambda part: [[item] for item in part], lambda part, reason: ["lost", *part]
    )
    return list(job.process(cast(Cluster, NoWorker()), cut))


def test_a_poisonous_item_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    results = _process(["a", "b", "poison", "c"], 2, monkeypatch)
    assert results == [["a", "b"], ["c"], ["lost", "poison"]]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_poisonous_items_are_lost_also_where_there_are_no_others(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a sync that has only those left to do would fail each time."""
    for in_a_part in (1, count):
        results = _process(["poison"] * count, in_a_part, monkeypatch)
        assert results == [["lost", "poison"]] * count


def test_a_cluster_that_can_do_nothing_of_much_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ClusterError, match="here: no worker survives"):
        _process(["poison"] * 100, 10, monkeypatch)
