"""How fast is resift beside its peers? Same weights, same texts, same machine, rounds interleaved.

    python benchmarks/peers.py [--rounds 5] [--peers-python PYTHON] [--only NAME …]
        [--workload NAME …] [--out FILE]

resift's bundled model, of other weights, runs beside them, reading documents and with their
halves kept. Each contestant is a process of its own with its model loaded; a round asks each once,
in turn, for every workload. Workloads are a number of candidates, their length in tokens and how
many callers ask at once. Needs  pip install 'resift[convert,onnxruntime]'  and for the peers, here
or in the environment of `--peers-python`:  pip install 'sentence-transformers[onnx,openvino]' nncf
flashrank fastembed rerankers. `--out` also writes the JSON and, beside it, a plot (SVG). Last line
of stdout: JSON.
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

from checkpoint import WORK, make_checkpoint
from manual_texts import QUERY, texts
from peer_workers import CONTESTANTS

HERE = Path(__file__).parent
DEFAULT = "sentence-transformers torch"
EXITS = (3, 4)


@dataclass(frozen=True)
class Workload:
    """So many candidates, of so many tokens on the mean with that spread, for so many callers."""

    candidates: int
    tokens: float
    spread: float = 0.0
    callers: int = 1


WORKLOADS: Mapping[str, Workload] = {
    "20 short": Workload(20, 40),
    "20 mixed": Workload(20, 120, 0.5),
    "100 short": Workload(100, 40),
    "100 mixed": Workload(100, 120, 0.5),
    "100 long": Workload(100, 480),
    "200 mixed": Workload(200, 120, 0.5),
    "4 callers": Workload(50, 120, 0.5, callers=4),
    "16 callers": Workload(50, 120, 0.5, callers=16),
}


@dataclass
class Worker:
    """A contestant's process, and by workload the seconds of each round's callers."""

    name: str
    process: "subprocess.Popen[str]"
    rounds: dict[str, list[list[float]]] = field(default_factory=dict)
    peak_mb: float = 0.0

    def ask(self, workload: str, file: Path, callers: int) -> list[float]:
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("a worker without pipes")
        self.process.stdin.write(json.dumps({"texts": str(file), "callers": callers}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended early")
        answer = json.loads(line)
        self.peak_mb = answer["peak_mb"]
        return list(answer["seconds"])


def main() -> None:
    """Make the models, run the rounds, print the table."""
    options = _options()
    folder = _prepare(options.peers_python)
    with tempfile.TemporaryDirectory() as made:
        files = {name: _write(Path(made), name) for name in options.workload}
        workers = [_start(name, folder, options.peers_python) for name in options.only]
        for worker in workers:  # loaded, and warm for every shape
            for name, file in files.items():
                worker.ask(name, file, 1)
        for _ in range(options.rounds):
            for name, file in files.items():
                for worker in workers:
                    found = worker.ask(name, file, WORKLOADS[name].callers)
                    worker.rounds.setdefault(name, []).append(found)
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
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _prepare(python: str) -> Path:
    """The checkpoint in the forms of all contestants."""
    folder = make_checkpoint(WORK / "peers")
    for name, exits in (("resift", ()), ("resift-exits", EXITS)):
        if not (folder / name).exists():
            from resift.training.checkpoint import convert_checkpoint

            print(convert_checkpoint(str(folder), folder / name, exits=exits), file=sys.stderr)
    ours = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}  # for its texts
    made = [python, str(HERE / "peer_models.py"), str(folder)]
    subprocess.run(made, check=True, stdout=sys.stderr, env=ours)
    return folder


def _write(folder: Path, name: str) -> Path:
    own = WORKLOADS[name]
    file = folder / f"{name}.json"
    made = texts(own.candidates, own.tokens, own.spread)
    file.write_text(json.dumps({"query": QUERY, "texts": made}), encoding="utf-8")
    return file


def _start(name: str, folder: Path, peers_python: str) -> Worker:
    python = sys.executable if name.startswith("resift") else peers_python
    command = [python, str(HERE / "peer_workers.py"), name, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return Worker(name, process)


def _figures(worker: Worker) -> dict[str, Any]:
    """By workload: p50 and p95 of a call, until all callers are done, pairs a second; memory."""
    own = {}
    for name, rounds in worker.rounds.items():
        ranked = sorted(seconds for own in rounds for seconds in own)
        done = statistics.median(max(seconds) for seconds in rounds)
        work = WORKLOADS[name]
        own[name] = {
            "p50_ms": statistics.median(ranked) * 1000,
            "p95_ms": ranked[min(int(0.95 * len(ranked)), len(ranked) - 1)] * 1000,
            "done_ms": done * 1000,
            "pairs_per_s": work.candidates * work.callers / done,
        }
    return {"workloads": own, "peak_mb": worker.peak_mb}


def _print(figures: Mapping[str, Any], workloads: Sequence[str]) -> None:
    print(
        f"{'ms until all callers are done':36}"
        + "".join(f"{name:>12}" for name in workloads)
        + f"{'peak MB':>10}"
    )
    for name, own in figures.items():
        cells = "".join(f"{own['workloads'][work]['done_ms']:12.0f}" for work in workloads)
        print(f"{name:36}{cells}{own['peak_mb']:10.0f}")
    peers = {name: own for name, own in figures.items() if not name.startswith("resift")}
    for name in (name for name in figures if name.startswith("resift") and peers):
        own = figures[name]["workloads"]
        ours = [own[work]["done_ms"] for work in workloads]
        best = [min(p["workloads"][work]["done_ms"] for p in peers.values()) for work in workloads]
        _print_ratios(f"fastest peer over {name}", best, ours)
        if DEFAULT in peers:
            usual = [peers[DEFAULT]["workloads"][work]["done_ms"] for work in workloads]
            _print_ratios(f"torch over {name}", usual, ours)


def _print_ratios(label: str, theirs: Sequence[float], ours: Sequence[float]) -> None:
    cells = (f"{one / other:11.2f}x" for one, other in zip(theirs, ours, strict=True))
    print(f"{label:36}" + "".join(cells))


def _plot(figures: Mapping[str, Any], workloads: Sequence[str]) -> str:
    """Bars of pairs a second, a row a contestant, a block a workload."""
    lines, top = [], 10
    for work in workloads:
        best = max(own["workloads"][work]["pairs_per_s"] for own in figures.values())
        lines.append(f'<text x="10" y="{top + 14}" font-weight="bold">{work}, pairs/s</text>')
        top += 20
        for name, own in figures.items():
            rate = own["workloads"][work]["pairs_per_s"]
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
