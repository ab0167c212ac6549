"""How fast does an index of shards follow one changed document, and in how much memory?

    python benchmarks/shards_sync.py [--passages 1000000] [--shards 8] [--work FOLDER]

Made-up documents, ten rows of 40 words in a JSON Lines file each, are indexed in so many shards
(once: FOLDER stores documents and index, and an interrupted build goes on). The words have the
frequencies of natural text; vectors are made up too and cost little. Then one row of one file
is changed and synced, in a process of its own whose peak memory is measured, without its parsers'
processes. Last line of stdout: JSON.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.search.index import Index

ROWS, WORDS, VOCABULARY, ROUNDS = 10, 40, 100_000, 3
DIM, LATENT, CENTRES, NOISE = 384, 32, 500, 0.05


class MadeUpEmbedder:
    """Vectors of texts, with noise that differs from batch to batch.

    They are in clusters that lie in few dimensions, as real ones are: nearest neighbours of random
    points in 384 dimensions are no task at all.
    """

    name = fingerprint = "made-up"
    dim = DIM

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._basis = rng.normal(size=(LATENT, DIM)).astype(np.float32) / np.sqrt(DIM)
        self._centres = rng.normal(size=(CENTRES, LATENT)).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, ``(n, 384)``."""
        seeds = [blake2b(text.encode(), digest_size=8).digest() for text in texts]
        numbers = np.frombuffer(b"".join(seeds), np.uint64)
        rng = np.random.Generator(np.random.SFC64(int(numbers[0])))
        latent = np.stack([_latent(int(number)) for number in numbers])
        near = self._centres[numbers % CENTRES] + latent
        vectors = near @ self._basis + NOISE * rng.normal(size=(len(texts), DIM)).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """A unit vector, ``(384,)``."""
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


def _latent(seed: int) -> NDArray[np.float32]:
    return np.random.Generator(np.random.SFC64(seed)).normal(size=LATENT).astype(np.float32)


def main() -> None:
    """Print a line a figure."""
    options = _options()
    docs, uri = options.work / "docs", str(options.work / "index")
    _write_documents(docs, options.passages // ROWS)
    figures: dict[str, Any] = {"passages": options.passages, "shards": options.shards}
    index = Index(uri, embedder=MadeUpEmbedder(), shards=options.shards)
    started = time.perf_counter()
    report = index.sync(str(docs))
    figures["build_s"] = time.perf_counter() - started
    print(
        f"{report.added:,} objects added, {report.passages_embedded:,} passages embedded "
        f"in {figures['build_s']:.0f} s"
    )
    rounds = [_in_a_process(uri, docs, change=number) for number in range(ROUNDS)]
    unchanged = _in_a_process(uri, docs, change=None)
    figures["one_changed_s"] = sorted(seconds for seconds, _ in rounds)[ROUNDS // 2]
    figures["one_changed_peak_mb"] = max(peak for _, peak in rounds)
    figures["unchanged_s"], figures["unchanged_peak_mb"] = unchanged
    print(
        f"one document changed: {figures['one_changed_s']:.1f} s, "
        f"peak {figures['one_changed_peak_mb']:.0f} MB; "
        f"nothing changed: {unchanged[0]:.1f} s, peak {unchanged[1]:.0f} MB"
    )
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work" / "shards")
    return parser.parse_args()


def made_up_texts(count: int, seed: int) -> list[str]:
    """Texts of 40 words, of which the n-th most frequent has a share of about 1/n (Zipf)."""
    rng = np.random.default_rng(seed)
    shares = 1 / (np.arange(VOCABULARY) + 2.7)
    drawn = np.searchsorted(np.cumsum(shares / shares.sum()), rng.random((count, WORDS)))
    return [" ".join(map(_word, row)) for row in drawn.tolist()]


def _word(number: int) -> str:
    """A word of consonants and vowels, as no language has them, so that it has no stem."""
    letters = []
    number += 400
    while number:
        number, syllable = divmod(number, 80)
        letters.append("bdfgklmnprstvwxz"[syllable // 5] + "aeiou"[syllable % 5])
    return "".join(letters)


def _write_documents(folder: Path, objects: int) -> None:
    per_folder = 1_000
    for start in range(0, objects, per_folder):
        part = folder / f"{start // per_folder:04d}"
        if part.exists():
            continue
        texts = made_up_texts(min(per_folder, objects - start) * ROWS, start)
        unfinished = folder / f".{part.name}"
        unfinished.mkdir(parents=True, exist_ok=True)
        for number in range(len(texts) // ROWS):
            rows = texts[number * ROWS : (number + 1) * ROWS]
            lines = [json.dumps({"id": f"{row}", "text": text}) for row, text in enumerate(rows)]
            (unfinished / f"{number:03d}.jsonl").write_text("\n".join(lines) + "\n")
        unfinished.rename(part)


def _in_a_process(uri: str, docs: Path, change: int | None) -> tuple[float, float]:
    if change is not None:
        file = docs / "0000" / f"{change:03d}.jsonl"
        first, _, rest = file.read_text().partition("\n")
        text = f"{json.loads(first)['text']} {time.time_ns()}"
        file.write_text(json.dumps({"id": "0", "text": text}) + "\n" + rest)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_sync, (uri, str(docs)))


def _sync(uri: str, docs: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of a sync in this process."""
    index = Index(uri, embedder=MadeUpEmbedder())
    started = time.perf_counter()
    index.sync(docs)
    seconds = time.perf_counter() - started
    # Not `ru_maxrss`, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
