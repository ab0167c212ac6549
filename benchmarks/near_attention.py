"""What do blocks of near tokens save at long rows? ModernBERT in int8, with and without them.

Without blocks a local layer multiplies all tokens with all tokens and masks the far ones. Both
graphs have the same weights, run in turn and give the same logits.

    python benchmarks/near_attention.py [--shape NAME] [--rounds 7]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from shapes import make_checkpoint

from resift.convert import blocks
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.quantise import quantise
from resift.convert.stages import stage_graph
from resift.rerank.runtimes import Session, open_session

LENGTHS = (128, 256, 512, 1024, 2000, 4000)
NO_BLOCKS = 1 << 30
POSITIONS = 1024


def main() -> None:
    """Print both times and their ratio for each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="cross-encoder/ettin-reranker-17m-v1")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sessions = _sessions(arguments.shape, Path(folder))
        result = {tokens: _compare(sessions, tokens, arguments.rounds) for tokens in LENGTHS}
    print(json.dumps({"shape": arguments.shape, "by_tokens": result}))


def _sessions(shape: str, folder: Path) -> dict[str, Session]:
    source = read_cross_encoder(make_checkpoint(shape))
    whole, sessions = blocks.WHOLE, {}
    for name, limit in (("blocks", whole), ("full", NO_BLOCKS)):
        blocks.WHOLE = limit
        graph = stage_graph(
            source.weights, source.shape, range(source.shape.layers), int8_embeddings=True
        )
        quantised = quantise(graph, [_feeds(tokens, 1) for tokens in (64, 200, 600)])
        onnx.save(quantised, str(folder / f"{name}.onnx"))
        sessions[name] = open_session(folder / f"{name}.onnx")
    blocks.WHOLE = whole
    return sessions


def _feeds(tokens: int, rows: int) -> dict[str, np.typing.NDArray[np.int64]]:
    ids = np.random.default_rng(tokens).integers(300, 19_000, (rows, tokens))
    return {"input_ids": ids, "attention_mask": np.ones((rows, tokens), np.int64)}


def _compare(sessions: dict[str, Session], tokens: int, rounds: int) -> dict[str, float]:
    """Medians in ms, the ratio of medians and its range over rounds."""
    feeds = _feeds(tokens, max(POSITIONS // tokens, 1))
    times: dict[str, list[float]] = {name: [] for name in sessions}
    logits = {}
    for _ in range(rounds + 1):
        for name, session in sessions.items():
            start = time.perf_counter()
            logits[name] = session.run(feeds)["logits"]
            times[name].append((time.perf_counter() - start) * 1000)
    ratios = [a / b for a, b in zip(times["blocks"][1:], times["full"][1:], strict=True)]
    return {
        **{name: round(statistics.median(values[1:]), 1) for name, values in times.items()},
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "difference": float(np.abs(logits["blocks"] - logits["full"]).max()),
    }


if __name__ == "__main__":
    main()
