"""The contestants of `peers.py`: each scores a query against texts, in a process of its own.

A worker reads a line of JSON, ``{"texts": FILE, "callers": N}``, lets that many threads score the
texts at once, and answers with each caller's seconds and the process's peak memory.
"""

import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import peer_models

Scores = Callable[[str, Sequence[str]], Any]


def resift(folder: Path, runtime: str) -> Scores:
    """The artifact that ``resift convert`` made of the same checkpoint: static int8."""
    from resift import Reranker
    from resift.settings import Settings

    reranker = Reranker(folder / "resift", settings=Settings(runtime=runtime))
    return lambda query, texts: reranker.score(query, texts)


def progressive(folder: Path, runtime: str) -> Scores:
    """The same with exits, for the first ten; candidates come in a first stage's order, no scores.

    Under the checkpoint's random head: what goes on says little of a trained one (`exits.py`).
    """
    from resift import Reranker
    from resift.settings import Settings

    reranker = Reranker(folder / "resift-exits", settings=Settings(runtime=runtime))
    return lambda query, texts: reranker.rank(query, texts, top_n=10)


def bundled(precomputed: bool) -> Scores:
    """The model that ships, for the first ten: other weights than the others', as the user has it.

    With `precomputed`, documents' halves are there before the query comes (they are made when a text is
    first seen, before anything is timed).
    """
    from resift import Candidate, Reranker

    reranker = Reranker()
    known: dict[str, Candidate] = {}

    def rank(query: str, texts: Sequence[str]) -> Any:
        new = [text for text in texts if text not in known]
        halves = reranker.precompute(new) if precomputed else [None] * len(new)
        known.update(
            (t, Candidate("", t, precomputed=own)) for t, own in zip(new, halves, strict=True)
        )
        return reranker.rank(query, [known[text] for text in texts], top_n=10)

    return rank


def sentence_transformers(folder: Path, backend: str, file: str | None) -> Scores:
    """CrossEncoder, one of its three backends."""
    from sentence_transformers import CrossEncoder

    more: dict[str, Any] = {"model_kwargs": {"file_name": file}} if file else {}
    model: Any = CrossEncoder(str(folder), backend=backend, device="cpu", **more)
    # Its OpenVINO backend raises "Infer Request is busy" for a second thread: callers take turns.
    turn = threading.Lock() if backend == "openvino" else nullcontext()

    def predict(query: str, texts: Sequence[str]) -> Any:
        with turn:
            return model.predict([(query, text) for text in texts])

    return predict


def flashrank(folder: Path) -> Scores:
    """Its own class on int8 ONNX, which is the form that it ships."""
    from flashrank import Ranker, RerankRequest

    ranker = Ranker(peer_models.FLASHRANK, str(folder / "flashrank"), log_level="ERROR")
    return lambda query, texts: ranker.rerank(RerankRequest(query, [{"text": t} for t in texts]))


def fastembed(folder: Path, file: str) -> Scores:
    """TextCrossEncoder on ONNX, as it loads a model of one's own."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model(
        "same-weights", ModelSource(hf="same/weights"), model_file=file
    )
    model = TextCrossEncoder("same-weights", specific_model_path=str(folder))
    return lambda query, texts: list(model.rerank(query, texts))


def rerankers(folder: Path) -> Scores:
    """Its transformers wrapper."""
    from rerankers import Reranker

    model: Any = Reranker(str(folder), model_type="cross-encoder", device="cpu", verbose=0)
    return lambda query, texts: model.rank(query=query, docs=list(texts))


CONTESTANTS: Mapping[str, Callable[[Path], Scores]] = {
    "sentence-transformers torch": lambda own: sentence_transformers(own, "torch", None),
    "sentence-transformers onnx": lambda own: sentence_transformers(own, "onnx", peer_models.ONNX),
    "sentence-transformers onnx int8": lambda own: sentence_transformers(
        own, "onnx", peer_models.ONNX_INT8
    ),
    "sentence-transformers openvino": lambda own: sentence_transformers(
        own, "openvino", peer_models.OPENVINO
    ),
    "sentence-transformers openvino int8": lambda own: sentence_transformers(
        own, "openvino", peer_models.OPENVINO_INT8
    ),
    "flashrank int8": flashrank,
    "fastembed": lambda own: fastembed(own, peer_models.ONNX),
    "fastembed int8": lambda own: fastembed(own, peer_models.ONNX_INT8),
    "rerankers": rerankers,
    "resift openvino": lambda own: resift(own, "openvino"),
    "resift openvino progressive": lambda own: progressive(own, "openvino"),
    "resift bundled": lambda own: bundled(precomputed=False),
    "resift bundled, kept halves": lambda own: bundled(precomputed=True),
    "resift onnxruntime": lambda own: resift(own, "onnxruntime"),
}
"""Name → how to load it from the folder of `peer_models`."""


def main() -> None:
    """Load, then answer lines until there are none."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    answers, sys.stdout = sys.stdout, sys.stderr  # peers print what they like
    score = CONTESTANTS[name](folder)
    for line in sys.stdin:
        asked = json.loads(line)
        found = _measure(score, json.loads(Path(asked["texts"]).read_text()), asked["callers"])
        peak_mb = _peak_mb()
        print(json.dumps({"seconds": found, "peak_mb": peak_mb}), file=answers, flush=True)


def _peak_mb() -> float:
    """Of the program alone: `getrusage` would count the process that started it too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _measure(score: Scores, asked: Mapping[str, Any], callers: int) -> list[float]:
    """Seconds of each of so many callers who begin at once."""
    seconds: list[float] = []
    start = threading.Barrier(callers)

    def call() -> None:
        start.wait()
        began = time.perf_counter()
        score(asked["query"], asked["texts"])
        seconds.append(time.perf_counter() - began)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seconds) != callers:
        raise SystemExit("a caller failed")
    return seconds


if __name__ == "__main__":
    main()
