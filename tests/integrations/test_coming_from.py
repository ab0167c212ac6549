"""Every program of docs/coming-from.md runs, theirs and ours, and they print the same.

Theirs run in processes, with the real packages and a random checkpoint that both sides read; for
FlashRank it is in the cache folder, as ONNX under a name of its list. Nothing is downloaded. The
tolerance is 1e-4: resift keeps this checkpoint in float32.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from convert.plain_checkpoints import TRAINED, WORDS, pairs, write_checkpoint
from resift import Reranker
from resift.settings import Settings, cache_folder

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.M | re.S)
PROGRAM = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PROGRAMS = {name: PROGRAM.findall(text) for name, text in SECTION.findall(PAGE)}
FLASHRANK = ("ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx")
TOLERANCE = 1e-4

Row = tuple[str, float, str]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the programs take as given. All texts fit into the model."""
    pytest.importorskip("safetensors")
    pytest.importorskip("onnx")
    folder = write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", spread=TRAINED)
    texts = [text for _, text in pairs(8, lengths=(4, 9, 16, 25))]
    return {
        "MODEL": str(folder),
        "CACHE": str(tmp_path_factory.mktemp("flashrank")),
        "QUERY": " ".join(WORDS[:4]),
        "TEXTS": texts,
    }


def run_theirs(program: str, names: dict[str, Any], **environment: str) -> str:
    """What the program prints in a process of its own."""
    assignments = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    quiet = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", assignments + program],
        env=os.environ | quiet | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    return run.stdout


def run_ours(program: str, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    exec(program, dict(names))
    return capsys.readouterr().out


def rows(printed: str) -> list[Row]:
    """An id, a number and perhaps a text a line."""
    parts = [line.split(" ", 2) for line in printed.splitlines()]
    return [(part[0], float(part[1]), " ".join(part[2:])) for part in parts]


def assert_same(theirs: list[Row], ours: list[Row]) -> None:
    assert [(row[0], row[2]) for row in ours] == [(row[0], row[2]) for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine[1] == pytest.approx(other[1], abs=TOLERANCE)


def needs(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def fill_cache(names: dict[str, Any]) -> None:
    """The checkpoint as FlashRank stores a model: ONNX with logits ``(n, 1)``, and a tokenizer."""
    import onnx
    from onnx import TensorProto, helper

    Reranker(names["MODEL"]).close()
    cache = cache_folder(Settings.load())
    assert cache is not None
    (stage,) = cache.rglob("models/folders/tiny/*/stage-0.onnx")
    name, file = FLASHRANK
    folder = Path(names["CACHE"]) / name
    folder.mkdir()
    graph = onnx.load(stage)
    (logits,) = graph.graph.output
    axis = helper.make_tensor("last_axis", TensorProto.INT64, [1], [1])
    graph.graph.initializer.append(axis)
    node = helper.make_node("Unsqueeze", [logits.name, "last_axis"], ["columns"])
    graph.graph.node.append(node)
    graph.graph.output.remove(logits)
    columns = helper.make_tensor_value_info("columns", TensorProto.FLOAT, ["rows", 1])
    graph.graph.output.append(columns)
    onnx.save(graph, folder / file)
    for copied in ("config.json", "tokenizer.json"):
        shutil.copy(Path(names["MODEL"]) / copied, folder / copied)
    settings = {"model_max_length": 64, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))


def test_each_section_has_a_program_of_both_sides() -> None:
    assert {name: len(programs) for name, programs in PROGRAMS.items() if programs} == {
        "FlashRank": 2,
        "sentence-transformers": 2,
        "rerankers": 2,
        "Cohere": 2,
    }


def test_flashrank(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    needs("flashrank")
    theirs, ours = PROGRAMS["FlashRank"]
    fill_cache(names)
    printed = rows(run_ours(ours, names, capsys))
    assert len(printed) == len(names["TEXTS"])
    assert_same(rows(run_theirs(theirs, names)), printed)


@pytest.mark.torch
def test_sentence_transformers(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    needs("sentence_transformers")
    theirs, ours = PROGRAMS["sentence-transformers"]
    assert theirs.replace("sentence_transformers", "resift.integrations.cross_encoder") == ours
    printed = rows(run_ours(ours, names, capsys))
    assert len(printed) == len(names["TEXTS"]) + 3
    assert_same(rows(run_theirs(theirs, names)), printed)


@pytest.mark.torch
def test_rerankers(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    needs("rerankers", "torch", "transformers")
    theirs, ours = PROGRAMS["rerankers"]
    printed = rows(run_ours(ours, names, capsys))
    assert len(printed) == 3
    assert_same(rows(run_theirs(theirs, names)), printed)


@pytest.fixture(scope="module")
def served(in_one_runtime: Reranker) -> Iterator[str]:
    """The URL of a server whose model has the name that the program asks for."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from resift.serve.admission import Admission
    from resift.serve.service import Service
    from serve.running import running

    assert "--model rerank-v3.5=bundled" in PAGE
    with running(Service({"rerank-v3.5": in_one_runtime}, {}, Admission())) as url:
        yield url


def test_cohere(served: str, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    needs("cohere")
    theirs, ours = PROGRAMS["Cohere"]
    names = names | {"QUERY": "reset my password", "TEXTS": ["soup", "Press Reset password.", "a"]}
    (url,) = re.findall(r"CO_API_URL=http://localhost:8080(\S*)", PAGE)
    printed = run_theirs(theirs, names, CO_API_URL=served + url, CO_API_KEY="any")
    assert_same(rows(printed), rows(run_ours(ours, names, capsys)))
