"""Fixtures for all tests. The default suite is offline and needs neither torch nor a GPU."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from artifacts import make_joint_artifact
from index.parsing.forked import ForkedParser, ForkServer
from resift import Reranker
from resift.index.parsing import pool
from resift.settings import RUNTIMES, Settings

# How long an example takes says how busy the machine is, and nothing of what is tested. The same
# examples each time: whoever changes something is not stopped by what was there before. New ones:
# pytest --hypothesis-profile=new-examples
settings.register_profile(
    "new-examples", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("tests", settings.get_profile("new-examples"), derandomize=True)
settings.load_profile("tests")


def pytest_configure() -> None:
    _hear_ctrl_c()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first, so that no process is left alone with them at the end."""
    order = {name: index for index, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


_LONGEST = [
    "tests/serve/test_image.py",
    "tests/storage/test_killed.py",
    "tests/convert/test_make.py",
    "tests/cli/test_odd_files.py",
    "tests/evaluation/test_judged_questions.py",
    "tests/storage/test_faults.py",
    "tests/cli/test_demo.py",
    "tests/cli/test_follow.py",
    "tests/storage/test_other_stores.py",
    "tests/search/test_embedder_by_name.py",
    "tests/index/parsing/test_pool.py",
    "tests/storage/test_copies.py",
    "tests/storage/test_writers.py",
    "tests/index/test_odd_documents.py",
    "tests/rerank/test_precompute.py",
    "tests/index/test_sync.py",
    "tests/cli/test_calibrate.py",
    "tests/rerank/test_reranker.py",
    "tests/storage/test_slow_transfers.py",
    "tests/storage/test_listing.py",
    "tests/search/test_index.py",
    "tests/rerank/test_verify.py",
    "tests/storage/test_client.py",
    "tests/index/test_any_history.py",
    "tests/storage/test_doctor.py",
    "tests/storage/test_hydrate.py",
    "tests/cli/test_streams.py",
    "tests/search/test_citation.py",
    "tests/cli/test_judge_terminal.py",
    "tests/rerank/test_native.py",
    "tests/search/test_budgets.py",
    "tests/search/test_token_states.py",
]


def _hear_ctrl_c() -> None:
    """What tests start hears Ctrl-C, also where a shell started the tests deaf to it.

    A background job ignores it, and so would each of its children; a handler that does nothing
    leaves the job as deaf and is not handed on.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


@pytest.fixture(autouse=True, scope="session")
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the user's, and nothing that was kept there decides a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def _is_of_this_machine(address: str) -> bool:
    """Whether it is one of this machine's own IPv4 addresses, at which nodes of Ray listen."""
    if not address.replace(".", "").isdecimal():
        return False
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@pytest.fixture(autouse=True, scope="session")
def _offline() -> Iterator[None]:
    """No test of this process asks a host elsewhere, nor waits for the answer."""
    resolve = socket.getaddrinfo

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        is_local = not name or name.startswith(("127.", "::1", "localhost", "0.0.0.0", "["))
        if not is_local and not _is_of_this_machine(name):
            raise socket.gaierror(socket.EAI_NONAME, f"{name}: tests are offline")
        return resolve(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", local)
        yield


@pytest.fixture(autouse=True, scope="session")
def _parsers_start_in_no_time() -> Iterator[None]:
    """Parsers of this process are forks of a process that has loaded all."""
    if not hasattr(socket, "send_fds"):
        yield
        return
    server: list[ForkServer] = []

    def start() -> ForkedParser:
        if not server:
            server.append(ForkServer())
        return server[0].start()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_start_worker", start)
        yield
    for running in server:
        running.close()


_VARIABLES = ("AWS_", "RESIFT_", "HF_", "OPENAI_", "COHERE_", "CO_API_", "JINA_", "VOYAGE_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the machine's decides a test."""
    for name in list(os.environ):
        if name.startswith(_VARIABLES):
            monkeypatch.delenv(name)
    yield


@pytest.fixture(scope="session")
def _logging_known() -> dict[str, tuple[int, bool, bool]]:
    """How logging was left by the test before."""
    return _logging()


@pytest.fixture(autouse=True)
def _logging_as_it_was(_logging_known: dict[str, tuple[int, bool, bool]]) -> Iterator[None]:
    """Whoever leaves logging other than it was fails itself, and not the tests that come later.

    What a test's wider fixtures change counts as its own.
    """
    yield
    after, before = _logging(), dict(_logging_known)
    _logging_known |= after
    left = {name: state for name, state in after.items() if state != before.get(name, _UNTOUCHED)}
    assert not left, f"this test leaves logging changed: {left}, before {before}"


_UNTOUCHED = (logging.NOTSET, False, True)


def _logging() -> dict[str, tuple[int, bool, bool]]:
    """Level, disabled and propagate of the loggers that our warnings go through."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("resift")]
    loggers = [logging.root, *map(logging.getLogger, names)]
    states = {logger.name: (logger.level, logger.disabled, logger.propagate) for logger in loggers}
    return states | {"all": (logging.root.manager.disable, False, True)}


_INSTALLED = [name for name in RUNTIMES if find_spec(name)]


@pytest.fixture(
    scope="session",
    params=[
        *_INSTALLED[:1],
        *(pytest.param(name, marks=pytest.mark.long) for name in _INSTALLED[1:]),
    ],
)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime in turn; only CI asks those that are not the default."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def bundled(runtime: str) -> Reranker:
    """The bundled model in each runtime."""
    return Reranker(settings=Settings(runtime=runtime))


@pytest.fixture(scope="session")
def in_one_runtime() -> Reranker:
    """The bundled model in the default runtime, for what no runtime decides; held open."""
    return Reranker()


@pytest.fixture(scope="session")
def joint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small joint artifact with random weights: 2 layers of 32."""
    return make_joint_artifact(tmp_path_factory.mktemp("cross_encoder"))


@pytest.fixture(scope="session")
def joint(joint_folder: Path, runtime: str) -> Reranker:
    """The small cross-encoder in each runtime."""
    return Reranker(joint_folder, settings=Settings(runtime=runtime))
