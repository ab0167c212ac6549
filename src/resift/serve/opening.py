"""Opens a service in the background, so that a server can answer before its models are loaded."""

import asyncio
import logging
from collections.abc import Callable

from resift.errors import ResiftError
from resift.serve.service import Service

_log = logging.getLogger("resift")


class ServiceOpening:
    """A service that is opened once, or again after a failure; those who need it wait.

    Its indexes are opened too, and renewed until `close`. For one event loop.
    """

    def __init__(self, make: Callable[[], Service]) -> None:
        self._make = make
        self._opening: asyncio.Task[Service] | None = None
        self._renewing: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[Service]":
        """Begin to open the service, unless it is open or being opened."""
        task = self._opening
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._opening = asyncio.create_task(self._open())
            task.add_done_callback(_note)
        return task

    async def service(self) -> Service:
        """The open service. Raises what opening it raised."""
        return await asyncio.shield(self.start())

    async def close(self) -> None:
        """End the opening or the renewals, and release models and indexes."""
        tasks = [task for task in (self._opening, self._renewing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._opening is not None and not self._opening.cancelled():
            if self._opening.exception() is None:
                self._opening.result().close()

    async def _open(self) -> Service:
        service = await asyncio.to_thread(self._make)
        self._renewing = asyncio.create_task(_keep_open(service))
        return service


async def _keep_open(service: Service) -> None:
    await service.open_indexes()
    await service.keep_renewed()


def _note(task: "asyncio.Task[Service]") -> None:
    """Log a failure at once: perhaps no call comes that would get it."""
    if not task.cancelled() and isinstance(task.exception(), ResiftError):
        _log.warning("the models cannot be loaded yet: %s", task.exception())
