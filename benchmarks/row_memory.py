"""How much memory and time does one long row take? By shape, runtime and length.

    python benchmarks/row_memory.py [--shapes jina-turbo,modernbert-base] [--tokens 2048,4096,8192]

Float32 graphs of random weights in the shapes of jina-reranker-v1-turbo-en and ModernBERT-base,
with a small vocabulary. Each figure is of a fresh process: the peak above the memory of the open
session, and the time of one run. ``--cap`` (GB) stops a process that would take more. Needs
pip install 'resift[hub,onnxruntime]'. Last line of stdout: JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.convert.config import Config
from resift.convert.families import family_of
from resift.convert.stages import stage_graph
from resift.rerank.runtimes import open_session

VOCABULARY = 1000
SHAPES: dict[str, dict[str, Any]] = {
    "jina-turbo": {
        "model_type": "bert",
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_attention_heads": 12,
        "num_hidden_layers": 6,
        "max_position_embeddings": 8192,
    },
    "modernbert-base": {
        "model_type": "modernbert",
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_attention_heads": 12,
        "num_hidden_layers": 22,
        "max_position_embeddings": 8192,
    },
}


def weights_of(config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Random weights in canonical names, gated and with norms where the architecture has them."""
    rng = np.random.default_rng(5)
    dim, wide = config["hidden_size"], config["intermediate_size"]
    first = config["model_type"] == "modernbert"  # norms come before each block
    sizes = {"embeddings.word_embeddings": (VOCABULARY, dim), "embeddings.LayerNorm": (dim,)}
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            sizes[f"{name}.attention.{part}"] = (dim, dim)
        sizes[f"{name}.intermediate.dense"] = (2 * wide, dim)
        sizes[f"{name}.output.dense"] = (dim, wide)
        norms = ("attention.input", "intermediate") if first else ("attention.output", "output")
        for part in norms:
            sizes[f"{name}.{part}.LayerNorm"] = (dim,)
    sizes |= {"head.dense": (dim, dim), "head.projection": (1, dim)}
    return {
        f"{name}.weight": (
            rng.normal(0, size[-1] ** -0.5, size) if len(size) == 2 else np.ones(size)
        ).astype(np.float32)
        for name, size in sizes.items()
    }


def megabytes(field: str) -> float:
    """A figure of this process, such as ``VmHWM:``, the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(file: Path, runtime: str, tokens: int, cap: float) -> dict[str, float]:
    """Peak above the open session in MB, and seconds, of the first run of one row."""
    if cap:
        resource.setrlimit(resource.RLIMIT_AS, (int(cap * 2**30), int(cap * 2**30)))
    session = open_session(file, runtime)
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (1, tokens))
    loaded = megabytes("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    start = time.perf_counter()
    logits = session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
    seconds = time.perf_counter() - start
    if not np.isfinite(logits).all():
        raise SystemExit("logits are not finite")
    return {"peak_mb": megabytes("VmHWM:") - loaded, "seconds": seconds}


def main() -> None:
    """Measure each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--tokens", default="2048,4096,8192")
    parser.add_argument("--runtimes", default="openvino,onnxruntime")
    parser.add_argument("--cap", type=float, default=0.0)
    parser.add_argument("--one", nargs=3, metavar=("FILE", "RUNTIME", "TOKENS"))
    options = parser.parse_args()
    if options.one:
        file, runtime, tokens = options.one
        print(json.dumps(measure(Path(file), runtime, int(tokens), options.cap)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes.split(","):
            file = Path(folder, f"{shape}.onnx")
            config = Config(Path("config.json"), SHAPES[shape])
            encoder = family_of(config, Path(shape)).shape(config)
            onnx.save(stage_graph(weights_of(SHAPES[shape]), encoder, range(encoder.layers)), file)
            for tokens in options.tokens.split(","):
                for runtime in options.runtimes.split(","):
                    command = [sys.executable, __file__, "--one", str(file), runtime, tokens]
                    command += ["--cap", str(options.cap)]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    row = {"shape": shape, "tokens": int(tokens), "runtime": runtime}
                    if done.returncode:
                        row["error"] = done.stderr.strip().splitlines()[-1][-200:]
                    else:
                        row |= json.loads(done.stdout.splitlines()[-1])
                    print(row, flush=True)
                    rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
