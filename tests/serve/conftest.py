"""A service with the bundled model under two names and an index of three documents."""

from collections.abc import Iterator

import pytest

from index.fakes import HashingEmbedder
from resift import Index, Reranker
from resift.serve.admission import Admission
from resift.serve.service import Service
from serve.running import running

DOCUMENTS = {
    "vacation.md": "# Vacation\n\nYour manager approves vacation. Ask two weeks before.",
    "password.md": "# Password\n\nChoose Settings, then Security, and press Reset password.",
    "office.md": "# Office\n\nThe office is closed on Sundays.",
}


@pytest.fixture(scope="session")
def served_index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index of `DOCUMENTS`."""
    folder = tmp_path_factory.mktemp("served")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    index = Index(tmp_path_factory.mktemp("index") / "handbook")
    index.sync(str(folder))
    return index


@pytest.fixture(scope="session")
def index_of_sections(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index of two documents: one has three passages."""
    folder = tmp_path_factory.mktemp("sections")
    (folder / "long.md").write_text(
        "# One\n\nThe cat sleeps.\n\n# Two\n\nThe cat eats.\n\n# Three\n\nThe cat runs.\n"
    )
    (folder / "short.md").write_text("The cat is red.")
    index = Index(tmp_path_factory.mktemp("index") / "sections", embedder=HashingEmbedder())
    index.sync(str(folder))
    return index


@pytest.fixture(scope="session")
def service(in_one_runtime: Reranker, served_index: Index) -> Service:
    """The models ``bundled`` and ``second`` (the same one), and the index ``handbook``."""
    models = {"bundled": in_one_runtime, "second": in_one_runtime}
    return Service(models, {"handbook": served_index}, Admission())


@pytest.fixture(scope="session")
def server(service: Service) -> Iterator[str]:
    """The URL of a running server."""
    with running(service) as url:
        yield url
