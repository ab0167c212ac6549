"""How long does the first search of a fresh process take, on an index in a bucket without a copy?

    python benchmarks/cold_search.py --passages 2000 --delay-ms 50

A proxy in front of an S3 server on loopback adds a delay to each request. The number of dependent
round trips is the total cost of the delay divided by the delay. The last line is JSON; the requests
come before it in order of time, with ms since the search started.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from operator import itemgetter
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=2000)
    parser.add_argument("--delay-ms", type=float, default=50)
    parser.add_argument("--uri", help=argparse.SUPPRESS)  # set in the fresh process that searches
    parser.add_argument("--storage", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.uri:
        search(options.uri, StorageSettings(**json.loads(options.storage)))
        return
    with tempfile.TemporaryDirectory() as scratch, running_server(Path(scratch)) as server:
        folder = Corpus(f"s3://{server.new_bucket()}", server.settings())
        make(folder, options.passages)
        with faulty_proxy(server.endpoint) as proxy:
            print(json.dumps(measure(folder, proxy, options.delay_ms / 1000)))


def make(folder: Corpus, passages: int) -> None:
    """Index documents of one passage each, whose words spread over the vocabulary."""
    texts = (f"document {n}: " + " ".join(f"word{n * k % 997}" for k in range(1, 40))
             for n in range(passages))  # fmt: skip
    lines = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)]
    folder.write({"documents.jsonl": "\n".join(lines)})
    folder.index().sync(folder.docs)


def measure(folder: Corpus, proxy: FaultyProxy, delay_s: float) -> dict[str, float]:
    """Seconds, requests and dependent round trips of a cold search."""
    storage = replace(folder.storage, endpoint=proxy.endpoint)
    plain = [cold(folder.index_uri, storage, proxy, 0.0)[0] for _ in range(ROUNDS)]
    slowed = [cold(folder.index_uri, storage, proxy, delay_s) for _ in range(ROUNDS)]
    started = slowed[-1][1]
    seen: list[tuple[float, Seen]] = slowed[-1][2]
    for sent, request in seen:
        byte_range = request.headers.get("range", "")
        path = unquote(request.path).split("/index/", 1)[-1]
        print(f"{(sent - started) * 1000:7.0f} ms  {request.method:4} {path} {byte_range}")
    seconds = median(run[0] for run in slowed)
    return {
        "passages": folder.newest().passages,
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
    """One search in a fresh process: its seconds, its start, and its requests with their times.

    Imports are not counted.
    """
    times: list[float] = []
    proxy.restart(Faults(delay_s, before=lambda _: times.append(time.time())))
    fields = {name: getattr(storage, name) for name in storage.__slots__}
    command = [sys.executable, __file__, "--uri", uri, "--storage", json.dumps(fields)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    started, seconds = json.loads(done.stdout)
    return seconds, started, sorted(zip(times, proxy.seen, strict=True), key=itemgetter(0))


def search(uri: str, storage: StorageSettings) -> None:
    """Search once, in the fresh process; print the start and the seconds."""
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
