"""Servers for official clients: with keys, and without time for them; and quiet clients."""

import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from resift import Overloaded
from resift.serve.options import ServeOptions
from resift.serve.service import Service
from serve.dialects.asking import raising
from serve.dialects.clients.installed import KEY
from serve.running import running

# No client asks its vendor for prices, or tells it that it is used. They read these when imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clients inside of other packages cannot be closed: their sockets are, without a word."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(autouse=True, scope="module")
def _sockets_closed() -> Iterator[None]:
    """What tests leave is collected here, and not in a later test that allows no warning."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="session")
def guarded(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that answers only callers with the key of `installed`."""
    keys: Path = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{KEY}\n")
    with running(service, ServeOptions(keys=keys)) as url:
        yield url


@pytest.fixture(scope="session")
def overloaded(service: Service) -> Iterator[str]:
    """The URL of a server that has too much to do for any ranking."""
    with running(raising(service, Overloaded(5_000, 2.5))) as url:
        yield url
