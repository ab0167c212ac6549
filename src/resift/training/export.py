"""Trained weights → an artifact: graphs, static int8, the fitted numbers, reference logits."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.rerank.artifact import (
    MANIFEST,
    TOKENIZER,
    Manifest,
    ReferencePair,
    load_artifact,
    sha256,
    write_manifest,
)
from resift.rerank.late_interaction import LateInteractionWeights
from resift.rerank.models import (
    Batch,
    LateInteractionStage,
    Model,
    cross_attention_feeds,
    encode,
    load_model,
    run_rows,
)
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer, pad
from resift.training.cross_attention_graph import cross_attention_graph, cross_attention_layers
from resift.training.fit import Scores, fit_calibration, fit_exit, fit_feedback, fit_fusion
from resift.training.graph import EncoderShape, Weights, encoder_graph
from resift.training.late_graph import Scales, late_graph
from resift.training.mining import NONE, Lists, Mined
from resift.training.quantise import int8_output, int8_steps, quantise
from resift.training.score import score_list

ENCODER, LATE, CROSS_ATTENTION = STAGES = ("encoder.onnx", "late.onnx", "cross_attention.onnx")
MAX_TOKENS = 512
EMBEDDING_TOKENS = 256  # what the encoder was trained to pool, as its own configuration says
CALIBRATION_TEXTS = 300
CALIBRATION_PAIRS = 200
BOUND_LISTS = 60  # a source
TOLERANCE = 0.1
MAKERS = ("nncf", "onnx", "onnxruntime", "openvino", "torch")
QUANTISATION = "static int8 (NNCF), uint8 activations; embeddings int8 by row"
REFERENCE = (
    ("how do I stop someone from deleting an object", "Places a legal hold on an object version."),
    ("how do I stop someone from deleting an object", "Returns the list of your functions."),
    ("what does a reranker do", "A reranker reads a query and a document together and scores it."),
    ("capital of France", "Paris is the capital and largest city of France, on the river Seine."),
    ("capital of France", "The Danube flows through ten countries, more than any other river."),
    ("symptoms of iron deficiency", "Fatigue, pale skin and shortness of breath are common signs."),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a manifest says of where a model comes from, and how much of a text it reads."""

    name: str
    base_model: str
    licence: str
    max_tokens: int = MAX_TOKENS


def export(
    weights: Weights,
    shape: EncoderShape,
    identity: Identity,
    tokenizer: Path,
    sources: Sequence[Mined],
    out: Path,
    *,
    fusion_weight: float | None = None,
) -> Manifest:
    """Write the int8 artifact of a late-interaction model's weights; replaces the files of one at `out`.

    `sources` give the texts from which activation ranges are read, and the held-out lists on
    which fusion (unless `fusion_weight` is given), calibration and bounds are fitted.
    """
    with tempfile.TemporaryDirectory() as made:
        folder, exact = Path(made) / "int8", Path(made) / "fp32"
        folder.mkdir()
        write_float32(weights, shape, identity, tokenizer, exact)
        shutil.copy(tokenizer, folder / TOKENIZER)
        tokens = Tokens(load_tokenizer(tokenizer), identity.max_tokens)
        rows = tokens.single(list(_sample(sources))[:CALIBRATION_TEXTS])
        scales = _scales(open_session(exact / ENCODER), rows, cross_attention_layers(weights) + 1)
        quantised = quantise(
            encoder_graph(
                weights, shape, int8_embeddings=True, meets=cross_attention_layers(weights)
            ),
            [pad([row]) for row in rows],
        )
        int8_output(quantised, "layers", scales.reshape(-1))
        onnx.save(quantised, str(folder / ENCODER))
        onnx.save(late_graph(len(scales), scales.shape[1], scales), str(folder / LATE))
        feeds = list(_cross_attentions(folder, sources, tokens, _late(weights)))
        onnx.save(
            quantise(cross_attention_graph(weights, shape, scales), feeds),
            str(folder / CROSS_ATTENTION),
        )
        manifest = replace(_manifest(weights, identity, folder), quantisation=QUANTISATION)
        write_manifest(folder, manifest)
        manifest = _fitted(folder, exact, manifest, sources, fusion_weight)
        write_manifest(folder, manifest)
        out.mkdir(parents=True, exist_ok=True)
        for name in (*STAGES, TOKENIZER, MANIFEST):
            shutil.copy(folder / name, out / name)
    return manifest


def write_float32(
    weights: Weights, shape: EncoderShape, identity: Identity, tokenizer: Path, folder: Path
) -> None:
    """The same model before quantisation: what int8 is compared with."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tokenizer, folder / TOKENIZER)
    meets = cross_attention_layers(weights)
    onnx.save(encoder_graph(weights, shape, meets=meets), str(folder / ENCODER))
    dim = weights["encoder.layer.0.output.dense.weight"].shape[0]
    onnx.save(late_graph(meets + 1, dim), str(folder / LATE))
    onnx.save(cross_attention_graph(weights, shape), str(folder / CROSS_ATTENTION))
    write_manifest(folder, _manifest(weights, identity, folder))


def _manifest(weights: Weights, identity: Identity, folder: Path) -> Manifest:
    return Manifest(
        name=identity.name,
        kind="late_interaction",
        base_model=identity.base_model,
        licence=identity.licence,
        quantisation="none (float32)",
        max_tokens=identity.max_tokens,
        stages=STAGES,
        tolerance=TOLERANCE,
        reference=(),
        files={name: sha256(folder / name) for name in (*STAGES, TOKENIZER)},
        late_interaction=_late(weights),
        embedding_tokens=min(EMBEDDING_TOKENS, identity.max_tokens),
        made_with={name: version(name) for name in MAKERS if find_spec(name)},
    )


def _scales(encoder: Session, rows: Sequence[TokenRow], layers: int) -> Scales:
    """A step of int8 for each column of each layer that is kept: the highest value seen is 127."""
    return int8_steps([run_rows(encoder, [row])["layers"][0] for row in rows]).reshape(layers, -1)


def _late(weights: Weights) -> LateInteractionWeights:
    query, document, cosine = (float(weight) for weight in weights["late"])
    return LateInteractionWeights(query, document, cosine, float(weights["bias"]))


def _fitted(
    folder: Path,
    exact: Path,
    manifest: Manifest,
    sources: Sequence[Mined],
    fusion_weight: float | None,
) -> Manifest:
    model = load_model(load_artifact(folder))
    held_out = [own for source in sources for own in dev_scores(model, source)]
    weight = fit_fusion(held_out) if fusion_weight is None else fusion_weight
    feedback_weight = fit_feedback(held_out, weight) if weight else 0.0
    trained = [own for source in sources for own in _unlabelled(model, source)]
    model32 = load_model(load_artifact(exact))
    reference = _references(model, model32, sources)
    return replace(
        manifest,
        fusion_weight=weight,
        feedback_weight=feedback_weight,
        calibration=fit_calibration(held_out, weight, feedback_weight),
        exits=(fit_exit(trained),),
        reference=reference,
    )


def _references(
    model: Model, model32: Model, sources: Sequence[Mined]
) -> tuple[ReferencePair, ...]:
    """The fixed pairs; where the tokenizer knows no word of one, a pair of the sources."""
    made = (
        ReferencePair(
            query, text, *(round(_logit(own, query, text), 5) for own in (model, model32))
        )
        for query, text in chain(REFERENCE, _held_out_pairs(sources))
    )
    readable = (pair for pair in made if np.isfinite([pair.logit, pair.logit_fp32]).all())
    return tuple(islice(readable, len(REFERENCE)))


def _held_out_pairs(sources: Sequence[Mined]) -> Iterator[tuple[str, str]]:
    """A query and the first text of its list, source by source."""
    for source in sources:
        for query, documents in zip(source.dev.queries, source.dev.documents, strict=True):
            yield source.query_texts[int(query)], source.texts[documents[0]]


def _logit(model: Model, query: str, text: str) -> float:
    return float(score_list(model, query, [text]).final[0])


def dev_scores(model: Model, source: Mined) -> list[Scores]:
    """What a model gives the held-out lists of a source, BM25's scores beside it."""
    lists = source.dev
    return [
        own
        for row in range(len(lists.queries))
        if (own := _scores(model, source, lists, row)).relevant.any()
    ]


def _unlabelled(model: Model, source: Mined) -> list[Scores]:
    """Candidates of queries that were trained on: their labels play no part in a bound."""
    rows = np.linspace(
        0, len(source.train.queries) - 1, min(BOUND_LISTS, len(source.train.queries))
    )
    return [_scores(model, source, source.train, int(row)) for row in rows]


def _scores(model: Model, source: Mined, lists: Lists, row: int) -> Scores:
    known = lists.documents[row] != NONE
    texts = [source.texts[place] for place in lists.documents[row][known]]
    found = score_list(model, source.query_texts[int(lists.queries[row])], texts)
    return Scores(
        source.name,
        found.early.astype(np.float64),
        found.final.astype(np.float64),
        lists.lexical[row][known].astype(np.float64),
        lists.relevant[row][known],
        None if found.means is None else found.means.astype(np.float64),
    )


def _sample(sources: Sequence[Mined]) -> Iterable[str]:
    """Queries and documents of every source in turn, shuffled."""
    rng = np.random.default_rng(7)
    texts: list[str] = []
    for source in sources:
        texts += [source.query_texts[i] for i in rng.integers(len(source.query_texts), size=60)]
        texts += [source.texts[i] for i in rng.integers(len(source.texts), size=120)]
    return [texts[i] for i in rng.permutation(len(texts))]


def _cross_attentions(
    folder: Path, sources: Sequence[Mined], tokens: Tokens, weights: LateInteractionWeights
) -> Iterable[dict[str, NDArray[Any]]]:
    """Inputs of the meeting for pairs of every source, as the int8 stages before it give them."""
    first = LateInteractionStage(
        open_session(folder / ENCODER), open_session(folder / LATE), weights
    )
    rng = np.random.default_rng(8)
    each = -(-CALIBRATION_PAIRS // len(sources))
    for source in sources:
        lists = source.train
        for place in rng.integers(len(lists.queries), size=each):
            documents = lists.documents[place][lists.documents[place] != NONE]
            text = source.texts[int(rng.choice(documents))]
            query = source.query_texts[int(lists.queries[place])]
            asked, row = (tokens.single([part])[0] for part in (query, text))
            half = encode(first.encoder, [asked])[0][: len(asked.ids)]
            out, logits = first(Batch([row], [half]))
            if out.states is not None:
                yield cross_attention_feeds([half], out.states, [row]) | {"logits": logits}
