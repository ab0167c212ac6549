"""``make model``: makes a model for the package, from data to int8, and prints its table.

    python -m resift.training.bundle PAIRS_FOLDER [--teacher FOLDER] [--work FOLDER]
        [--judged COLLECTIONS_FOLDER] [--recipe TOML] [--out FOLDER]

Mined lists and the training run stay in the work folder and are not done twice; a run goes on at
its last saved step. The artifact is written to ``artifact`` there, or to `--out`: the model in the
package is replaced by hand, once a new one is better by measurement. Sources whose file is missing
stop the command; `manuals.py` makes those that come from Debian packages.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from resift.rerank.artifact import Manifest, load_artifact, write_manifest
from resift.rerank.models import Encoder, load_model
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.training.base import CHECKPOINT, Base, open_base
from resift.training.export import MAX_TOKENS, Identity, dev_scores, export, write_float32
from resift.training.fit import fused, ndcg
from resift.training.graph import encoder_graph
from resift.training.groups import Corpus
from resift.training.loop import train
from resift.training.mining import Mined, load, mine, save
from resift.training.network import Network
from resift.training.pairs import read_judged, read_source
from resift.training.recipe import RECIPES, Recipe, SourceSpec, read_recipe
from resift.training.teacher import open_teacher


def main() -> None:
    """Mine, train, export, and print the table of held-out quality."""
    options = _options()
    recipe = read_recipe(options.recipe)
    base = open_base(CHECKPOINT)
    sources = mined_sources(
        recipe, base, options.pairs, options.work, options.teacher, options.judged
    )
    network = trained(recipe, base, sources, options.work / "run")
    own = [source for source in sources if len(source.train.queries)]
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    identity = Identity(recipe.name, base.base_model, base.licence, base.max_tokens)
    write_float32(weights, base.shape, identity, base.tokenizer, options.work / "float32")
    out = options.out or options.work / "artifact"
    # A model that was trained beside a first stage's say is fused at the weight of its training.
    fusion = recipe.loss.first_stage or None
    made = export(weights, base.shape, identity, base.tokenizer, own, out, fusion_weight=fusion)
    _fuse_alike(options.work / "float32", made)
    print(table(sources, out))  # noqa: T201 - the command's answer


def _fuse_alike(exact: Path, made: Manifest) -> None:
    """The float32 twin ranks with what was fitted for the int8 model, so that the two compare."""
    alike = replace(
        load_artifact(exact).manifest,
        fusion_weight=made.fusion_weight,
        feedback_weight=made.feedback_weight,
        calibration=made.calibration,
    )
    write_manifest(exact, alike)


def mined_sources(
    recipe: Recipe,
    base: Base,
    pairs: Path,
    work: Path,
    teacher: Path | None,
    judged: Path | None,
) -> list[Mined]:
    """Every source of the recipe, from `work` where the very same was mined before."""
    work.mkdir(parents=True, exist_ok=True)
    files = {spec: work / _mined_name(spec, recipe, teacher, judged) for spec in recipe.sources}
    missing = [spec for spec, file in files.items() if not file.is_file()]
    if missing:
        collections = sorted(path for path in judged.iterdir() if path.is_dir()) if judged else []
        kept_out = read_judged(collections)
        tokens = Tokens(load_tokenizer(base.tokenizer), MAX_TOKENS)
        onnx.save(encoder_graph(base.weights, base.shape), str(work / "base.onnx"))
        encoder = Encoder(tokens, open_session(work / "base.onnx"))
        embed = None if teacher is None else open_teacher(teacher)
    for spec in missing:
        file = pairs / f"{spec.name}.jsonl.gz"
        source, removed = read_source(file, spec, kept_out, recipe.mining.words, recipe.seed)
        _say(f"{spec.name}: {len(source.queries)} queries, {len(source.texts)} texts; {removed}")
        taught = embed if spec.queries else None
        save(mine(source, spec, recipe.mining, encoder, taught, recipe.seed), files[spec])
    return [load(file) for file in files.values()]


def _mined_name(spec: SourceSpec, recipe: Recipe, teacher: Path | None, judged: Path | None) -> str:
    """Names all that decides what a source's lists are."""
    given = (spec, recipe.mining, recipe.seed, teacher and teacher.name, judged and judged.name)
    return f"{spec.name}-{hashlib.sha256(repr(given).encode()).hexdigest()[:8]}.npz"


def trained(recipe: Recipe, base: Base, sources: Sequence[Mined], folder: Path) -> Network:
    """The network after the recipe's steps."""
    network = Network(base.weights, base.shape, base.late, recipe.network.cross_attention_layers)
    ready = corpora(recipe, base, sources)
    train(network, ready, replace(recipe, then=None), folder)
    if recipe.then is not None:
        train(network, ready, replace(recipe, loop=recipe.then, then=None), folder / "then")
    return network


def corpora(recipe: Recipe, base: Base, sources: Sequence[Mined]) -> list[Corpus]:
    """Sources tokenised, with the teacher's logits for their candidates.

    The teacher is an ensemble: the base before training, and the cosine of the larger model.
    """
    tokens = Tokens(load_tokenizer(base.tokenizer), MAX_TOKENS)
    limits = recipe.network.query_tokens, recipe.network.document_tokens
    found = []
    for source in sources:
        lists = source.train
        untrained = base.late.logits(lists.untrained.reshape(-1, 3)).reshape(lists.documents.shape)
        logits = recipe.loss.untrained_share * untrained + recipe.loss.teacher_scale * lists.teacher
        found.append(Corpus.of(source, tokens, *limits, logits.astype(np.float32)))
    return found


def table(sources: Sequence[Mined], artifact: Path) -> str:
    """nDCG@10 on held-out lists, a row a source: first stage, first exit, logit, fused."""
    model = load_model(load_artifact(artifact))
    manifest = load_artifact(artifact).manifest
    weights = manifest.fusion_weight, manifest.feedback_weight
    rows: list[tuple[str, ...]] = [("source", "lists", "BM25", "first exit", "logit", "fused")]
    columns = []
    for source in sources:
        scores = dev_scores(model, source)
        if scores:
            ways = [
                [
                    ndcg(values, own.relevant)
                    for values in (own.first_stage, own.early, own.final, fused(own, *weights))
                ]
                for own in scores
            ]
            columns.append(np.mean(ways, axis=0))
            rows.append((source.name, str(len(scores)), *(f"{own:.3f}" for own in columns[-1])))
    rows.append(("mean", "", *(f"{own:.3f}" for own in np.mean(columns, axis=0))))
    return "\n".join("".join(f"{cell:<18}" for cell in row).rstrip() for row in rows)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder of NAME.jsonl.gz")
    parser.add_argument("--teacher", type=Path, help="transformers folder of all-mpnet-base-v2")
    parser.add_argument("--judged", type=Path, help="folder of collections to keep out")
    parser.add_argument("--work", type=Path, default=Path(".model"))
    parser.add_argument("--recipe", type=Path, default=RECIPES / "bundled.toml")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
