"""``resift train``: fine-tune a late-interaction model on a user's pairs or judgments.

The base's logits are the teacher, so that the model does not forget what the labels do not cover.
Some queries are held out; the new model is written only if it is better than the base on them.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.convert.late_interaction import Float32Model
from resift.convert.output import check_new_folder, put_folder
from resift.errors import DatasetError, ModelError, QueryError
from resift.evaluation.collection import open_collection
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import resolve
from resift.rerank.loading import load_model
from resift.rerank.models import Encoder, LateInteractionModel, Model
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens
from resift.training.base import open_base
from resift.training.export import dev_scores, export, score_list
from resift.training.fit import mean_ndcg
from resift.training.groups import Corpus
from resift.training.loop import train
from resift.training.mining import NONE, Lists, Mined, mine
from resift.training.network import Network
from resift.training.pairs import TrainingSource, pair_source, read_pairs
from resift.training.recipe import RECIPES, MiningSpec, Recipe, SourceSpec, read_recipe
from resift.training.teacher_run import TeacherRun, full_texts

MIN_QUERIES = 40  # fewer are too few to train and to measure on
HELD_OUT, MIN_HELD_OUT, MAX_HELD_OUT = 0.2, 20, 200  # share and numbers of the queries
MAX_STEPS = 600
FUSION_QUERIES = 100  # with fewer held-out queries, the base's fusion weight is kept
LICENCE = "your own"
SEED = 7

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tuned:
    """nDCG@10 of the base and of the tuned int8 model on the held-out queries."""

    queries: int
    held_out: int
    base: float
    tuned: float


def fine_tune(
    data: Path | TeacherRun,
    base_name: str,
    out: Path,
    work: Path | None,
    progress: Progress,
    epochs: float = 3.0,
) -> Tuned:
    """Train on `data`, and write `out`.

    It is a file of pairs, a BEIR folder with qrels, or the run of a teacher over a BEIR folder.
    `work` is the folder of the run, to resume it; None is a temporary folder. Raises `DatasetError`
    for data that is too small or unreadable, and `ModelError` if the model is not better than the
    base; then nothing is written.
    """
    check_new_folder(out)
    base = open_base(base_name)
    artifact = load_artifact(resolve(base_name))
    source = _source(data, base.tokens(), progress)
    learned = len(source.queries) - len(source.dev)
    progress(f"{learned} queries to train on, {len(source.dev)} held out")
    encoder = Encoder(base.tokens(), open_session(artifact.stages[0]))
    mined = mine(source, SourceSpec(data.stem, LICENCE), MiningSpec(), encoder, None, SEED)
    model = load_model(artifact)
    before = _quality(model, mined)
    progress(f"base: nDCG@10 {before:.4f} on held-out queries")
    with tempfile.TemporaryDirectory() as temporary:
        weights = _train(base, mined, model, work or Path(temporary), epochs)
        tuned = replace(base, name=out.name, base_model=base.name, weights=weights)
        enough = len(source.dev) >= FUSION_QUERIES
        fusion_weight = None if enough else artifact.manifest.fusion_weight
        folder = Path(temporary) / "artifact"
        export(tuned, [mined], folder, fusion_weight=fusion_weight)
        after = _quality(load_model(load_artifact(folder)), mined)
        if not after > before:
            raise ModelError(
                f"{data}: nDCG@10 on held-out queries is {after:.4f} after training and "
                f"{before:.4f} before, so nothing was written; add more pairs"
            )
        put_folder(folder, out)
    return Tuned(learned, len(source.dev), before, after)


def _train(
    base: Float32Model, mined: Mined, model: Model, work: Path, epochs: float
) -> dict[str, NDArray[np.float32]]:
    """Train on one source; returns the weights."""
    recipe = _recipe(len(mined.train.queries), epochs)
    layers = base.cross_attention_layers or recipe.network.cross_attention_layers
    network = Network(base.weights, base.shape, layers)
    terms = _term_parts(model, mined, mined.train), _term_parts(model, mined, mined.dev)
    logits = _base_logits(model, mined)
    corpus = Corpus.of(mined, base.tokens(), recipe.network, logits, terms)
    train(network, [corpus], recipe, work)
    return network.arrays()


def _recipe(queries: int, epochs: float) -> Recipe:
    recipe = read_recipe(RECIPES / "fine-tune.toml")
    steps = round(epochs * queries / recipe.loop.queries)
    steps = min(max(steps, 2 * recipe.loop.dev_every), MAX_STEPS)
    return replace(recipe, loop=replace(recipe.loop, steps=steps))


def _base_logits(model: Model, mined: Mined) -> NDArray[np.float32]:
    """The base's logits for all candidates of the training lists."""
    lists = mined.train
    logits = np.full(lists.documents.shape, np.nan, np.float32)
    for row in range(len(lists.queries)):
        scores = score_list(model, *mined.list_texts(lists, row))
        logits[row, lists.documents[row] != NONE] = scores.final
    return logits


def _term_parts(model: Model, mined: Mined, lists: Lists) -> NDArray[np.float32]:
    """What term matching adds to the logits of the lists' candidates; 0 after a list's end."""
    parts = np.zeros(lists.documents.shape, np.float32)
    if isinstance(model, LateInteractionModel):
        for row in range(len(lists.queries)):
            query, texts = mined.list_texts(lists, row)
            parts[row, lists.documents[row] != NONE] = model.term_parts(query, texts)
    return parts


def _quality(model: Model, mined: Mined) -> float:
    scores = dev_scores(model, mined)
    if not scores:
        raise DatasetError(
            f"{mined.name}: no held-out query retrieves its relevant document; expected texts that "
            "share words with their queries"
        )
    return mean_ndcg(scores, lambda entry: entry.final)


def _source(data: Path | TeacherRun, tokens: Tokens, progress: Progress) -> TrainingSource:
    """Read pairs or judgments, and hold out a share of their queries."""
    rows = _rows(data, progress)
    queries = {row["query"] for row in rows}
    for query in queries:
        try:
            tokens.whole_query(query)
        except QueryError as error:
            raise DatasetError(f"{data}: {query[:60]!r}: {error}") from error
    if len(queries) < MIN_QUERIES:
        raise DatasetError(
            f"{data}: {len(queries)} queries with a relevant text; at least {MIN_QUERIES} are "
            "needed, some to train on and some to measure on"
        )
    dev = min(max(round(HELD_OUT * len(queries)), MIN_HELD_OUT), MAX_HELD_OUT)
    spec = SourceSpec(data.stem, LICENCE, queries=len(queries) - dev, dev=dev)
    return pair_source(rows, spec, MiningSpec().words, SEED)


def _rows(data: Path | TeacherRun, progress: Progress) -> list[dict[str, Any]]:
    if isinstance(data, TeacherRun):
        rows, notes = data.pairs()
        for note in notes:
            progress(note)
        return rows
    return _judgments(data, progress) if data.is_dir() else list(read_pairs(data))


def _judgments(folder: Path, progress: Progress) -> list[dict[str, Any]]:
    """Read judgments of a BEIR folder as pairs; a document of grade 1 or more is relevant."""
    collection = open_collection(folder)
    queries, qrels = collection.queries(), collection.qrels()
    corpus = collection.read_documents({doc_id for grades in qrels.values() for doc_id in grades})
    for note in corpus.notes:
        progress(note)
    texts = full_texts(corpus.by_id)
    rows: list[dict[str, Any]] = []
    missing = 0
    for query_id, grades in qrels.items():
        judged = {doc_id: grade for doc_id, grade in grades.items() if doc_id in texts}
        missing += len(grades) - len(judged)
        negatives = [texts[doc_id] for doc_id, grade in judged.items() if grade < 1]
        rows += [
            {"query": queries[query_id], "positive": texts[doc_id], "negatives": negatives}
            for doc_id, grade in judged.items()
            if grade >= 1 and queries.get(query_id, "").strip()
        ]
    if missing:
        progress(f"{missing} judgments left out: their documents are empty or not in the corpus")
    return rows
