"""Add term matching to a late-interaction model, without training.

    python -m resift.training.add_terms PAIRS_FOLDER TERMS_FOLDER OUT --base FOLDER [--weight 1.0]
        [--judged COLLECTIONS_FOLDER] [--work FOLDER] [--recipe TOML]

TERMS_FOLDER is a learned-sparse checkpoint with the base's vocabulary (`convert.terms`). The base's
encoder stays as it is to the byte, so vectors of an index stay valid, and so do the weights of the
cross-attention layers. Exit bounds, calibration and reference logits are fitted again, on the
held-out lists of the recipe's sources. Fusion and feedback weights stay. Needs pip install
'resift[train]'.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from resift.convert.graph import GraphBuilder, check_graph
from resift.convert.late_interaction import (
    CROSS_ATTENTION,
    LATE,
    Float32Model,
    file_names,
    write_float32,
)
from resift.convert.late_interaction_graph import TermColumns, late_graph, late_logit
from resift.convert.output import check_new_folder, put_folder
from resift.convert.terms import read_term_model
from resift.errors import ModelError, ResiftError
from resift.rerank.artifact import (
    Artifact,
    Manifest,
    load_artifact,
    sha256,
    write_manifest,
)
from resift.rerank.catalogue import resolve
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.training.base import open_base
from resift.training.bundle import mined_with
from resift.training.export import fitted, range_texts
from resift.training.mining import Mined
from resift.training.recipe import RECIPES, read_recipe

WEIGHT = 1.0
"""Of the feature, in logits (LOG.md, 2026-11-27)."""

MAX_WEIGHT = 100.0


def main() -> None:
    """Write the model, and print its files' size."""
    options = _options()
    try:
        manifest = _run(options)
    except ResiftError as error:
        raise SystemExit(f"error: {error}") from error
    size = sum(file.stat().st_size for file in options.out.iterdir())
    print(f"{options.out}: {manifest.name}, {size / 1e6:.2f} MB", file=sys.stderr)  # noqa: T201


def _run(options: argparse.Namespace) -> Manifest:
    recipe = read_recipe(options.recipe)
    base = open_base(options.base)
    if base.terms is not None:
        raise ModelError(f"{options.base}: has term matching; expected a model without it")
    check_new_folder(options.out)
    terms = read_term_model(options.terms, base.tokenizer, base.max_tokens)
    artifact = load_artifact(resolve(options.base))
    encoder = Encoder(base.tokens(), open_session(artifact.stages[0]))
    sources = mined_with(recipe, encoder, None, options.pairs, options.work, options.judged)
    sources = [source for source in sources if len(source.train.queries)]  # as `bundle` fits
    model = replace(base, terms=terms, term_weight=options.weight)
    with tempfile.TemporaryDirectory() as temporary:
        manifest = add_terms(artifact, model, sources, Path(temporary))
        put_folder(Path(temporary), options.out)
    return manifest


def add_terms(artifact: Artifact, model: Float32Model, sources: list[Mined], out: Path) -> Manifest:
    """Write `model`, the artifact's weights with term matching, to the empty folder `out`."""
    encoder, _, cross_attention = artifact.stages
    for file in (encoder, artifact.tokenizer):
        shutil.copy(file, out / file.name)
    with tempfile.TemporaryDirectory() as temporary:
        exact = Path(temporary)
        write_float32(model, exact)
        rows = model.tokens().single(range_texts(sources))
        if model.terms is None:
            raise ModelError(f"{model.name}: has no term matching; expected a checkpoint for it")
        terms = model.terms.write_int8(exact, out, rows)
        scales = state_scales(cross_attention)
        layers, dim = scales.shape
        onnx.save(late_graph(layers, dim, scales, terms), str(out / LATE))
        graph = with_own_logit(onnx.load(str(cross_attention)), model, scales, terms)
        onnx.save(graph, str(out / CROSS_ATTENTION))
        manifest = replace(
            artifact.manifest,
            late_interaction=model.late,
            files={name: sha256(out / name) for name in file_names(model)},
            reference=(),
        )
        write_manifest(out, manifest)
        weights = manifest.fusion_weight, manifest.feedback_weight
        manifest = fitted(manifest, out, exact, sources, weights)
    write_manifest(out, manifest)
    return manifest


def state_scales(cross_attention: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The size of an int8 step of token states, ``(layers, dim)``, from a graph that reads them."""
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(str(cross_attention)).graph.initializer
    }
    names = [name for name in constants if name.startswith("states.") and name.endswith(".scale")]
    return np.stack([constants[f"states.{index}.scale"] for index in range(len(names))])


def with_own_logit(
    model: onnx.ModelProto,
    weights: Float32Model,
    scales: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    terms: TermColumns,
) -> onnx.ModelProto:
    """A graph of cross-attention that computes late interaction's logit rather than reads it."""
    layers, dim = scales.shape
    g = GraphBuilder()
    logit = late_logit(g, layers - 1, dim, scales, weights.weights)
    ports = {port.name for port in model.graph.input}

    def renamed(name: str) -> str:
        return name if name in ports or not name else f"late.{name}"

    for constant in g.weights.values():
        constant.name = renamed(constant.name)
        model.graph.initializer.append(constant)
    for node in g.nodes:
        node.name = renamed(node.name)
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
    others = list(model.graph.node)
    for node in others:
        node.input[:] = [renamed(logit) if name == "logits" else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend([*g.nodes, *others])
    inputs = [port for port in model.graph.input if port.name != "logits"]
    for port in inputs:
        if port.name in ("query_states", "states"):
            port.type.tensor_type.shape.dim[2].dim_value = layers * dim + terms.dim
    copies = [onnx.ValueInfoProto.FromString(port.SerializeToString()) for port in inputs]
    del model.graph.input[:]
    model.graph.input.extend(copies)
    check_graph(model)
    return model


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, help="folder of NAME.jsonl.gz")
    parser.add_argument("terms", type=Path, help="transformers folder of the sparse model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--weight", type=_weight, default=WEIGHT, help="of the feature, in logits")
    parser.add_argument("--base", required=True, help="a model's folder")
    parser.add_argument("--judged", type=Path, help="folder of collections to exclude")
    parser.add_argument("--work", type=Path, default=Path(".model"))
    parser.add_argument("--recipe", type=Path, default=RECIPES / "bundled.toml")
    return parser.parse_args()


def _weight(text: str) -> float:
    weight = float(text)
    if not 0 < weight <= MAX_WEIGHT:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0, at most {MAX_WEIGHT}")
    return weight


if __name__ == "__main__":
    main()
