"""The contestants of `peers.py`: each scores a query against texts, in a process of its own.

A worker reads a line of JSON, ``{"texts": FILE, "callers": N}``, scores the texts in N concurrent
threads, and prints the seconds of each thread and the peak memory of the process.
"""

import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import peer_models

Scores = Callable[[str, Sequence[str]], Any]


def resift(folder: Path, runtime: str) -> Scores:
    """The artifact that ``resift convert`` makes of the same checkpoint: static int8."""
    from resift import Reranker
    from resift.settings import Settings

    reranker = Reranker(folder / "resift", settings=Settings(runtime=runtime))
    return lambda query, texts: reranker.score(query, texts)


def early_exit(folder: Path, runtime: str) -> Scores:
    """The same with exits, for the first ten of a first stage's order without scores.

    Its head is random: the share that is pruned says little of a trained model (`exits.py` does).
    """
    from resift import Reranker
    from resift.settings import Settings

    reranker = Reranker(folder / "resift-exits", settings=Settings(runtime=runtime))
    return lambda query, texts: reranker.rank(query, texts, top_n=10)


def bundled(precomputed: bool) -> Scores:
    """The bundled model, for the first ten; its weights differ from those of the others.

    With `precomputed`, token states of the documents are computed when a text is first seen, before
    anything is timed.
    """
    from resift import Candidate, Reranker

    reranker = Reranker()
    candidates: dict[str, Candidate] = {}

    def rank(query: str, texts: Sequence[str]) -> Any:
        new = [text for text in texts if text not in candidates]
        states = reranker.precompute(new) if precomputed else [None] * len(new)
        for text, state in zip(new, states, strict=True):
            candidates[text] = Candidate("", text, precomputed=state)
        return reranker.rank(query, [candidates[text] for text in texts], top_n=10)

    return rank


def sentence_transformers(folder: Path, backend: str, file: str | None) -> Scores:
    """CrossEncoder with one of its three backends."""
    from sentence_transformers import CrossEncoder

    options: dict[str, Any] = {"model_kwargs": {"file_name": file}} if file else {}
    model: Any = CrossEncoder(str(folder), backend=backend, device="cpu", **options)
    # Its OpenVINO backend raises "Infer Request is busy" for a second thread.
    lock = threading.Lock() if backend == "openvino" else nullcontext()

    def predict(query: str, texts: Sequence[str]) -> Any:
        with lock:
            return model.predict([(query, text) for text in texts])

    return predict


def flashrank(folder: Path) -> Scores:
    """Its Ranker on int8 ONNX, the form of the models that it ships."""
    from flashrank import Ranker, RerankRequest

    ranker = Ranker(peer_models.FLASHRANK, str(folder / "flashrank"), log_level="ERROR")
    return lambda query, texts: ranker.rerank(RerankRequest(query, [{"text": t} for t in texts]))


def fastembed(folder: Path, file: str) -> Scores:
    """TextCrossEncoder on ONNX, loaded as a custom model."""
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
    "sentence-transformers torch": lambda folder: sentence_transformers(folder, "torch", None),
    "sentence-transformers onnx": lambda folder: sentence_transformers(
        folder, "onnx", peer_models.ONNX
    ),
    "sentence-transformers onnx int8": lambda folder: sentence_transformers(
        folder, "onnx", peer_models.ONNX_INT8
    ),
    "sentence-transformers openvino": lambda folder: sentence_transformers(
        folder, "openvino", peer_models.OPENVINO
    ),
    "sentence-transformers openvino int8": lambda folder: sentence_transformers(
        folder, "openvino", peer_models.OPENVINO_INT8
    ),
    "flashrank int8": flashrank,
    "fastembed": lambda folder: fastembed(folder, peer_models.ONNX),
    "fastembed int8": lambda folder: fastembed(folder, peer_models.ONNX_INT8),
    "rerankers": rerankers,
    "resift openvino": lambda folder: resift(folder, "openvino"),
    "resift openvino early exit": lambda folder: early_exit(folder, "openvino"),
    "resift bundled": lambda _: bundled(precomputed=False),
    "resift bundled, cached token states": lambda _: bundled(precomputed=True),
    "resift onnxruntime": lambda folder: resift(folder, "onnxruntime"),
}
"""Name → function that loads the contestant from the folder of `peer_models`."""


def main() -> None:
    """Load the model, then answer lines until stdin ends."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    stdout, sys.stdout = sys.stdout, sys.stderr  # peers may print anything
    score = CONTESTANTS[name](folder)
    for line in sys.stdin:
        request = json.loads(line)
        pairs = json.loads(Path(request["texts"]).read_text())
        call = partial(score, pairs["query"], pairs["texts"])
        seconds = run_at_once([call] * request["callers"])
        result = {"seconds": seconds, "peak_mb": _peak_mb()}
        print(json.dumps(result), file=stdout, flush=True)


def _peak_mb() -> float:
    """Of this program alone: `getrusage` also counts the process that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def run_at_once(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Seconds of each call, all started at once in threads."""
    seconds: list[float] = []
    start = threading.Barrier(len(calls))

    def timed(call: Callable[[], Any]) -> None:
        start.wait()
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)

    threads = [threading.Thread(target=timed, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seconds) != len(calls):
        raise SystemExit("a caller failed")
    return seconds


if __name__ == "__main__":
    main()
