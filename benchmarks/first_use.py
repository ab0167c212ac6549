"""How long does `Reranker("OWNER/NAME")` take, the first time and after that?

    PYTHONPATH=tests python benchmarks/first_use.py [--shape NAME] [--rounds 3]

A hub on the loopback serves a checkpoint of that shape (`shapes.py`). Each round has an empty
cache. First: a new process fetches, converts, checks and stores the model, and ranks 20 texts.
Second: another one opens it offline and ranks them. Seconds from process start to the ranking, peak
memory of the process; medians and ranges. Last line of stdout: JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shapes import make_checkpoint

from convert.loopback_hub import Hub, serve

RANK = """
import json, resource, sys
from resift import Reranker
reranker = Reranker(sys.argv[1])
reranker.rank("how are attributes looked up", ["an attribute of an instance of a class"] * 20)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6))
"""


def main() -> None:
    """Print both times and the memory of each round, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="cross-encoder/ms-marco-MiniLM-L6-v2")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    checkpoint = make_checkpoint(arguments.shape)
    figures: dict[str, list[float]] = {}
    with serve(checkpoint, arguments.shape) as hub:
        for _ in range(arguments.rounds):
            row = _round(hub, arguments.shape)
            print(row, flush=True)
            for name, value in row.items():
                figures.setdefault(name, []).append(value)
    summary = {
        name: {
            "median": round(statistics.median(values), 2),
            "range": [round(min(values), 2), round(max(values), 2)],
        }
        for name, values in figures.items()
    }
    print(json.dumps({"shape": arguments.shape, **summary}))


def _round(hub: Hub, name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        environment = hub.environment(Path(home), HF_HUB_DISABLE_PROGRESS_BARS="1")
        first = _rank(name, environment)
        offline = environment | {"HF_HUB_OFFLINE": "1"}
        second = min((_rank(name, offline) for _ in range(3)), key=lambda pair: pair[0])
    return {
        "first_s": first[0],
        "first_peak_mb": first[1],
        "second_s": second[0],
        "second_peak_mb": second[1],
    }


def _rank(name: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a process that opens the model and ranks."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RANK, name],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
