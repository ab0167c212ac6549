"""Export a trained model to an int8 artifact with fitted numbers and reference logits."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.convert.exits import exit_bounds
from resift.convert.late_interaction import Float32Model, file_names, write_float32, write_int8
from resift.rerank.artifact import (
    MANIFEST,
    Manifest,
    ReferencePair,
    load_artifact,
    write_manifest,
)
from resift.rerank.batching import schedule
from resift.rerank.loading import load_model
from resift.rerank.models import Batch, Model
from resift.training.fit import Scores, fit_calibration, fit_feedback, fit_fusion
from resift.training.mining import NONE, Lists, Mined

RANGE_TEXTS = 300  # to measure activation ranges on
RANGE_PAIRS = 200
BOUND_LISTS = 60  # per source, to measure the exit's bounds on
REFERENCE = (
    ("how do I stop someone from deleting an object", "Places a legal hold on an object version."),
    ("how do I stop someone from deleting an object", "Returns the list of your functions."),
    ("what does a reranker do", "A reranker reads a query and a document together and scores it."),
    ("capital of France", "Paris is the capital and largest city of France, on the river Seine."),
    ("capital of France", "The Danube flows through ten countries, more than any other river."),
    ("symptoms of iron deficiency", "Fatigue, pale skin and shortness of breath are common signs."),
)

Floats = NDArray[np.float64]


def export(
    model: Float32Model, sources: Sequence[Mined], out: Path, *, fusion_weight: float | None = None
) -> Manifest:
    """Write the int8 artifact of a late-interaction model; replaces an artifact at `out`.

    Activation ranges are measured on the texts of `sources`. The fusion weight (unless it is an
    argument), the feedback weight and the calibration are fitted on their held-out lists.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder, exact = Path(temporary) / "int8", Path(temporary) / "float32"
        write_float32(model, exact)
        manifest = write_int8(model, exact, folder, range_texts(sources), _range_pairs(sources))
        manifest = fitted(manifest, folder, exact, sources, (fusion_weight, None))
        write_manifest(folder, manifest)
        out.mkdir(parents=True, exist_ok=True)
        for name in (*file_names(model), MANIFEST):
            shutil.copy(folder / name, out / name)
    return manifest


def fitted(
    manifest: Manifest,
    folder: Path,
    exact: Path,
    sources: Sequence[Mined],
    weights: tuple[float | None, float | None],
) -> Manifest:
    """The manifest of `folder` with what is fitted on held-out lists, and its exit's bounds.

    `exact` is the model in float32, for the reference logits. `weights` are those of the first
    stage and of feedback; None is fitted.
    """
    int8, float32 = (load_model(load_artifact(path)) for path in (folder, exact))
    held_out = [scores for source in sources for scores in dev_scores(int8, source)]
    weight, feedback_weight = weights
    if weight is None:
        weight = fit_fusion(held_out)
    if feedback_weight is None:
        feedback_weight = fit_feedback(held_out, weight) if weight else 0.0
    trained = [scores for source in sources for scores in _train_scores(int8, source)]
    gains = np.concatenate([scores.final - scores.early for scores in trained])
    return replace(
        manifest,
        fusion_weight=weight,
        feedback_weight=feedback_weight,
        calibration=fit_calibration(held_out, weight, feedback_weight),
        exits=(exit_bounds(gains),),
        reference=_references(int8, float32, sources),
    )


def range_texts(sources: Sequence[Mined]) -> list[str]:
    """Queries and documents of every source, shuffled."""
    rng = np.random.default_rng(7)
    texts: list[str] = []
    for source in sources:
        texts += [source.query_texts[i] for i in rng.integers(len(source.query_texts), size=60)]
        texts += [source.texts[i] for i in rng.integers(len(source.texts), size=120)]
    return [texts[i] for i in rng.permutation(len(texts))][:RANGE_TEXTS]


def _range_pairs(sources: Sequence[Mined]) -> list[tuple[str, str]]:
    """Queries of every source, each with one of its training candidates."""
    rng = np.random.default_rng(8)
    pairs = []
    for source in sources:
        lists = source.train
        for row in rng.integers(len(lists.queries), size=-(-RANGE_PAIRS // len(sources))):
            query, texts = source.list_texts(lists, row)
            pairs.append((query, texts[rng.choice(len(texts))]))
    return pairs


def _references(int8: Model, float32: Model, sources: Sequence[Mined]) -> tuple[ReferencePair, ...]:
    """Score the fixed pairs; a pair with unknown words is replaced by a held-out pair."""

    def logit(model: Model, query: str, text: str) -> float:
        return round(float(score_list(model, query, [text]).final[0]), 5)

    held_out = (
        (source.query_texts[int(query)], source.texts[documents[0]])
        for source in sources
        for query, documents in zip(source.dev.queries, source.dev.documents, strict=True)
    )
    pairs = (
        ReferencePair(*pair, logit(int8, *pair), logit(float32, *pair))
        for pair in chain(REFERENCE, held_out)
    )
    readable = (pair for pair in pairs if np.isfinite([pair.logit, pair.logit_fp32]).all())
    return tuple(islice(readable, len(REFERENCE)))


def dev_scores(model: Model, source: Mined) -> list[Scores]:
    """Score a source's held-out lists that have a relevant document."""
    rows = np.flatnonzero(source.dev.relevant.any(axis=1))
    return [_scores(model, source, source.dev, row) for row in rows]


def _train_scores(model: Model, source: Mined) -> list[Scores]:
    """Score some training lists; their labels are not used."""
    count = len(source.train.queries)
    rows = np.linspace(0, count - 1, min(BOUND_LISTS, count)).astype(int)
    return [_scores(model, source, source.train, row) for row in rows]


def _scores(model: Model, source: Mined, lists: Lists, row: Any) -> Scores:
    present = lists.documents[row] != NONE
    scored = score_list(model, *source.list_texts(lists, row))
    return Scores(
        source.name,
        scored.early,
        scored.final,
        lists.lexical[row][present].astype(np.float64),
        lists.relevant[row][present],
        scored.means,
    )


@dataclass(frozen=True, slots=True)
class ListScores:
    """Logits of one list, ``(texts,)``, at the first exit and after the last stage.

    `means` are the documents' unit mean vectors, ``(texts, dim)``, None for a cross-encoder.
    """

    early: Floats
    final: Floats
    means: Floats | None


def score_list(model: Model, query: str, texts: Sequence[str]) -> ListScores:
    """Score a list with every stage of a model, without early exit."""
    prompt = model.query_row(query)
    rows = model.rows(prompt, texts)
    query_states = model.query_states(prompt)
    early, final = np.empty(len(rows)), np.empty(len(rows))
    indices, means = [], []
    for group in schedule([len(row.ids) for row in rows]):
        batch = Batch([rows[index] for index in group.rows], [query_states] * len(group.rows))
        for number, stage in enumerate(model.stages):
            batch, logits = stage(batch)
            batch = replace(batch, logits=logits)
            if number == 0:
                early[group.rows] = logits
        final[group.rows] = logits
        indices.append(group.rows)
        if batch.means is not None:
            means.append(batch.means)
    if not means:
        return ListScores(early, final, None)
    input_order = np.argsort(np.concatenate(indices))
    return ListScores(early, final, np.concatenate(means)[input_order].astype(np.float64))
