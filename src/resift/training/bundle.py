"""``make model``: train a model for the package, export it to int8 and print its quality.

    python -m resift.training.bundle PAIRS_FOLDER [--teacher FOLDER] [--work FOLDER]
        [--judged COLLECTIONS_FOLDER] [--recipe TOML]

The work folder stores mined lists, the training run, which resumes at its last saved step, and the
artifact; replace the model in the package by hand. A source without a file is an error;
`benchmarks/manuals.py` makes the files that come from Debian packages.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from resift.convert.late_interaction import Float32Model, write_float32
from resift.convert.stages import encoder_graph
from resift.rerank.artifact import load_artifact, write_manifest
from resift.rerank.loading import load_model
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.training.base import CHECKPOINT, open_base, open_teacher
from resift.training.export import dev_scores, export
from resift.training.fit import ndcg
from resift.training.groups import Corpus
from resift.training.loop import train
from resift.training.mining import Mined, load, mine, save
from resift.training.network import Network
from resift.training.pairs import read_judged, read_source
from resift.training.recipe import RECIPES, Recipe, SourceSpec, read_recipe


def main() -> None:
    """Mine, train, export, and print the quality on held-out lists."""
    options = _options()
    recipe = read_recipe(options.recipe)
    base = open_base(CHECKPOINT)
    sources = mined_sources(
        recipe, base, options.pairs, options.work, options.teacher, options.judged
    )
    network = Network(base.weights, base.shape, recipe.network.cross_attention_layers)
    train(network, corpora(recipe, base, sources), recipe, options.work / "run")
    model = replace(base, name=recipe.name, weights=network.arrays())
    write_float32(model, options.work / "float32")
    out = options.work / "artifact"
    trained = [source for source in sources if len(source.train.queries)]
    # A model that was trained with first-stage scores keeps the fusion weight of its training.
    manifest = export(model, trained, out, fusion_weight=recipe.loss.first_stage or None)
    # The float32 model uses the numbers fitted for int8, so that the two can be compared.
    exact = replace(
        load_artifact(options.work / "float32").manifest,
        fusion_weight=manifest.fusion_weight,
        feedback_weight=manifest.feedback_weight,
        calibration=manifest.calibration,
    )
    write_manifest(options.work / "float32", exact)
    print(table(sources, out))  # noqa: T201 - the result


def mined_sources(
    recipe: Recipe,
    base: Float32Model,
    pairs: Path,
    work: Path,
    teacher: Path | None,
    judged: Path | None,
) -> list[Mined]:
    """Mine every source of the recipe with `base`, or load it from `work`."""
    work.mkdir(parents=True, exist_ok=True)
    onnx.save(encoder_graph(base.weights, base.shape), str(work / "base.onnx"))
    encoder = Encoder(base.tokens(), open_session(work / "base.onnx"))
    return mined_with(recipe, encoder, teacher, pairs, work, judged)


def mined_with(
    recipe: Recipe,
    encoder: Encoder,
    teacher: Path | None,
    pairs: Path,
    work: Path,
    judged: Path | None,
) -> list[Mined]:
    """Mine every source of the recipe, or load it from `work` if its settings are the same."""
    work.mkdir(parents=True, exist_ok=True)

    def mined_file(spec: SourceSpec) -> Path:
        settings = (spec, recipe.mining, recipe.seed, teacher and teacher.name)
        key = repr((*settings, judged and judged.name))
        return work / f"{spec.name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.npz"

    files = {spec: mined_file(spec) for spec in recipe.sources}
    missing = [spec for spec, file in files.items() if not file.is_file()]
    if missing:
        collections = sorted(path for path in judged.iterdir() if path.is_dir()) if judged else []
        held_out = read_judged(collections)
        embed = None if teacher is None else open_teacher(teacher)
    for spec in missing:
        file = pairs / f"{spec.name}.jsonl.gz"
        source, removed = read_source(file, spec, held_out, recipe.mining.words, recipe.seed)
        print(  # noqa: T201 - progress
            f"{spec.name}: {len(source.queries)} queries, {len(source.texts)} texts; {removed}",
            file=sys.stderr,
            flush=True,
        )
        spec_teacher = embed if spec.queries else None
        save(mine(source, spec, recipe.mining, encoder, spec_teacher, recipe.seed), files[spec])
    return [load(file) for file in files.values()]


def corpora(recipe: Recipe, base: Float32Model, sources: Sequence[Mined]) -> list[Corpus]:
    """Tokenise sources, and add the teacher's logits for their candidates.

    They combine the untrained base's logits with cosines of the larger model.
    """
    result = []
    for source in sources:
        lists = source.train
        untrained = base.late.logits(lists.untrained.reshape(-1, 3)).reshape(lists.documents.shape)
        logits = recipe.loss.untrained_share * untrained + recipe.loss.teacher_scale * lists.teacher
        result.append(Corpus.of(source, base.tokens(), recipe.network, logits.astype(np.float32)))
    return result


def table(sources: Sequence[Mined], artifact: Path) -> str:
    """A table of nDCG@10 on held-out lists by source: first stage, first exit, logit, fused."""
    manifest = load_artifact(artifact).manifest
    model = load_model(load_artifact(artifact))
    weights = manifest.fusion_weight, manifest.feedback_weight
    rows: list[tuple[str, ...]] = [("source", "lists", "BM25", "first exit", "logit", "fused")]
    means = []
    for source in sources:
        scores = dev_scores(model, source)
        if scores:
            quality = [
                [
                    ndcg(values, entry.relevant)
                    for values in (
                        entry.first_stage,
                        entry.early,
                        entry.final,
                        entry.fused(*weights),
                    )
                ]
                for entry in scores
            ]
            means.append(np.mean(quality, axis=0))
            rows.append((source.name, str(len(scores)), *(f"{value:.3f}" for value in means[-1])))
    rows.append(("mean", "", *(f"{value:.3f}" for value in np.mean(means, axis=0))))
    return "\n".join("".join(f"{cell:<18}" for cell in row).rstrip() for row in rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder of NAME.jsonl.gz")
    parser.add_argument("--teacher", type=Path, help="transformers folder of all-mpnet-base-v2")
    parser.add_argument("--judged", type=Path, help="folder of collections to exclude")
    parser.add_argument("--work", type=Path, default=Path(".model"))
    parser.add_argument("--recipe", type=Path, default=RECIPES / "bundled.toml")
    return parser.parse_args()


if __name__ == "__main__":
    main()
