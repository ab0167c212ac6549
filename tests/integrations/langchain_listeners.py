"""LangChain callbacks that collect the custom events of a run."""

from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler


class Listener(BaseCallbackHandler):
    """Collects custom events, with the run that each belongs to."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.runs: list[Any] = []
        self.retrievers: list[Any] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **more: Any) -> None:
        self.events.append((name, data))
        self.runs.append(run_id)

    def on_retriever_start(self, *arguments: Any, run_id: Any, **more: Any) -> None:
        self.retrievers.append(run_id)


class AsyncListener(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    async def on_custom_event(self, name: str, data: Any, **more: Any) -> None:
        self.events.append((name, data))
