"""How long the first search of a fresh process takes on an index in a bucket, read from there.

    python benchmarks/cold_search.py --passages 2000 --delay-ms 50

A proxy stands before a real S3 server on loopback and adds a delay to each request. Dependent round
trips are those that no other one hid: what the delay cost in all, divided by the delay. The last
line is JSON; before it, requests in order of time, with ms since the search began.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from index.fakes import HashingEmbedder  # noqa: E402
from resift.search.index import Index  # noqa: E402
from resift.settings import Settings, StorageSettings  # noqa: E402
from storage.corpus import Corpus  # noqa: E402
from storage.faulty import Faults, FaultyProxy, Seen, faulty_proxy  # noqa: E402
from storage.weed import running_server  # noqa: E402

ROUNDS = 3
QUERY = "word17 of document 7"


def main() -> None:
    """Measure with and without the delay; print the log of the last search."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--passages", type=int, default=2000)
    options.add_argument("--delay-ms", type=float, default=50)
    options.add_argument("--uri", help=argparse.SUPPRESS)  # the fresh process that searches
    options.add_argument("--storage", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.uri:
        search(given.uri, StorageSettings(**json.loads(given.storage)))
        return
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        corpus = Corpus(f"s3://{server.new_bucket()}", server.settings())
        make(corpus, given.passages)
        with faulty_proxy(server.endpoint) as proxy:
            print(json.dumps(measure(corpus, proxy, given.delay_ms / 1000)))


def make(corpus: Corpus, passages: int) -> None:
    """Documents of one passage each, with words that are all over the vocabulary."""
    texts = (f"document {n}: " + " ".join(f"word{n * k % 997}" for k in range(1, 40))
             for n in range(passages))  # fmt: skip
    lines = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)]
    corpus.write({"documents.jsonl": "\n".join(lines)})
    corpus.index().sync(corpus.docs)


def measure(corpus: Corpus, proxy: FaultyProxy, delay_s: float) -> dict[str, float]:
    """Seconds, requests and dependent round trips of a cold search."""
    storage = replace(corpus.storage, endpoint=proxy.endpoint)
    plain = [cold(corpus.index_uri, storage, proxy, 0.0)[0] for _ in range(ROUNDS)]
    slowed = [cold(corpus.index_uri, storage, proxy, delay_s) for _ in range(ROUNDS)]
    started = slowed[-1][1]
    seen: list[tuple[float, Seen]] = slowed[-1][2]
    for at, request in seen:
        wanted = request.headers.get("range", "")
        path = unquote(request.path).split("/index/", 1)[-1]
        print(f"{(at - started) * 1000:7.0f} ms  {request.method:4} {path} {wanted}")
    seconds = median(run[0] for run in slowed)
    return {
        "passages": corpus.newest().passages,
        "delay_ms": delay_s * 1000,
        "seconds": round(seconds, 3),
        "seconds_without_delay": round(median(plain), 3),
        "requests": len(seen),
        "bytes": proxy.bytes_back,
        "dependent_round_trips": round((seconds - median(plain)) / delay_s, 1),
    }


def cold(
    uri: str, storage: StorageSettings, proxy: FaultyProxy, delay_s: float
) -> tuple[float, float, list[tuple[float, Seen]]]:
    """One search in a fresh process: its seconds, when it began, and its requests with their times.

    What a process loads and imports before it searches is not counted.
    """
    times: list[float] = []
    proxy.restart(Faults(delay_s, before=lambda _: times.append(time.time())))
    fields = {name: getattr(storage, name) for name in storage.__slots__}
    command = [sys.executable, __file__, "--uri", uri, "--storage", json.dumps(fields)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    started, seconds = json.loads(done.stdout)
    requests = sorted(zip(times, proxy.seen, strict=True), key=lambda request: request[0])
    return seconds, started, requests


def search(uri: str, storage: StorageSettings) -> None:
    """The fresh process: search once, print when that began and how long it took."""
    for module in ("lance", "obstore", "pyarrow.parquet"):
        __import__(module)
    index = Index(uri, settings=Settings(storage=storage), embedder=HashingEmbedder())
    started, clock = time.time(), time.perf_counter()
    ranking = index.search(QUERY, rerank=False)
    if len(ranking) != 10:
        raise RuntimeError(f"{len(ranking)} hits, expected 10")
    print(json.dumps([started, time.perf_counter() - clock]))


if __name__ == "__main__":
    main()
