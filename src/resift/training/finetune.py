"""``resift train``: a late-interaction model made better on a user's own pairs or judgments, or left alone.

The base's own logits are the teacher, so that what it knows is kept where the labels are silent;
some queries are held out, and the model that is written is the best on them. Where none is
better than the base, nothing is written.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import DatasetError, ModelError, QueryError
from resift.evaluation.collection import open_collection
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import resolve
from resift.rerank.models import Encoder, Model, load_model
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.training.base import Base, open_base
from resift.training.export import Identity, dev_scores, export
from resift.training.fit import mean_ndcg
from resift.training.folders import check_new, put_model
from resift.training.groups import Corpus
from resift.training.loop import train
from resift.training.mining import NONE, Mined, mine
from resift.training.network import Network
from resift.training.pairs import TrainingSource, pair_source, read_pairs
from resift.training.recipe import RECIPES, MiningSpec, Recipe, SourceSpec, read_recipe
from resift.training.score import score_list

MIN_QUERIES = 40  # fewer cannot be both learned from and measured on
HELD_OUT = (0.2, 20, 200)  # share of the queries, at least, at most
MAX_STEPS = 600
FUSION_QUERIES = 100
OWN = "your own"
SEED = 7

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it: nDCG@10 on held-out queries, of the base and of the int8 model written."""

    queries: int
    held_out: int
    base: float
    tuned: float


def fine_tune(
    data: Path,
    base_name: str,
    out: Path,
    work: Path | None,
    say: Progress,
    epochs: float = 3.0,
) -> Tuned:
    """Train on `data`, a file of pairs or a BEIR folder with qrels, and write `out`.

    `work` keeps the run so that it can be gone on with; None is a temporary folder. Raises
    `DatasetError` for data too small or unreadable, `ModelError` where the model did not become
    better than the base: nothing is written then.
    """
    check_new(out)
    base = open_base(base_name)
    artifact = load_artifact(resolve(base_name))
    tokens = Tokens(load_tokenizer(base.tokenizer), base.max_tokens)
    source = _source(data, tokens, say)
    learned = len(source.queries) - len(source.dev)
    say(f"{learned} queries to learn from, {len(source.dev)} held out")
    encoder = Encoder(tokens, open_session(artifact.stages[0]))
    mined = mine(source, SourceSpec(data.stem, OWN), MiningSpec(), encoder, None, SEED)
    model = load_model(artifact)
    before = _measured(model, mined, "none of the held-out queries finds its answer")
    say(f"base: nDCG@10 {before:.4f} on held-out queries")
    recipe = _recipe(mined, epochs)
    with tempfile.TemporaryDirectory() as temporary:
        network = _trained(recipe, base, mined, model, work or Path(temporary))
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
        identity = Identity(out.name, artifact.manifest.name, base.licence, base.max_tokens)
        made = Path(temporary) / "artifact"
        # The first stage's weight cannot be told from so few lists.
        own = artifact.manifest.fusion_weight if len(source.dev) < FUSION_QUERIES else None
        export(weights, base.shape, identity, base.tokenizer, [mined], made, fusion_weight=own)
        after = _measured(load_model(load_artifact(made)), mined, "")
        if not after > before:
            raise ModelError(
                f"{data}: nDCG@10 on held-out queries is {after:.4f} after training and "
                f"{before:.4f} before, so nothing was written; more pairs may help"
            )
        put_model(made, out)
    return Tuned(learned, len(source.dev), before, after)


def _trained(recipe: Recipe, base: Base, mined: Mined, model: Model, work: Path) -> Network:
    layers = base.cross_attention_layers or recipe.network.cross_attention_layers
    network = Network(base.weights, base.shape, base.late, layers)
    tokens = Tokens(load_tokenizer(base.tokenizer), base.max_tokens)
    limits = recipe.network.query_tokens, recipe.network.document_tokens
    corpus = Corpus.of(mined, tokens, *limits, _own_logits(model, mined))
    train(network, [corpus], recipe, work)
    return network


def _own_logits(model: Model, mined: Mined) -> NDArray[np.float32]:
    """What the base says of every candidate of the training lists."""
    lists = mined.train
    logits = np.full(lists.documents.shape, np.nan, np.float32)
    for row, query in enumerate(lists.queries):
        known = lists.documents[row] != NONE
        texts = [mined.texts[place] for place in lists.documents[row][known]]
        logits[row, known] = score_list(model, mined.query_texts[int(query)], texts).final
    return logits


def _recipe(mined: Mined, epochs: float) -> Recipe:
    recipe = read_recipe(RECIPES / "fine-tune.toml")
    steps = round(epochs * len(mined.train.queries) / recipe.loop.queries)
    steps = min(max(steps, 2 * recipe.loop.dev_every), MAX_STEPS)
    return replace(recipe, loop=replace(recipe.loop, steps=steps))


def _measured(model: Model, mined: Mined, empty: str) -> float:
    scores = dev_scores(model, mined)
    if not scores:
        raise DatasetError(f"{mined.name}: {empty}; hold answers that share words with questions")
    return mean_ndcg(scores, [own.final for own in scores])


def _source(data: Path, tokens: Tokens, say: Progress) -> TrainingSource:
    """Pairs or judgments, a share of their queries held out."""
    rows = _judgments(data, say) if data.is_dir() else list(read_pairs(data))
    for query in {row["query"] for row in rows}:
        try:
            tokens.whole_query(query)
        except QueryError as error:
            raise DatasetError(f"{data}: {query[:60]!r}: {error}") from error
    queries = len({row["query"] for row in rows})
    if queries < MIN_QUERIES:
        raise DatasetError(
            f"{data}: {queries} queries with an answer; at least {MIN_QUERIES} are needed, some to "
            "learn from and some to measure on"
        )
    share, least, most = HELD_OUT
    dev = min(max(round(share * queries), least), most)
    spec = SourceSpec(data.stem, OWN, queries=queries - dev, dev=dev)
    return pair_source(rows, spec, MiningSpec().words, SEED)


def _judgments(folder: Path, say: Progress) -> list[dict[str, Any]]:
    """A BEIR folder's qrels as pairs: grade 1 and more answers, 0 and less does not."""
    collection = open_collection(folder)
    queries, qrels = collection.queries(), collection.qrels()
    corpus = collection.read({doc_id for grades in qrels.values() for doc_id in grades})
    for note in corpus.notes:
        say(note)
    texts = {
        doc_id: f"{own.title}\n{own.text}" if own.title else own.text
        for doc_id, own in corpus.by_id.items()
    }
    texts = {doc_id: text for doc_id, text in texts.items() if text.strip()}
    rows: list[dict[str, Any]] = []
    missing = 0
    for query_id, grades in qrels.items():
        judged = {doc_id: grade for doc_id, grade in grades.items() if doc_id in texts}
        missing += len(grades) - len(judged)
        wrong = [texts[doc_id] for doc_id, grade in judged.items() if grade < 1]
        rows += [
            {"query": queries[query_id], "positive": texts[doc_id], "negatives": wrong}
            for doc_id, grade in judged.items()
            if grade >= 1 and queries.get(query_id, "").strip()
        ]
    if missing:
        say(f"{missing} judgments left out: their documents are empty or not in the corpus")
    return rows
