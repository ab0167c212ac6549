"""An index by an embedder's name: fetched once, recorded with its commit, found again elsewhere.

The hub is on the loopback, the checkpoint tiny and really converted. Each program runs in a process
of its own.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.command import PROGRAM
from convert.hub_models import NAME, REFUSED, output
from convert.loopback_hub import COMMIT, LATER_COMMIT, Hub, serve
from convert.plain_checkpoints import DIM, TRAINED, WORDS, write_bi_encoder
from index.fakes import HashingEmbedder
from resift import Index
from resift.errors import InputError
from resift.rerank.artifact import load_artifact
from resift.rerank.stored_models import artifact_name
from resift.settings import Settings

OFFLINE = {"HF_HUB_OFFLINE": "1"}
SYNC = """
import json, sys
from resift import Index
embedder = sys.argv[3] if len(sys.argv) > 3 else None
index = Index(sys.argv[2], embedder=embedder)
index.sync(sys.argv[1])
(version,) = index.versions()
print(json.dumps([version.embedder, version.fingerprint]))
"""
SEARCH = """
import sys
from resift import Index
from resift.errors import ResiftError
for name in sys.argv[3:] or [None]:
    try:
        index = Index(sys.argv[1], embedder=name)
        ranking = index.search(sys.argv[2], mode="dense", rerank=False, top_n=3)
    except ResiftError as error:
        print(f"{type(error).__name__}|{error}")
    else:
        print([hit.text for hit in ranking])
"""
WITHOUT_EXTRA = REFUSED.replace('"torch", ', "") + SEARCH  # Lance looks whether there is torch
TEXTS = [" ".join(WORDS[start : start + 6]) for start in (0, 20, 40, 60)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Hub]:
    """A hub with two commits, of which the branch names the first one."""
    prompts = {"prompts": {"query": f"{WORDS[70]} "}}
    folder = write_bi_encoder(home / "repository", spread=TRAINED, prompts=prompts)
    later = write_bi_encoder(home / "later", "roberta", spread=TRAINED)
    with serve(folder, NAME) as running:
        running.commits[LATER_COMMIT] = later
        yield running


@pytest.fixture(scope="module")
def environment(server: Hub, home: Path) -> dict[str, str]:
    return server.environment(home / "here")


@pytest.fixture(scope="module")
def documents(home: Path) -> str:
    folder = home / "documents"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text)
    return str(folder)


@pytest.fixture(scope="module")
def index(documents: str, environment: dict[str, str], home: Path) -> str:
    """An index that was made by the name alone."""
    uri = str(home / "index")
    out, err = output(SYNC, documents, uri, NAME, environment=environment)
    assert json.loads(out)[0] == f"{NAME}@{COMMIT}"
    assert f"{NAME}: fetching" in err and f"{NAME}: int8 against float32: Spearman" in err
    assert f"{NAME}: puts '{WORDS[70]} ' before queries" in err
    return uri


def test_an_index_opens_its_embedder_by_itself_offline(
    index: str, server: Hub, environment: dict[str, str], home: Path
) -> None:
    stored = home / "here/cache/models" / NAME.replace("/", "--") / artifact_name(COMMIT)
    manifest = load_artifact(stored).manifest
    assert (manifest.kind, manifest.revision) == ("embedder", COMMIT)
    server.requests.clear()
    out, err = output(WITHOUT_EXTRA, index, TEXTS[2], environment=environment | OFFLINE)
    assert out.startswith(f"['{TEXTS[2]}'") and err == "" and server.requests == []


def test_a_name_is_opened_once_whether_it_is_loaded_beforehand_or_by_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index records a commit; the name alone is mostly the same model."""
    opened: list[str | None] = []

    def open_by_name(name: str | None, settings: Settings) -> HashingEmbedder:
        opened.append(name)
        commit = LATER_COMMIT if name == NAME and is_moved else COMMIT
        return HashingEmbedder(f"{NAME}@{commit}")

    monkeypatch.setattr("resift.search.components.open_embedder", open_by_name)
    (tmp_path / "a.txt").write_text("a cat")
    uri, is_moved = str(tmp_path / "index"), False
    Index(uri, settings=Settings(), embedder=NAME).sync(str(tmp_path / "a.txt"))
    loaded = Index(uri, settings=Settings(embedder=NAME))
    loaded.load(rerank=False)
    assert loaded.search("cat", rerank=False) and opened == [NAME] * 2
    assert Index(uri, settings=Settings(), embedder=NAME).search("cat", rerank=False)
    assert Index(uri, settings=Settings()).search("cat", rerank=False)
    assert opened[2:] == [f"{NAME}@{COMMIT}"] * 2
    is_moved = True
    moved = Index(uri, settings=Settings(), embedder=NAME)
    moved.load(rerank=False)
    assert moved.search("cat", rerank=False) and opened[4:] == [NAME, f"{NAME}@{COMMIT}"]


@pytest.mark.parametrize("embedder", ["", " ", 5, HashingEmbedder])
def test_what_is_no_embedder_is_refused_at_once(embedder: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^embedder=") as caught:
        Index(str(tmp_path), embedder=embedder)
    assert "expected" in str(caught.value)


@pytest.mark.long
def test_another_machine_fetches_the_commit_of_the_index(
    index: str, server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    server.branches["main"] = LATER_COMMIT
    elsewhere = server.environment(tmp_path)
    missing, _ = output(SEARCH, index, TEXTS[2], environment=elsewhere | OFFLINE)
    kind, _, message = missing.partition("|")
    assert kind == "ModelNotFound" and message.startswith(f"{NAME} at {COMMIT[:12]}")
    assert message.endswith(f"(the index {index} names it)") and "\n" not in message
    out, err = output(SEARCH, index, TEXTS[2], environment=elsewhere)
    assert out.startswith(f"['{TEXTS[2]}'") and f"at commit {COMMIT}" in err
    named = elsewhere | OFFLINE | {"RESIFT_EMBEDDER": NAME}
    assert output(WITHOUT_EXTRA, index, TEXTS[2], environment=named) == (out, ""), (
        "a name without a revision stands for the commit of the index"
    )
    others = [f"{NAME}@{LATER_COMMIT}", f"{NAME}#8", "bundled"]
    out, _ = output(SEARCH, index, TEXTS[2], *others, environment=elsewhere)
    for line in out.splitlines():
        assert line.startswith("IndexMismatch|")
        assert line.endswith(f"set RESIFT_EMBEDDER={NAME}@{COMMIT}")
    server.branches["main"] = COMMIT


@pytest.mark.long
def test_the_command_takes_a_name_with_a_length_and_fetches_one_beforehand(
    documents: str, server: Hub, tmp_path: Path
) -> None:
    environment = server.environment(tmp_path)
    out, _ = output(PROGRAM, "models", "fetch", NAME, "--json", environment=environment)
    assert json.loads(out)["commit"] == COMMIT
    uri, offline = str(tmp_path / "index"), environment | OFFLINE
    arguments = [documents, "--index", uri, "--embedder", f"{NAME}#8"]
    output(PROGRAM, "index", *arguments, environment=offline)
    out, _ = output(PROGRAM, "models", environment=offline)
    assert next(line for line in out.splitlines() if line.startswith(NAME)).count("Spearman") == 1
    out, err = output(SEARCH, uri, TEXTS[1], environment=offline)
    assert out.startswith(f"['{TEXTS[1]}'") and f"cut from {DIM} to 8 numbers" in err


def test_an_embedder_is_no_reranker(index: str, environment: dict[str, str]) -> None:
    script = f"""
    from resift import Reranker
    from resift.errors import ModelError
    try:
        Reranker({NAME!r})
    except ModelError as error:
        print(error)
    """
    out, _ = output(script, environment=environment)
    assert out.startswith(f"{NAME}: an embedder, which gives vectors; expected a cross-encoder")
    assert output(SEARCH, index, TEXTS[2], environment=environment | OFFLINE)[0].startswith("['")
