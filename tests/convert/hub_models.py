"""Checkpoints for the loopback hub, and a stand-in for the conversion that needs no time.

The stand-in writes the tests' small cross-encoder; its position embeddings are not touched, but its
name, commit and label are those that it was handed.
"""

import json
import logging
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from artifacts import make_joint_artifact
from resift.rerank.artifact import load_artifact, write_manifest

TESTS = Path(__file__).parent.parent
NAME = "owner/name"
SLOW = "slow"  # a file that makes the stand-in wait for its removal
MAX_SECONDS = 100
"""After these a process says where it hangs and ends, so that none outlives the tests."""


def make_repository(folder: Path, *, shards: int = 0, megabytes: float = 0.1) -> Path:
    """A checkpoint with a repository's usual files; its weights are one file, or `shards`."""
    folder.mkdir(parents=True)
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {}}))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "README.md").write_text("a model")
    (folder / "vocab.txt").write_text("[PAD]")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"an export")
    rng = np.random.default_rng(5)
    names = [f"model-{shard + 1:05}-of-{shards:05}.safetensors" for shard in range(shards)]
    for name in names or ["model.safetensors"]:
        (folder / name).write_bytes(rng.bytes(int(megabytes * 1e6)))
    if shards:
        index = {"weight_map": {f"layer.{number}": name for number, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def convert_folder(
    folder: Path,
    out: Path,
    *,
    name: str,
    revision: str | None = None,
    texts: Path | None = None,
    int8: bool = True,
    exits: Sequence[int] = (),
    label: str | int | None = None,
    work: Path | None = None,
    is_embedder: bool = False,
) -> None:
    """Write the tests' small cross-encoder. Waits while the file `SLOW` is beside the config."""
    if not (folder / "model.safetensors").exists():
        shards = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        for shard in shards.values():
            (folder / shard).read_bytes()
    if is_embedder:
        raise ValueError("is_embedder: the stand-in makes rerankers")
    logging.getLogger("resift").info("converted by the stand-in, label %s", label)
    if work is None or out.parent not in (work, *work.parents):
        raise ValueError(f"work={work}: what a killed process leaves there is never deleted")
    slow = out.parents[4] / SLOW
    if slow.exists():
        (slow.parent / "converting").touch()
    end = time.monotonic() + MAX_SECONDS
    while slow.exists() and time.monotonic() < end:
        time.sleep(0.02)
    out.mkdir()
    make_joint_artifact(out)
    manifest = replace(load_artifact(out).manifest, name=Path(name).name, base_model=name)
    write_manifest(out, manifest)


RUN = f"""
import sys, types
sys.path[:0] = [{str(TESTS)!r}]
def convert_folder(*arguments, **options):
    from convert.hub_models import convert_folder
    convert_folder(*arguments, **options)
stand_in = types.ModuleType("resift.convert.convert")
stand_in.convert_folder = convert_folder
sys.modules[stand_in.__name__] = stand_in
"""
"""The beginning of a script in whose process the stand-in converts."""

OPEN = f"""
{RUN}
from resift.errors import ResiftError
from resift.rerank.catalogue import open_model
from resift.settings import Settings
try:
    name = sys.argv[1] if len(sys.argv) > 1 else Settings.load().model
    artifact, _ = open_model(name, sys.argv[2] if len(sys.argv) > 2 else None)
except ResiftError as error:
    print(f"{{type(error).__name__}}|{{error}}")
else:
    print(artifact.manifest.name)
"""
"""Opens a model by name, and a revision; prints its name, or the kind and text of the error."""


REFUSED = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ("huggingface_hub", "onnx", "safetensors", "torch", "filelock", "httpx2"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Refused())
"""
"""Makes a script fail that imports what only a first use needs."""


def run(script: str, *arguments: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Start a process of its own: huggingface_hub reads its variables when it is imported."""
    watch = f"import faulthandler; faulthandler.dump_traceback_later({MAX_SECONDS}, exit=True)\n"
    return subprocess.Popen(
        [sys.executable, "-c", watch + textwrap.dedent(script), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def output(script: str, *arguments: str, environment: dict[str, str]) -> tuple[str, str]:
    """What a process that succeeds prints on stdout and on stderr."""
    process = run(script, *arguments, environment=environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.rstrip("\n"), err
