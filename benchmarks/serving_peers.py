"""Requests per second and p95 beside infinity, on the same weights and the same machine.

    python benchmarks/serving_peers.py --infinity BIN [--rounds 3] [--requests 32]

BIN is the command ``infinity_emb`` of an environment with ``infinity-emb[server,torch]``. Both
serve a checkpoint in the shape of ms-marco-MiniLM-L6-v2 (random weights), and get the same requests
of 50 candidates at infinity's ``/rerank``, over 16 connections. Rounds are interleaved and without
caches; client and server share the cores. TEI has no package here. Needs ``pip install
'.[hub,serve]'``, and torch and transformers to make the checkpoint once. Last line of stdout: JSON.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from served import bodies, load, served
from shapes import make_checkpoint

SHAPE = "cross-encoder/ms-marco-MiniLM-L6-v2"
NAME = "reranker"


def main() -> None:
    """Print a line a round and the medians of both servers, with their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--infinity", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    checkpoint = _readable_by_transformers_4(make_checkpoint(SHAPE))
    theirs_requests = bodies(options.requests, "/rerank", model=NAME)
    ours_requests = bodies(options.requests, "/infinity/rerank", model=NAME)
    rows = []
    with (
        served("--model", f"{NAME}={checkpoint}") as ours,
        infinity(options.infinity, checkpoint) as port,
    ):
        addresses = {
            "resift": (ours.host, ours.port, ours_requests),
            "infinity": ("127.0.0.1", port, theirs_requests),
        }
        for number in range(options.rounds + 1):
            row = {}
            for name, (host, at, requests) in addresses.items():
                result = load(host, at, requests, options.connections)
                statuses = {answer.status for answer in result.answers}
                if statuses != {200}:
                    raise SystemExit(f"{name}: {statuses} {result.answers[0].body[:300]!r}")
                seconds = [answer.seconds for answer in result.answers]
                row[f"{name}_rps"] = len(seconds) / result.seconds
                row[f"{name}_p95_ms"] = float(np.percentile(seconds, 95)) * 1000
            row["rps_ratio"] = row["resift_rps"] / row["infinity_rps"]
            row["p95_ratio"] = row["infinity_p95_ms"] / row["resift_p95_ms"]
            if number:  # the first round warms up
                rows.append(row)
                print({name: round(value, 2) for name, value in row.items()}, flush=True)
    print(json.dumps({name: _summary([row[name] for row in rows]) for name in rows[0]}))


def _readable_by_transformers_4(checkpoint: Path) -> Path:
    """Name the class of the tokenizer as transformers 4, which infinity needs, knows it."""
    file = checkpoint / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    return checkpoint


def _summary(values: list[float]) -> dict[str, object]:
    return {
        "median": round(statistics.median(values), 2),
        "range": [round(min(values), 2), round(max(values), 2)],
    }


@contextmanager
def infinity(command: str, checkpoint: Path) -> Iterator[int]:
    """Infinity at a free port, from its first answer to its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [command, "v2", "--model-id", str(checkpoint), "--served-model-name", NAME,
         "--engine", "torch", "--device", "cpu", "--no-bettertransformer",
         "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0",
                          "DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.set_blocking(process.stderr.fileno(), False)  # type: ignore[union-attr]
    until = time.monotonic() + 180
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                assert process.stderr is not None
                raise SystemExit(f"infinity did not start: {process.stderr.read()!r}") from None
            time.sleep(0.2)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main()
