"""What do building and searching an index cost by passage? The index's part of unit_costs.py.

    python benchmarks/unit_costs_index.py PASSAGES FOLDER     (its last line of stdout is JSON)

An index of so many made-up passages with random vectors is built in FOLDER and searched, in this
process, so that processor time and memory are those of nothing else. Words are drawn by Zipf's law
from 50,000; queries have six words of a passage, without the commonest 100. Times are processor
time of all threads, so that other programs hardly matter.
"""

import json
import resource
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from manual_texts import texts
from numpy.typing import NDArray
from sync import RandomEmbedder

from resift import Index, Reranker
from resift.index.table import store as store_module
from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.settings import Settings

WORDS, SPREAD, VOCABULARY, COMMON, QUERY_WORDS = 40, 0.3, 50_000, 100, 6
QUERIES, ROUNDS = 60, 5
LINES_A_FILE = 1_000

CHARACTERS = 600
"""Of a text at most, so that each text is one passage."""


def vocabulary() -> list[str]:
    """Words of the Python manual, the commonest first, and then compounds of them."""
    words = [word for text in texts(300, 200) for word in text.lower().split() if word.isalpha()]
    ranked = [word for word, _ in Counter(words).most_common()]
    rng = np.random.default_rng(3)
    known = set(ranked)
    while len(ranked) < VOCABULARY:
        first, second = rng.integers(len(known), size=2)
        compound = ranked[min(first, len(ranked) - 1)] + ranked[second][:6]
        if compound not in known:
            known.add(compound)
            ranked.append(compound)
    return ranked


def passages(count: int) -> Iterator[str]:
    """Made-up passages of about 40 words, which are some 120 tokens; each is a text of its own."""
    words = np.array(vocabulary())
    rng = np.random.default_rng(5)
    share = 1 / (np.arange(VOCABULARY) + 2.7)
    bounds = np.cumsum(share / share.sum())
    for _ in range(count):
        length = max(int(WORDS * rng.lognormal(-(SPREAD**2) / 2, SPREAD)), 8)
        drawn = np.minimum(np.searchsorted(bounds, rng.random(length)), VOCABULARY - 1)
        yield " ".join(words[drawn])[:CHARACTERS]


def tokens(count: int = 300) -> float:
    """The mean length of a passage, in tokens."""
    counter = Tokens(load_tokenizer(BUNDLED / "tokenizer.json"), 512)
    return statistics.mean(len(counter.starts(text)) for text in passages(count))


def queries(lines: Sequence[str]) -> list[str]:
    """Six words of each text that are not among the commonest."""
    common = set(vocabulary()[:COMMON])
    return [
        " ".join([word for word in line.split() if word not in common][:QUERY_WORDS])
        for line in lines
    ]


class Clocked:
    """Processor seconds of named parts of the build."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, clocked."""

        def clocked(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return clocked

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the processor time of a block."""
        started = time.process_time()
        yield
        self.seconds[name] += time.process_time() - started


class ClockedEmbedder(RandomEmbedder):
    """Random vectors, clocked, to be taken off the time of writing."""

    def __init__(self, clock: Clocked) -> None:
        super().__init__()
        self._clock = clock

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, ``(n, 384)``."""
        with self._clock.part("vectors drawn"):
            return super().embed(texts)


def build(count: int, folder: Path) -> tuple[Index, dict[str, float]]:
    """An index of the passages, and milliseconds of processor time a passage, by part."""
    docs = folder / "docs"
    docs.mkdir(parents=True)
    lines = passages(count)
    for number in range(-(-count // LINES_A_FILE)):
        rows = [json.dumps({"text": text}) for text in islice(lines, LINES_A_FILE)]
        (docs / f"{number:05d}.jsonl").write_text("\n".join(rows) + "\n")
    clock = Clocked()
    for name, part in {"index_terms": "terms", "index_vectors": "graph"}.items():
        setattr(store_module, name, clock.wrap(part, getattr(store_module, name)))
    embedder = ClockedEmbedder(clock)
    settings = Settings(threads=1, cache_mb=0)
    index = Index(str(folder / "index"), settings=settings, embedder=embedder)
    with clock.part("all"):
        report = index.sync(str(docs))
    parsed = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {
        name: seconds / report.passages_embedded * 1e3 for name, seconds in clock.seconds.items()
    }
    return index, {
        "passages": report.passages_embedded,
        "tokens": tokens(),
        "parse_ms": (parsed.ru_utime + parsed.ru_stime) / report.passages_embedded * 1e3,
        "terms_ms": spent["terms"],
        "graph_ms": spent["graph"],
        "write_ms": spent["all"] - spent["terms"] - spent["graph"] - spent["vectors drawn"],
        "build_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": report.seconds,
    }


def sizes(index: Index, count: int) -> dict[str, float]:
    """Bytes on disk a passage: rows, the largest index (of vectors), and the others (of terms)."""
    folders: Counter[str] = Counter()
    for path, size in index.versions()[-1].files:
        folders[path.split("/")[1] if "_indices" in path else "rows"] += size
    rows = folders.pop("rows")
    graph = max(folders.values())
    return {
        "row_bytes": rows / count,
        "graph_bytes": graph / count,
        "terms_bytes": (folders.total() - graph) / count,
    }


def search(index: Index, asked: Sequence[str]) -> dict[str, Any]:
    """Processor milliseconds of a search, with one text read, and what 49 more texts cost."""

    def costs(top_n: int) -> list[float]:
        spent = []
        for query in asked:
            started = time.process_time()
            index.search(query, top_n=top_n, depth=50, rerank=False)
            spent.append((time.process_time() - started) * 1e3)
        return spent

    costs(50)
    rounds = [(costs(1), costs(50)) for _ in range(ROUNDS)]
    few = [statistics.mean(each) for each, _ in rounds]
    texts_read = [(statistics.mean(many) - statistics.mean(each)) / 49 for each, many in rounds]
    return {
        "retrieve_ms": statistics.median(few),
        "retrieve_range": [min(few), max(few)],
        "spread_ms": statistics.median(statistics.stdev(each) for each, _ in rounds),
        "fetch_ms": max(statistics.median(texts_read), 0.0),
        "fetch_range": [max(min(texts_read), 0.0), max(*texts_read, 0.0)],
    }


def main() -> None:
    """Build in one process, then search in another one, for its memory."""
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    if not (folder / "index").exists():
        index, figures = build(count, folder)
        print(json.dumps(figures | sizes(index, int(figures["passages"]))))
        return
    embedder = RandomEmbedder()
    asked = queries([*passages(QUERIES)])
    settings = Settings(threads=1, cache_mb=0)
    index = Index(str(folder / "index"), settings=settings, embedder=embedder, reranker=Reranker())
    figures = search(index, asked)
    figures["search_mb"] = float(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)
        .split()[1]
    ) / 1024  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
