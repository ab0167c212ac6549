"""From a hub's name to scores: the real conversion, once; then offline and without its packages.

The hub is on the loopback; its checkpoint is tiny, with weights as small as trained ones.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command import PROGRAM
from convert.hub_models import NAME, REFUSED, output
from convert.loopback_hub import COMMIT, Hub, serve
from convert.plain_checkpoints import SPREAD, TRAINED, pairs, write_checkpoint
from resift.rerank.artifact import load_artifact
from resift.rerank.stored_models import artifact_name

PAIRS = pairs(20)
RANK = f"""
import sys
from resift import Reranker
reranker = Reranker(sys.argv[1])
texts = {[text for _, text in PAIRS]!r}
print([hit.id for hit in reranker.rank({PAIRS[0][0]!r}, texts)])
print(reranker.score({PAIRS[0][0]!r}, texts).tolist())
"""
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    folder = write_checkpoint(tmp_path / "repository", "roberta", spread=TRAINED)
    with serve(folder, NAME) as running:
        yield running


@pytest.fixture
def environment(server: Hub, tmp_path: Path) -> dict[str, str]:
    return server.environment(tmp_path)


def stored(home: Path) -> Path:
    folder = home / "cache" / "models" / NAME.replace("/", "--")
    return folder / artifact_name(COMMIT)


def test_the_first_use_fetches_and_converts_and_the_second_needs_neither(
    server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    scored, err = output(RANK, NAME, environment=environment)
    assert f"{NAME}: int8 against float32: Spearman 0.99" in err
    manifest = load_artifact(stored(tmp_path)).manifest
    assert (manifest.base_model, manifest.revision) == (NAME, COMMIT)
    assert manifest.report is not None and manifest.report.is_int8
    shutil.rmtree(tmp_path / "hf")
    server.requests.clear()
    assert output(REFUSED + RANK, NAME, environment=environment | OFFLINE) == (scored, "")
    assert server.requests == []


def test_models_shows_how_close_int8_is(environment: dict[str, str], tmp_path: Path) -> None:
    output(PROGRAM, "models", "fetch", NAME, environment=environment)
    report = load_artifact(stored(tmp_path)).manifest.report
    assert report is not None and report.spearman is not None
    out, _ = output(PROGRAM, "models", environment=environment | OFFLINE)
    row = next(line for line in out.splitlines() if line.startswith(NAME))
    assert row.endswith(f"Spearman {report.spearman:.4f}")
    out, _ = output(PROGRAM, "models", "--json", environment=environment | OFFLINE)
    (listed,) = json.loads(out)["stored"]
    assert listed["agreement"]["within_query"] == report.within_query
    assert listed["agreement"]["is_int8"] is True and listed["agreement"]["pairs"] == report.pairs
    assert output(PROGRAM, "verify", str(stored(tmp_path)), environment=environment)[0]


def test_a_model_that_stays_float32_says_so_in_the_list(
    server: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    server.commits[COMMIT] = write_checkpoint(tmp_path / "far", spread=SPREAD)
    _, err = output(PROGRAM, "models", "fetch", NAME, environment=environment)
    assert f"{NAME}: kept in float32: int8 is not close enough to it" in err
    out, _ = output(PROGRAM, "models", environment=environment)
    row = next(line for line in out.splitlines() if line.startswith(NAME))
    assert row.endswith("float32 kept: int8 is not close enough")


def test_a_checkpoint_folder_works_wherever_a_name_does(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "mine", "roberta", spread=TRAINED)
    by_folder, err = output(RANK, str(folder), environment=environment)
    assert "int8 against float32" in err
    assert output(REFUSED + RANK, str(folder), environment=environment) == (by_folder, "")
