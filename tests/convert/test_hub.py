"""A hub model's files arrive at a commit, only those that are read; each refusal is one line.

Against a real server on the loopback, in this process: the client's address is set where it reads
it, and its waits are left out.
"""

import errno
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from convert.hub_models import NAME, make_repository
from convert.loopback_hub import COMMIT, LATER_COMMIT, OTHER_TOKEN, TOKEN, Cut, Fault, Hub, serve
from resift.convert import hub
from resift.errors import HubError, ModelError, ModelNotFound

constants = pytest.importorskip("huggingface_hub.constants")

SMALL = ["config.json", "tokenizer.json", "tokenizer_config.json"]


def _use(monkeypatch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that this thread would have slept."""
    slept: list[float] = []
    here, sleep = threading.get_ident(), time.sleep
    monkeypatch.setattr(
        time, "sleep", lambda s: slept.append(s) if threading.get_ident() == here else sleep(s)
    )
    return slept


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> Iterator[Hub]:
    with serve(make_repository(tmp_path / "repository"), NAME) as running:
        _use(monkeypatch, running.url, tmp_path)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield running


def fetch(name: str = NAME, revision: str | None = None) -> tuple[Path, str]:
    repository = hub.open_repository(name, revision)
    return hub.fetch(repository), repository.commit


def refusal(kind: type[Exception], name: str = NAME, revision: str | None = None) -> str:
    """The line of the error of this very kind."""
    with pytest.raises(kind) as caught:
        fetch(name, revision)
    message = str(caught.value)
    assert type(caught.value) is kind and message.startswith(name) and "\n" not in message
    return message


def test_only_what_is_read_is_fetched_and_the_weights_come_last(server: Hub) -> None:
    folder, commit = fetch()
    assert commit == COMMIT
    assert server.fetched == [*SMALL, "model.safetensors"]
    original = server.commits[COMMIT]
    for name in server.fetched:
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    server.requests.clear()
    assert fetch(revision=COMMIT) == (folder, COMMIT)
    assert [path for _, path in server.requests] == [f"/api/models/{NAME}/revision/{COMMIT}"]


def test_sharded_weights_and_modules(server: Hub, tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "sharded", shards=3)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    server.commits[COMMIT] = folder
    fetched, _ = fetch()
    assert server.fetched[-3:] == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert (fetched / "1_Pooling" / "config.json").is_file()
    assert not (fetched / "onnx").exists()


def test_a_missing_shard_is_seen_before_any_weights_are_fetched(
    server: Hub, tmp_path: Path
) -> None:
    folder = make_repository(tmp_path / "sharded", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    server.commits[COMMIT] = folder
    assert "model-00002-of-00003.safetensors, named by" in refusal(ModelError)
    assert not any(name.endswith(".safetensors") for name in server.fetched)


@pytest.mark.parametrize("revision", [None, "main", "v1", "refs/pr/1", LATER_COMMIT])
def test_a_branch_or_tag_is_resolved_to_its_commit(
    server: Hub, tmp_path: Path, revision: str | None
) -> None:
    server.commits[LATER_COMMIT] = make_repository(tmp_path / "later")
    server.branches |= {"v1": COMMIT, "refs/pr/1": LATER_COMMIT}
    expected = LATER_COMMIT if revision in ("refs/pr/1", LATER_COMMIT) else COMMIT
    assert fetch(revision=revision)[1] == expected


@pytest.mark.parametrize("revision", ["v9", "f" * 40])
def test_an_unknown_revision(server: Hub, revision: str) -> None:
    message = refusal(ModelNotFound, revision=revision)
    assert f"{NAME} at {revision}: there is no such revision; expected a commit, branch" in message


def test_a_missing_repository(server: Hub) -> None:
    message = refusal(ModelNotFound, "owner/other")
    assert "no such folder, and no such repository on http://127.0.0.1" in message
    assert message.endswith("the token is not given: set HF_TOKEN; check the name")


def test_a_private_repository_wants_a_token_of_its_owner(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.access = "private"
    assert "is not given: set HF_TOKEN" in refusal(ModelNotFound)
    monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)
    assert "or it is private and the token has no access to it" in refusal(ModelNotFound)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch()
    assert "model.safetensors" in server.fetched and server.tokens_at_cdn == []


def test_a_gated_repository_wants_consent(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.access = "gated"
    message = refusal(HubError)
    assert f"accept their terms on {server.url}/{NAME} and set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)
    assert "the account of this token may not read it" in refusal(HubError)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch()


def test_a_wrong_token_is_named_even_for_a_public_repository(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    message = refusal(HubError)
    assert "does not accept the token; make a new one, or unset HF_TOKEN" in message
    assert "hf_wrong" not in message


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (429, "too many requests from here (429); try again in some minutes"),
        (503, "answers 503; try again later"),
        (500, "answers 500; try again later"),
        (403, "forbids it (403); check the rights of HF_TOKEN"),
    ],
)
@pytest.mark.parametrize("part", ["/api/models/", "/resolve/"])
def test_a_hub_that_refuses(server: Hub, status: int, line: str, part: str) -> None:
    server.faults = [Fault(part, status)]
    assert line in refusal(HubError)


def test_what_passes_is_asked_again(server: Hub, waits: list[float]) -> None:
    server.faults = [Fault("/api/models/", 503, times=2), Fault("/cdn/", 503, times=1)]
    fetch()
    assert waits[:2] == [1.0, 4.0]


def test_a_busy_hub_says_when(server: Hub, waits: list[float]) -> None:
    server.faults = [Fault("/api/models/", 429, times=1, headers={"Retry-After": "7"})]
    fetch()
    assert waits == [7.0]
    server.faults = [Fault("/api/models/", 429, headers={"Retry-After": "900"})]
    assert "try again in 900 s, or set HF_TOKEN" in refusal(HubError, revision=COMMIT[:7])
    assert waits == [7.0], "a long wait is the caller's decision"


def test_a_file_that_is_cut_is_continued(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what is written at a time
    server.cuts = [Cut("model.safetensors", 40_000, times=2)]
    folder, commit = fetch()
    original = server.commits[commit] / "model.safetensors"
    assert (folder / "model.safetensors").read_bytes() == original.read_bytes()
    assert server.ranges == ["bytes=40000-", "bytes=80000-"]


def test_a_file_that_stays_cut_is_an_error_and_a_later_call_goes_on_from_there(
    server: Hub,
) -> None:
    server.cuts = [Cut("model.safetensors", 0)]
    message = refusal(HubError)
    assert "cannot be reached or broke off" in message and "run it again" in message
    server.cuts, server.fetched = [], []
    fetch()
    assert server.fetched == ["model.safetensors"]


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _use(monkeypatch, f"http://127.0.0.1:{port}", tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    message = refusal(HubError)
    assert f"no such folder, and http://127.0.0.1:{port} cannot be reached" in message
    assert "check the network, HTTPS_PROXY and HF_ENDPOINT" in message


def test_offline_and_not_here(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal(ModelNotFound)
    assert f"HF_HUB_OFFLINE is set; run  resift models fetch {NAME}" in message
    assert server.requests == []


def test_offline_takes_what_the_hubs_cache_has(
    server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, commit = fetch()
    refs = folder.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)  # as other libraries leave it
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert fetch() == (folder, commit) == fetch(revision=commit)
    assert server.requests == []
    (folder / "model.safetensors").unlink()
    assert "HF_HUB_OFFLINE is set" in refusal(ModelNotFound)


def test_offline_the_only_whole_commit_of_the_cache_is_taken_and_of_several_none(
    server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, commit = fetch()
    part = folder.with_name("a" * 40)
    part.mkdir()
    (part / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch() == (folder, commit)
    assert "main: not on this machine" in refusal(ModelNotFound, revision="main")
    shutil.copytree(folder, folder.with_name(LATER_COMMIT))
    assert "HF_HUB_OFFLINE is set" in refusal(ModelNotFound)


@pytest.mark.parametrize("offline", [False, True])
def test_a_long_revision_is_shortened(
    server: Hub, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert len(refusal(ModelNotFound, revision="v" * 5_000)) < 400


def test_a_full_disk_is_named_with_its_remedy(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/user/hub/blob")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", no_space)
    message = refusal(HubError)
    assert "cannot be written to /home/user/hub/blob (no space left on the disk)" in message
    assert "HF_HOME" in message


def test_an_embedder_is_refused_before_its_weights_are_fetched(server: Hub) -> None:
    folder = server.commits[COMMIT]
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""},
               {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "an embedder, which gives vectors; expected a cross-encoder" in refusal(ModelError)
    assert "model.safetensors" not in server.fetched
    hub.fetch(hub.open_repository(NAME), None)
    assert "model.safetensors" in server.fetched


@pytest.mark.parametrize(
    ("kinds", "architecture"),
    [(["Transformer"], "BertForSequenceClassification"), (["Transformer", "Dense"], "BertModel")],
)
def test_a_classifier_and_a_head_that_scores_are_fetched(
    server: Hub, kinds: list[str], architecture: str
) -> None:
    folder = server.commits[COMMIT]
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (folder / "1_Dense").mkdir()
    (folder / "1_Dense" / "config.json").write_text('{"module_output_name": "scores"}')
    paths = {"Transformer": "", "Dense": "1_Dense"}
    modules = [{"type": f"sentence_transformers.{kind}", "path": paths[kind]} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    fetch()


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer"])
def test_a_repository_that_lacks_a_part_costs_one_request(server: Hub, missing: str) -> None:
    folder = server.commits[COMMIT]
    names = ["tokenizer.json", "vocab.txt"] if missing == "tokenizer" else [missing]
    for name in names:
        (folder / name).unlink()
    assert "its weights are only in" in (message := refusal(ModelError)) or missing in message
    assert len(server.requests) == 1


def test_a_repository_with_broken_json_is_refused(server: Hub) -> None:
    folder = server.commits[COMMIT]
    (folder / "config.json").write_text("{}")
    (folder / "modules.json").write_text("[")
    with pytest.raises(ModelError, match=r"modules\.json: not readable as JSON"):
        fetch()


def test_what_the_hub_does_not_accept_as_a_name(server: Hub) -> None:
    assert "not a hub id" in refusal(ModelNotFound, "owner/a--b")


def test_a_cache_that_cannot_be_written(server: Hub, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "hub", ignore_errors=True)
    (tmp_path / "hub").write_text("a file")
    assert "HF_HOME" in refusal(HubError)
