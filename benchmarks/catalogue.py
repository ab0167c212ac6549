"""How fast are the known models here, and what does int8 change? A table by model.

    python benchmarks/catalogue.py [NAME …] [--rounds 5]

The models are checkpoints of the same shape with random weights (`shapes.py`): speed and rounding
are measured, quality is not. Each is converted as a fetched one is; then 100 texts of 120 tokens on
average are ranked, all of them to the last layer. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manual_texts import QUERY, texts
from shapes import SHAPES, WORK, make_checkpoint

from resift import Reranker
from resift.convert.convert import convert_folder
from resift.rerank.artifact import load_artifact

CANDIDATES, TOKENS, SPREAD = 100, 120, 0.5


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    figures = {name: _measure(name, arguments.rounds) for name in arguments.names}
    print(json.dumps(figures))


def artifact(name: str) -> tuple[Path, float]:
    """The artifact of a shape, made on first use, and the seconds that it took (0 if it was)."""
    folder = WORK.parent / "artifacts" / name.replace("/", "--")
    if folder.is_dir():
        return folder, 0.0
    checkpoint = make_checkpoint(name)
    start = time.perf_counter()
    convert_folder(checkpoint, folder, name=name)
    return folder, time.perf_counter() - start


def _measure(name: str, rounds: int) -> dict[str, Any]:
    folder, seconds = artifact(name)
    manifest = load_artifact(folder).manifest
    documents = texts(CANDIDATES, TOKENS, SPREAD)
    with Reranker(folder) as reranker:
        times = _times(reranker, documents, rounds)
    row = {
        "pairs_per_second": round(CANDIDATES / statistics.median(times), 1),
        "range": [round(CANDIDATES / max(times), 1), round(CANDIDATES / min(times), 1)],
        "megabytes": round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6),
        "seconds_to_convert": round(seconds, 1),
        "quantisation": manifest.quantisation,
        "report": asdict(manifest.report) if manifest.report else None,
    }
    print(name, row, flush=True)
    return row


def _times(reranker: Reranker, documents: Sequence[str], rounds: int) -> list[float]:
    """Seconds of each round after the first."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        reranker.rank(QUERY, documents, exact=True)
        times.append(time.perf_counter() - start)
    return times[1:]


if __name__ == "__main__":
    main()
