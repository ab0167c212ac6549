"""Opening a service in the background: once for all who wait, and again after a failure."""

import asyncio
import threading
from typing import Any

import pytest

from resift.errors import ModelNotFound
from resift.serve.opening import ServiceOpening


class StandIn:
    """A service that notes what is done with it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def open_indexes(self) -> None:
        self.calls.append("open_indexes")

    async def keep_renewed(self) -> None:
        self.calls.append("keep_renewed")
        await asyncio.sleep(60)

    def close(self) -> None:
        self.calls.append("close")


class Maker:
    """Makes a service in a thread, when it may, after some failures."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.made = 0
        self.may_go_on = threading.Event()
        self.service = StandIn()

    def __call__(self) -> Any:
        assert self.may_go_on.wait(30)
        self.made += 1
        if self.made <= self.failures:
            raise ModelNotFound("no such model")
        return self.service


def test_all_who_wait_get_the_service_that_is_opened_once() -> None:
    make = Maker()

    async def run() -> list[Any]:
        opening = ServiceOpening(make)
        opening.start()
        waiting = [asyncio.create_task(opening.service()) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        waiting.pop().cancel()  # one who waits no longer takes nothing from the others
        make.may_go_on.set()
        services: list[Any] = [*await asyncio.gather(*waiting), await opening.service()]
        await asyncio.sleep(0)
        await opening.close()
        return services

    assert asyncio.run(run()) == [make.service] * 3
    assert make.made == 1 and make.service.calls == ["open_indexes", "keep_renewed", "close"]


def test_a_failure_is_raised_and_logged_and_the_next_call_tries_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make = Maker(failures=1)
    make.may_go_on.set()

    async def run() -> None:
        opening = ServiceOpening(make)
        with pytest.raises(ModelNotFound):
            await opening.service()
        assert [record.getMessage() for record in caplog.records] == [
            "the models cannot be loaded yet: no such model"
        ]
        await opening.service()
        await opening.close()

    asyncio.run(run())
    assert make.made == 2 and make.service.calls[-1] == "close"


def test_an_opening_that_nobody_waits_for_can_be_closed() -> None:
    make = Maker(failures=1)

    async def run() -> None:
        opening = ServiceOpening(make)
        await opening.close()
        opening.start()
        await asyncio.sleep(0)
        make.may_go_on.set()
        await opening.close()

    asyncio.run(run())
    assert make.service.calls == []
