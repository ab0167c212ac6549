"""A browser that stays on this machine: Chromium, where it and playwright are installed."""

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from resift import Index, Reranker

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from resift.serve.service import Service

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
HERE = {"127.0.0.1", "localhost", ""}  # and what has no host: files, data


@pytest.fixture(scope="package")
def browser() -> Iterator["Browser"]:
    """One for the tests of this folder: playwright's event loop runs as long as it does."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """An empty page; fails afterwards where it had errors or requested another host."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong: list[str] = []
    context.on("request", lambda sent: wrong.append(sent.url) if _is_elsewhere(sent.url) else None)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    yield page
    context.close()
    assert wrong == []


def _is_elsewhere(url: str) -> bool:
    return (urlsplit(url).hostname or "") not in HERE


@pytest.fixture(scope="package")
def service(in_one_runtime: Reranker, tmp_path_factory: pytest.TempPathFactory) -> "Service":
    """The models ``bundled`` and ``second``, and the index ``handbook`` of `serving.HANDBOOK`."""
    pytest.importorskip("fastapi")
    from browser.serving import HANDBOOK
    from resift.serve.admission import Admission
    from resift.serve.service import Service

    folder = tmp_path_factory.mktemp("served")
    for name, text in HANDBOOK.items():
        (folder / name).write_text(text)
    index = Index(tmp_path_factory.mktemp("index") / "handbook")
    index.sync(str(folder))
    models = {"bundled": in_one_runtime, "second": in_one_runtime}
    return Service(models, {"handbook": index}, Admission())


@pytest.fixture(scope="package")
def server(service: "Service") -> Iterator[str]:
    """The URL of a running server."""
    from serve.running import running

    with running(service) as url:
        yield url


class Held:
    """Rankings wait until `go` is set, searches after their first stage."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started: list[str] = []
        self.cancelled: list[str] = []

    async def wait(self, query: str) -> None:
        """Wait in the server's event loop."""
        self.started.append(query)
        try:
            while not self.go.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.append(query)
            raise


@pytest.fixture
def held(service: "Service", monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Holds the server's answers back until its `go` is set."""
    held = Held()
    rank, search = service.rank, service.search

    async def held_rank(query: str, *args: Any, **options: Any) -> Any:
        await held.wait(query)
        return await rank(query, *args, **options)

    async def held_search(
        query: str, *, on_first_stage: Callable[[Any], Awaitable[None]], **options: Any
    ) -> Any:
        async def then_wait(ranking: Any) -> None:
            await on_first_stage(ranking)
            await held.wait(query)

        return await search(query, on_first_stage=then_wait, **options)

    monkeypatch.setattr(service, "rank", held_rank)
    monkeypatch.setattr(service, "search", held_search)
    yield held
    held.go.set()
