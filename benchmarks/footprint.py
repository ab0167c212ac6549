"""What does resift cost to install and to start? Import, first ranking, memory, installed size.

    python benchmarks/footprint.py [--install] [--cap]

Each figure is the median of five fresh processes. ``--cap`` measures the memory of 1,000 texts of
512 tokens above that of the loaded model where ``max_memory_mb`` is 400, once each, for the bundled
model and for a cross-encoder (that needs ``resift[convert]``). ``--install`` also makes fresh
environments (``resift``, ``resift[hub]`` and ``resift[all]``) and measures them. Needs
pip install 'resift[onnxruntime]'. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from manual_texts import QUERY, texts

HERE = Path(__file__).parent
ROUNDS = 5
IMPORT = """
import time; start = time.perf_counter()
import resift
print(time.perf_counter() - start)
"""
FIRST_RANKING = """
import json
documents = json.load(open({short!r}))
from resift import Reranker
Reranker().rank({query!r}, documents, top_n=10)
"""
PEAK = """
import json, resource
documents = json.load(open({long!r}))
from resift import Reranker
from resift.settings import Settings
reranker = Reranker(settings=Settings(runtime={runtime!r}))
reranker.rank({query!r}, documents, top_n=None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
CAPPED = """
import json
from pathlib import Path
from resift import Reranker
from resift.settings import Settings
def mb(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))
documents = json.load(open({longest!r}))
settings = Settings(runtime={runtime!r}, max_memory_mb={cap})
reranker = Reranker({model!r}, settings=settings)
loaded = mb("VmRSS:")
reranker.rank({query!r}, documents, top_n=None)
print(mb("VmHWM:") - loaded)
"""
CAP_MB = 400


def main() -> None:
    """Print a line a figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--cap", action="store_true")
    options = parser.parse_args()
    figures = {"import_s": _median(IMPORT)}
    with tempfile.TemporaryDirectory() as folder:  # texts are made outside the measured processes
        short, long = Path(folder) / "short.json", Path(folder) / "long.json"
        short.write_text(json.dumps(texts(20, 120)), encoding="utf-8")
        long.write_text(json.dumps(texts(100, 480, spread=0.0)), encoding="utf-8")
        first = FIRST_RANKING.format(short=str(short), query=QUERY)
        figures["first_ranking_s"] = _median_wall(first)
        for runtime in ("openvino", "onnxruntime"):
            code = PEAK.format(long=str(long), query=QUERY, runtime=runtime)
            figures[f"peak_mb_{runtime}"] = _median(code)
    if options.cap:
        figures |= _capped()
    if options.install:
        figures |= {
            f"installed_mb_{extra or 'default'}": _installed(extra) for extra in ("", "hub", "all")
        }
    for name, value in figures.items():
        print(f"{name:28} {value:8.2f}")
    print(json.dumps(figures))


def _capped() -> dict[str, float]:
    """MB above the loaded model, by model and runtime."""
    from ceiling import cross_encoder

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        longest = Path(folder) / "longest.json"
        longest.write_text(json.dumps(texts(1000, 512, spread=0.0)), encoding="utf-8")
        for name, model in {"bundled": None, "cross_encoder": str(cross_encoder())}.items():
            for runtime in ("openvino", "onnxruntime"):
                code = CAPPED.format(
                    longest=str(longest), runtime=runtime, cap=CAP_MB, model=model, query=QUERY
                )
                figures[f"capped_mb_{name}_{runtime}"] = _number(code)
    return figures


def _median(code: str) -> float:
    """The median of the numbers that fresh processes print."""
    return statistics.median(_number(code) for _ in range(ROUNDS))


def _number(code: str) -> float:
    run = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return float(run.stdout)


def _median_wall(code: str) -> float:
    """Seconds from starting a process to its end."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _installed(extra: str) -> float:
    """MB of site-packages beyond an empty environment's."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        site = next(Path(folder).glob("lib/python*/site-packages"))
        before = _size(site)
        target = f"{HERE.parent}[{extra}]" if extra else str(HERE.parent)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "-q", "--no-compile", target]
        subprocess.run(pip, check=True)
        print(
            f"{extra or 'default'}: torch {'in' if (site / 'torch').exists() else 'not in'}, "
            f"lance {'in' if (site / 'lance').exists() else 'not in'}",
            file=sys.stderr,
        )
        return _size(site) - before


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
