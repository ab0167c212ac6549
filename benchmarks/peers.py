"""How fast is resift compared with its peers? Same weights, same texts, rounds interleaved.

    python benchmarks/peers.py [--rounds 5] [--peers-python PYTHON] [--only NAME …]
        [--workload NAME …] [--checkpoint FOLDER] [--out FILE]

resift's bundled model, whose weights differ, runs too, with and without cached token states. Each
contestant is a process with its model loaded; a round calls each of them once for every workload. A
workload is a number of candidates, their length in tokens and the number of concurrent callers.
Needs  pip install 'resift[convert,onnxruntime]', and for the peers, here or in the environment of
`--peers-python`:  pip install 'sentence-transformers[onnx,openvino]' nncf flashrank fastembed
rerankers. `--out` also writes the JSON and, beside it, a plot (SVG). `--checkpoint` takes another
model of one logit, a transformers folder, which is copied. Last line of stdout: JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checkpoint import WORK, copied_checkpoint, make_artifact, make_checkpoint
from manual_texts import QUERY, texts
from peer_workers import CONTESTANTS

HERE = Path(__file__).parent
DEFAULT = "sentence-transformers torch"
EXITS = (3, 4)


@dataclass(frozen=True)
class Workload:
    """`tokens` is the average length of a candidate; `spread` as in `manual_texts.texts`."""

    candidates: int
    tokens: float
    spread: float = 0.0
    callers: int = 1


KINDS = (("equal", 40, 0.0), ("short", 40, 0.4), ("mixed", 120, 0.5), ("long", 480, 0.0))
"""Name, average length and spread. "equal" texts have one length, so that peers pad nothing."""

WORKLOADS: Mapping[str, Workload] = {
    **{
        f"{candidates} {kind}": Workload(candidates, tokens, spread)
        for candidates in (20, 100, 200)
        for kind, tokens, spread in KINDS
    },
    "4 callers": Workload(50, 120, 0.5, callers=4),
    "16 callers": Workload(50, 120, 0.5, callers=16),
}


@dataclass
class Worker:
    """A contestant's process, and for each workload the seconds of the callers in each round."""

    name: str
    process: "subprocess.Popen[str]"
    rounds: dict[str, list[list[float]]] = field(default_factory=dict)
    peak_mb: float = 0.0

    def run(self, file: Path, callers: int) -> list[float]:
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("a worker without pipes")
        self.process.stdin.write(json.dumps({"texts": str(file), "callers": callers}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended early")
        result = json.loads(line)
        self.peak_mb = result["peak_mb"]
        return list(result["seconds"])


def main() -> None:
    """Make the models, run the rounds, print the table."""
    options = _options()
    folder = _prepare(options.checkpoint, options.only, options.peers_python)
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: _write(Path(scratch), name) for name in options.workload}
        workers = [_start(name, folder, options.peers_python) for name in options.only]
        for worker in workers:  # loaded, and warm for every shape
            for file in files.values():
                worker.run(file, 1)
        for _ in range(options.rounds):
            for name, file in files.items():
                for worker in workers:
                    seconds = worker.run(file, WORKLOADS[name].callers)
                    worker.rounds.setdefault(name, []).append(seconds)
        for worker in workers:
            worker.process.communicate()
    figures = {worker.name: _figures(worker) for worker in workers}
    _print(figures, options.workload)
    result = {"rounds": options.rounds, "figures": figures}
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        options.out.with_suffix(".svg").write_text(_plot(figures, options.workload))
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _prepare(checkpoint: Path | None, contestants: Sequence[str], python: str) -> Path:
    """The checkpoint in the forms of the contestants."""
    folder = copied_checkpoint(checkpoint) if checkpoint else make_checkpoint(WORK / "peers")
    make_artifact(folder)
    if any(name.endswith("early exit") for name in contestants):
        make_artifact(folder, EXITS)
    if all(name.startswith("resift") or name == DEFAULT for name in contestants):
        return folder
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}  # for manual_texts
    command = [python, str(HERE / "peer_models.py"), str(folder)]
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    return folder


def _write(folder: Path, name: str) -> Path:
    workload = WORKLOADS[name]
    file = folder / f"{name}.json"
    documents = texts(workload.candidates, workload.tokens, workload.spread)
    file.write_text(json.dumps({"query": QUERY, "texts": documents}), encoding="utf-8")
    return file


def _start(name: str, folder: Path, peers_python: str) -> Worker:
    python = sys.executable if name.startswith("resift") else peers_python
    command = [python, str(HERE / "peer_workers.py"), name, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return Worker(name, process)


def _figures(worker: Worker) -> dict[str, Any]:
    """p50 and p95 of a call, time until all callers are done, pairs a second; peak memory."""
    workloads = {}
    for name, rounds in worker.rounds.items():
        ranked = sorted(seconds for round_ in rounds for seconds in round_)
        done = statistics.median(max(round_) for round_ in rounds)
        workload = WORKLOADS[name]
        workloads[name] = {
            "p50_ms": statistics.median(ranked) * 1000,
            "p95_ms": ranked[min(int(0.95 * len(ranked)), len(ranked) - 1)] * 1000,
            "done_ms": done * 1000,
            "pairs_per_s": workload.candidates * workload.callers / done,
        }
    return {"workloads": workloads, "peak_mb": worker.peak_mb}


def _print(figures: Mapping[str, Any], workloads: Sequence[str]) -> None:
    print(
        f"{'ms until all callers are done':54}"
        + "".join(f"{name:>12}" for name in workloads)
        + f"{'peak MB':>10}"
    )
    done: dict[str, list[float]] = {}
    for name, figure in figures.items():
        done[name] = [figure["workloads"][workload]["done_ms"] for workload in workloads]
        cells = "".join(f"{ms:12.0f}" for ms in done[name])
        print(f"{name:54}{cells}{figure['peak_mb']:10.0f}")
    peers = {name: times for name, times in done.items() if not name.startswith("resift")}
    fastest = [min(times) for times in zip(*peers.values(), strict=True)]
    for name in (name for name in figures if name.startswith("resift") and peers):
        _print_ratios(f"fastest peer over {name}", fastest, done[name])
        if DEFAULT in peers:
            _print_ratios(f"torch over {name}", peers[DEFAULT], done[name])


def _print_ratios(label: str, theirs: Sequence[float], ours: Sequence[float]) -> None:
    cells = (f"{their / our:11.2f}x" for their, our in zip(theirs, ours, strict=True))
    print(f"{label:54}" + "".join(cells))


def _plot(figures: Mapping[str, Any], workloads: Sequence[str]) -> str:
    """Bars of pairs a second: a block a workload, a row a contestant."""
    lines, top = [], 10
    for work in workloads:
        best = max(figure["workloads"][work]["pairs_per_s"] for figure in figures.values())
        lines.append(f'<text x="10" y="{top + 14}" font-weight="bold">{work}, pairs/s</text>')
        top += 20
        for name, figure in figures.items():
            rate = figure["workloads"][work]["pairs_per_s"]
            colour = "#0a7" if name.startswith("resift") else "#999"
            lines.append(
                f'<text x="10" y="{top + 11}">{name}</text><rect x="260" y="{top}" '
                f'width="{400 * rate / best:.0f}" height="13" fill="{colour}"/>'
                f'<text x="{268 + 400 * rate / best:.0f}" y="{top + 11}">{rate:.0f}</text>'
            )
            top += 16
        top += 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="740" height="{top}" '
    return head + 'font-family="sans-serif" font-size="11">' + "".join(lines) + "</svg>\n"


if __name__ == "__main__":
    main()
