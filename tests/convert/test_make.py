"""A model is made once, whoever asks and whatever is killed, and then opens without the hub.

Each program runs in a process of its own against a hub on the loopback; a stand-in converts.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from convert.hub_models import NAME, OPEN, REFUSED, RUN, SLOW, make_repository, output, run
from convert.loopback_hub import COMMIT, LATER_COMMIT, Cut, Hub, serve
from resift.rerank.artifact import CONVERTER_VERSION, load_artifact

OPENED = "name"  # what OPEN prints
FOLDER = f"{COMMIT}-v{CONVERTER_VERSION}"

OFFLINE = REFUSED + OPEN.replace(RUN, "")

RANK = f"""
{RUN}
from resift import Reranker
print([hit.id for hit in Reranker({NAME!r}).rank("query", ["a text", "another"])])
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    with serve(make_repository(tmp_path / "repository"), NAME) as running:
        yield running


@pytest.fixture
def environment(server: Hub, tmp_path: Path) -> dict[str, str]:
    return server.environment(tmp_path)


def _store(home: Path) -> Path:
    return home / "cache" / "models" / "owner--name"


def _wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, f"{file} does not appear"
        time.sleep(0.02)


def _conversions(*errors: str) -> int:
    return sum(err.count("converted by the stand-in") for err in errors)


def test_the_first_start_says_what_it_does_and_nothing_on_stdout(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out, err = output(OPEN, NAME, environment=environment)
    assert out == OPENED
    lines = err.splitlines()
    assert lines[0] == f"{NAME}: fetching 100 kB in 4 files at commit {COMMIT}"
    assert lines[1] == f"{NAME}: converting"
    assert lines[-1].startswith(f"{NAME}: 5 MB stored in {_store(tmp_path) / FOLDER} after ")
    assert load_artifact(_store(tmp_path) / FOLDER).manifest.base_model == NAME


def test_the_second_start_asks_nobody_and_imports_nothing_for_it(
    server: Hub, environment: dict[str, str]
) -> None:
    ranked, err = output(RANK, environment=environment)
    assert ranked in ("['0', '1']", "['1', '0']") and _conversions(err) == 1
    server.requests.clear()
    assert output(REFUSED + RANK.replace(RUN, ""), environment=environment) == (ranked, "")
    assert server.requests == []


def test_the_commit_of_the_first_fetch_stays_until_another_is_named(
    server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    output(OPEN, NAME, environment=environment)
    server.commits[LATER_COMMIT] = make_repository(tmp_path / "later")
    server.branches["main"] = LATER_COMMIT
    shutil.rmtree(_store(tmp_path) / FOLDER)  # a new converter would find none either
    _, err = output(OPEN, NAME, environment=environment)
    assert COMMIT in err and LATER_COMMIT not in err
    _, err = output(OPEN, NAME, "main", environment=environment)
    assert LATER_COMMIT in err
    server.requests.clear()
    assert output(OPEN, NAME, environment=environment) == (OPENED, "")
    assert output(OPEN, NAME, LATER_COMMIT, environment=environment) == (OPENED, "")
    assert server.requests == []


def test_a_branch_is_looked_up_and_without_a_network_it_is_what_it_was(
    server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    output(OPEN, NAME, "main", environment=environment)
    shutil.rmtree(tmp_path / "hf")
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    out, err = output(OPEN, NAME, "main", environment=offline)
    assert out == OPENED and f"main was commit {COMMIT} at the last look" in err
    out, _ = output(OPEN, NAME, "v1", environment=offline)
    assert out.startswith("ModelNotFound|owner/name at v1: not on this machine")


def test_many_processes_make_it_once(server: Hub, environment: dict[str, str]) -> None:
    processes = [run(OPEN, NAME, environment=environment) for _ in range(4)]
    ends = [process.communicate(timeout=120) for process in processes]
    assert [out for out, _ in ends] == [f"{OPENED}\n"] * 4
    assert _conversions(*(err for _, err in ends)) == 1
    assert sorted(server.fetched) == sorted(set(server.fetched))


def test_who_waits_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / SLOW).touch()
    first = run(OPEN, NAME, environment=environment)
    _wait_for(tmp_path / "converting")
    second = run(OPEN, NAME, environment=environment)
    assert second.stderr is not None
    assert second.stderr.readline() == f"{NAME}: another process makes it; waiting\n"
    (tmp_path / SLOW).unlink()
    assert first.communicate(timeout=60)[0] == second.communicate(timeout=60)[0] == f"{OPENED}\n"


def test_a_killed_process_leaves_nothing_that_counts_and_its_rest_is_removed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / SLOW).touch()
    process = run(OPEN, NAME, environment=environment)
    _wait_for(tmp_path / "converting")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (left,) = _store(tmp_path).iterdir()
    assert left.name.startswith(f".{FOLDER}.") and left.suffix == ".part"
    (tmp_path / SLOW).unlink()
    foreign = _store(tmp_path) / ".notes.part"
    foreign.mkdir()
    out, err = output(OPEN, NAME, environment=environment)
    assert out == OPENED and _conversions(err) == 1
    names = {path.name for path in _store(tmp_path).iterdir()}
    assert names == {FOLDER, "revisions.json", ".notes.part"}


@pytest.mark.parametrize("damage", ["cut", "changed", "half", "manifest", "old format"])
def test_a_broken_model_is_converted_again(
    server: Hub, environment: dict[str, str], tmp_path: Path, damage: str
) -> None:
    output(OPEN, NAME, environment=environment)
    folder = _store(tmp_path) / FOLDER
    _damage(folder, damage)
    server.requests.clear()
    out, err = output(OPEN, NAME, environment=environment)
    assert out == OPENED and _conversions(err) == 1
    assert "converting it again" in err
    assert "fetching" not in err, "the files are in the hub's cache"
    assert output(OFFLINE, NAME, environment=environment) == (OPENED, "")
    assert not list(folder.parent.glob(".*"))


def _damage(folder: Path, damage: str) -> None:
    graph, manifest = folder / "stage-0.onnx", folder / "manifest.json"
    if damage == "cut":
        os.truncate(graph, 1000)
    elif damage == "changed":
        graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    elif damage == "half":
        manifest.unlink()
    elif damage == "manifest":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 1}))


def test_a_checkpoint_folder_is_made_once_and_again_when_its_files_change(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = make_repository(tmp_path / "name")
    out, err = output(OPEN, str(folder), environment=environment)
    assert out == OPENED and _conversions(err) == 1
    assert output(OFFLINE, str(folder), environment=environment) == (OPENED, "")
    (folder / "README.md").write_text("what is not read does not count")
    assert output(OPEN, str(folder), environment=environment) == (OPENED, "")
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"more")
    out, err = output(OPEN, str(folder), environment=environment)
    assert out == OPENED and _conversions(err) == 1
    assert len(list((tmp_path / "cache" / "models" / "folders" / "name").iterdir())) == 2
    (folder / "model.safetensors").unlink()
    out, _ = output(OPEN, str(folder), environment=environment)
    assert out.startswith(f"ModelError|{folder}: its weights are only in pytorch_model.bin")


LABELS = f"""
{RUN}
import pickle, sys
from resift import Reranker
from resift.settings import Settings
for label in ("relevant", 1, "relevant"):
    reranker = Reranker({NAME!r}, label=label)
open(sys.argv[1], "wb").write(pickle.dumps(reranker))
"""

UNPICKLE = f"""
{RUN}
import pickle, sys
print(pickle.load(open(sys.argv[1], "rb")).name)
"""


def test_a_label_is_handed_on_and_makes_a_model_of_its_own(
    server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "reranker.pickle"
    _, err = output(LABELS, str(file), environment=environment)
    assert "label relevant" in err and "label 1" in err and _conversions(err) == 2
    assert len(list(_store(tmp_path).glob(f"{FOLDER}-label-*"))) == 2
    server.requests.clear()
    assert output(UNPICKLE, str(file), environment=environment) == ("name", "")
    assert server.requests == []
    # Where the store is another, as on another machine, the name, commit and label lead there.
    shutil.move(tmp_path / "cache", tmp_path / "gone")
    server.branches["main"] = LATER_COMMIT
    out, err = output(UNPICKLE, str(file), environment=environment)
    assert out == "name" and "label relevant" in err and COMMIT in err


@pytest.mark.parametrize("home", ["unwritable", "file", "foreign", "none"])
def test_a_store_that_cannot_be_used_is_one_line_with_a_remedy(
    environment: dict[str, str], tmp_path: Path, home: str
) -> None:
    cache = tmp_path / "cache"
    if home == "file":
        cache.write_text("a file")
    elif home == "foreign":
        (cache / "models" / "mine").mkdir(parents=True)
    elif home == "unwritable":
        cache = Path("/proc/cache")
        environment |= {"RESIFT_CACHE_DIR": str(cache)}
    else:
        environment |= {"RESIFT_CACHE_DIR": "~nobody-of-this-name/cache"}
    out, _ = output(OPEN, NAME, environment=environment)
    kind, _, message = out.partition("|")
    assert kind == "ModelError" and "RESIFT_CACHE_DIR" in message and "\n" not in message
    assert home != "foreign" or list((cache / "models").iterdir()) == [cache / "models" / "mine"]


EMBEDDER = {"kind": "embedder"}


def test_what_was_edited_into_an_embedder_is_converted_again(
    environment: dict[str, str], tmp_path: Path
) -> None:
    output(OPEN, NAME, environment=environment)
    manifest = _store(tmp_path) / FOLDER / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | EMBEDDER))
    out, err = output(OPEN, NAME, environment=environment)
    assert out == OPENED and _conversions(err) == 1
    assert "an embedder, expected a reranker; converting it again" in err
    assert load_artifact(manifest.parent).manifest.kind == "cross_encoder"


def test_a_file_of_the_user_in_a_broken_model_stops_it_before_the_conversion(
    environment: dict[str, str], tmp_path: Path
) -> None:
    output(OPEN, NAME, environment=environment)
    folder = _store(tmp_path) / FOLDER
    (folder / "notes.txt").write_text("mine")
    assert output(OFFLINE, NAME, environment=environment) == (OPENED, "")
    _damage(folder, "cut")
    out, err = output(OPEN, NAME, environment=environment)
    assert out == (
        f"ModelError|{folder / 'notes.txt'}: was not made by resift, and is in the way of a model; "
        "move it away"
    )
    assert _conversions(err) == 0 and (folder / "notes.txt").read_text() == "mine"


def test_offline_the_only_commit_in_the_hubs_cache_is_taken(
    environment: dict[str, str], tmp_path: Path
) -> None:
    output(OPEN, NAME, environment=environment)
    shutil.rmtree(_store(tmp_path))
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    out, err = output(OPEN, NAME, environment=offline)
    assert out == OPENED
    assert f"the hub was not asked; taking commit {COMMIT} from its cache" in err
    assert output(OFFLINE, NAME, environment=offline) == (OPENED, "")


def test_a_shard_of_no_possible_name_is_the_checkpoints_fault(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = make_repository(tmp_path / "name", shards=2)
    index = {"weight_map": {"layer": "x" * 5_000, "other": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    out, _ = output(OPEN, str(folder), environment=environment)
    assert out.startswith(f"ModelError|{folder}: 'xxx") and "is missing" in out
    assert "RESIFT_CACHE_DIR" not in out and len(out) < 500


REMOVED = f"""
{RUN}
import shutil
from resift import Reranker
from resift.errors import ResiftError
from resift.rerank import reranker
load = reranker.load_model
def removing(artifact, *arguments):
    (artifact.folder / sys.argv[1]).unlink()
    return load(artifact, *arguments)
reranker.load_model = removing
try:
    Reranker({NAME!r})
except ResiftError as error:
    print(f"{{type(error).__name__}}|{{error}}")
"""


@pytest.mark.parametrize("file", ["stage-0.onnx", "tokenizer.json"])
def test_a_removal_between_check_and_load_is_called_that(
    environment: dict[str, str], tmp_path: Path, file: str
) -> None:
    folder = _store(tmp_path) / FOLDER
    out, _ = output(REMOVED, file, environment=environment)
    expected = f"{folder}: was removed by another process meanwhile; try again"
    assert out == f"ArtifactError|{expected}"
    assert output(OPEN, NAME, environment=environment)[0] == OPENED


FULL_DISK = """
import errno
from resift.errors import OutputError
def convert_folder(folder, out, **options):
    out.mkdir()
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written") from error
stand_in.convert_folder = convert_folder
"""


def test_a_disk_that_is_full_leaves_nothing_behind(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out, _ = output(OPEN.replace(RUN, RUN + FULL_DISK), NAME, environment=environment)
    assert out == (
        f"ModelError|{_store(tmp_path)}: models cannot be stored there (no space left on the disk);"
        " free some space or name another folder by RESIFT_CACHE_DIR"
    )
    assert list(_store(tmp_path).iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing_that_counts(
    server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    server.access = "gated"
    out, _ = output(OPEN, NAME, environment=environment)
    assert out.startswith(f"HubError|{NAME}: its authors ask for consent")
    assert not list(_store(tmp_path).glob("*"))
    server.access = "public"
    server.cuts = [Cut("model.safetensors", 40_000, times=1)]
    assert output(OPEN, NAME, environment=environment)[0] == OPENED


def test_without_the_extra_the_line_says_what_to_install(environment: dict[str, str]) -> None:
    script = OPEN.replace(RUN, "import sys; sys.modules['onnx'] = None\n")
    out, _ = output(script, NAME, environment=environment)
    assert out == "MissingExtra|onnx is not installed: run  pip install 'resift[hub]'"


def test_a_setting_may_name_a_hub_model(environment: dict[str, str]) -> None:
    script = f"""
{RUN}
from resift import Reranker
from resift.errors import ModelNotFound
try:
    print(Reranker().name)
except ModelNotFound as error:
    print(error)
"""
    out, err = output(script, environment=environment | {"RESIFT_MODEL": NAME})
    assert out == OPENED and _conversions(err) == 1
    out, _ = output(script, environment=environment | {"RESIFT_MODEL": "owner/other"})
    assert out.startswith("owner/other: no such") and out.endswith("(RESIFT_MODEL names it)")


def test_a_read_only_store_serves_what_is_in_it(
    server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    output(OPEN, NAME, environment=environment)
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    subprocess.run(["chmod", "-R", "a-w", str(tmp_path / "cache")], check=True)
    try:
        assert output(OFFLINE, NAME, environment=environment) == (OPENED, "")
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(tmp_path / "cache")], check=True)


def test_a_proxy_is_asked_for_another_host(server: Hub, environment: dict[str, str]) -> None:
    del environment["NO_PROXY"]
    environment |= {"HF_ENDPOINT": "http://hub.example", "HTTP_PROXY": server.url}
    assert output(OPEN, NAME, environment=environment)[0] == OPENED
    assert "model.safetensors" in server.fetched
