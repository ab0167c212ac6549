"""A handler that collects the events of LlamaIndex's instrumentation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler


class Events(BaseEventHandler):
    """Collects the events of LlamaIndex's instrumentation."""

    events: list[Any] = []  # noqa: RUF012 - pydantic copies a default

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **more: Any) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


@contextmanager
def collected_events() -> Iterator[Events]:
    """The events within the block; afterwards the handlers are those of before."""
    root, handler = get_dispatcher(), Events()
    before = root.event_handlers
    root.event_handlers = [*before, handler]
    try:
        yield handler
    finally:
        root.event_handlers = before
