"""How far is exact reranking with a cross-encoder from the machine's limit?

    python benchmarks/ceiling.py [--rounds 9] [--runtime openvino onnxruntime]

The limit is what the same runtime reaches on int8 matrix products alone, of uint8 activations and
int8 weights written as in our graphs, the best of a few sizes. It is compared with the operations a
second of a whole ranking: those of the encoder's linear layers on real tokens, without padding, and
all of them even where the graph skips some. Rounds are interleaved; medians.
Needs  pip install 'resift[convert,onnxruntime]'. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from checkpoint import WORK, make_artifact, make_checkpoint
from manual_texts import QUERY, texts
from onnx import TensorProto, helper, numpy_helper
from peers import WORKLOADS

from resift import Ranking, Reranker
from resift.rerank.runtimes import open_session
from resift.settings import RUNTIMES, Settings

CHAIN = 8
SIZES = ((384, 1024), (1024, 1024), (1536, 1024), (2048, 2048))  # width, rows
LAYERS, WIDTH = 6, 384
PER_TOKEN = 2 * LAYERS * 12 * WIDTH**2
"""Operations of the linear layers a token: 4 of width² and 2 of 4 width², two for a multiply-add"""

Calls = dict[Any, Callable[[], object]]


def main() -> None:
    """Print the limits, then a line a workload."""
    options = _options()
    warnings.simplefilter("ignore")  # of depths over 100, which are meant
    folder = cross_encoder()
    figures: dict[str, Any] = {}
    for runtime in options.runtime:
        reranker = Reranker(folder, settings=Settings(runtime=runtime))
        row = figures[runtime] = _measure(reranker, runtime, options.rounds)
        print(f"{runtime}: int8 products alone {row['limit_gops']:.0f} Gop/s")
        for name, workload in row["workloads"].items():
            print(
                f"  {name:12}{workload['ms']:8.1f} ms {workload['gops']:7.0f} Gop/s, "
                f"{workload['share']:4.0%} of the limit, padding {workload['padding']:5.1%}"
            )
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    return parser.parse_args()


def cross_encoder() -> Path:
    """The cross-encoder artifact of `peers.py`, made on first use."""
    return make_artifact(make_checkpoint(WORK / "peers"))


def _measure(reranker: Reranker, runtime: str, rounds: int) -> dict[str, Any]:
    """The limit and every workload of a single caller, measured in the same rounds.

    A workload has milliseconds, operations a second, share of the limit and padding share.
    """
    candidates = {
        name: texts(workload.candidates, workload.tokens, workload.spread)
        for name, workload in WORKLOADS.items()
        if workload.callers == 1
    }
    rankings: dict[Any, Callable[[], Ranking]] = {
        name: partial(reranker.rank, QUERY, documents, exact=True)
        for name, documents in candidates.items()
    }
    receipts = {name: rank().receipt for name, rank in rankings.items()}
    seconds = _interleaved({**_chains(runtime), **rankings}, rounds)
    limit = max(2 * CHAIN * rows * width**2 / seconds[width, rows] for width, rows in SIZES)
    workloads = {}
    for name, receipt in receipts.items():
        rate = receipt.tokens * PER_TOKEN / seconds[name]
        workloads[name] = {
            "ms": seconds[name] * 1000,
            "gops": rate / 1e9,
            "share": rate / limit,
            "padding": receipt.padding_share,
        }
    return {"limit_gops": limit / 1e9, "workloads": workloads}


def _chains(runtime: str) -> Calls:
    """Int8 products alone; the keys are width and rows."""
    calls: Calls = {}
    with tempfile.TemporaryDirectory() as folder:
        for width, rows in SIZES:
            file = Path(folder) / f"{width}.onnx"
            onnx.save(_chain(width), str(file))
            session = open_session(file, runtime)
            feeds = {"x": np.random.default_rng(7).standard_normal((rows, width), np.float32)}
            calls[width, rows] = partial(session.run, feeds)
    return calls


def _chain(width: int) -> onnx.ModelProto:
    """A chain of products; each rounds the output of the one before to uint8."""
    rng = np.random.default_rng(7)
    nodes, constants = [], []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    step, zero = constant("step", np.float32(0.05)), constant("zero", np.uint8(128))
    scale, none = constant("scale", np.float32(0.01 / width)), constant("none", np.int8(0))
    x = "x"
    for number in range(CHAIN):
        weights = rng.integers(-127, 128, (width, width)).astype(np.int8)
        kernel = constant(f"kernel{number}", weights)
        rounded, wide, weight, product = (f"{letter}{number}" for letter in "qxwp")
        nodes += [
            helper.make_node("QuantizeLinear", [x, step, zero], [rounded]),
            helper.make_node("DequantizeLinear", [rounded, step, zero], [wide]),
            helper.make_node("DequantizeLinear", [kernel, scale, none], [weight]),
            helper.make_node("MatMul", [wide, weight], [product]),
        ]
        x = product
    # A small output: copying it costs nothing.
    nodes.append(helper.make_node("ReduceMax", [x], ["out"], keepdims=0))
    feed = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "chain", [feed], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    return model


def _interleaved(calls: Calls, rounds: int) -> dict[Any, float]:
    """Median seconds of each, after a warm-up."""
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
