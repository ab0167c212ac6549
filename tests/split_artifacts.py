"""Small late-interaction artifacts: an encoder, late interaction and cross-attention layers.

Their tokenizer knows `WORDS` and no others; weights are random. Needs onnx and no torch.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

from artifacts import DIM, random_weights
from resift.convert.late_interaction_graph import TermColumns, cross_attention_graph, late_graph
from resift.convert.layers import EncoderShape
from resift.convert.stages import encoder_graph
from resift.convert.terms import SHAPE as TERM_SHAPE
from resift.convert.terms import TermModel
from resift.rerank.artifact import (
    TERM_FILES,
    TOKENIZER,
    Manifest,
    sha256,
    write_manifest,
)
from resift.rerank.late_interaction import LateInteractionWeights
from resift.rerank.tokenization import Tokens, load_tokenizer

LAYERS, CROSS_ATTENTION_LAYERS = 2, 1
SHAPE = EncoderShape(LAYERS, heads=4, epsilon=1e-12, activation="gelu")
LATE = LateInteractionWeights(12.0, 1.5, 2.5, -12.0)
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnpr" for b in "aeiou" for c in "lnrs"]
FILES = ("encoder.onnx", "late.onnx", "cross_attention.onnx")

Weights = dict[str, NDArray[np.float32]]


def split_weights(seed: int = 7, late: LateInteractionWeights = LATE) -> Weights:
    """An encoder, cross-attention layers of their own, late interaction.

    A word weighs more than its position and its neighbours, so texts that share words are similar.
    """
    weights = {
        name: value
        for name, value in random_weights(LAYERS, seed).items()
        if not name.startswith("head.")
    }
    words = "embeddings.word_embeddings.weight"
    weights[words] = weights[words][: len(SPECIALS) + len(WORDS)]
    for name in weights:
        if "position_embeddings" in name or name.endswith("output.dense.weight"):
            weights[name] = weights[name] * np.float32(0.3)
    weights |= {
        name.replace("encoder.", "cross_attention."): value
        for name, value in random_weights(CROSS_ATTENTION_LAYERS, seed + 1).items()
        if name.startswith("encoder.")
    }
    weights["cross_attention.share"] = np.array(0.4, np.float32)
    features = [late.query_maxsim, late.document_maxsim, late.cosine]
    return weights | {
        "late": np.array(features, np.float32),
        "bias": np.array(late.bias, np.float32),
    }


def write_tokenizer(file: Path) -> Path:
    """Whole words between BERT's special tokens."""
    known = {word: index for index, word in enumerate(SPECIALS + WORDS)}
    tokenizer = Tokenizer(WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(file))
    return file


def term_weights(seed: int = 7) -> Weights:
    """A small masked language model under canonical names."""
    weights = random_weights(TERM_SHAPE.layers, seed + 2)
    weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    rng = np.random.default_rng(seed)
    words = "embeddings.word_embeddings.weight"
    weights[words] = weights[words][: len(SPECIALS) + len(WORDS)]
    transform = "cls.predictions.transform"
    weights[f"{transform}.dense.weight"] = rng.normal(0, DIM**-0.5, (DIM, DIM)).astype(np.float32)
    weights[f"{transform}.dense.bias"] = np.zeros(DIM, np.float32)
    weights[f"{transform}.LayerNorm.weight"] = np.full(DIM, 0.3, np.float32)
    weights[f"{transform}.LayerNorm.bias"] = np.zeros(DIM, np.float32)
    weights["cls.predictions.bias"] = rng.normal(-0.5, 0.5, len(weights[words])).astype(np.float32)
    return weights


def term_model(seed: int = 7) -> TermModel:
    """The model of `term_weights`, its table rounded."""
    return TermModel.of(term_weights(seed))


def _write_terms(folder: Path, seed: int) -> TermColumns:
    """Term states are int8 here; they stand as whole numbers beside float16 states."""
    terms = term_model(seed)
    rows = Tokens(load_tokenizer(folder / TOKENIZER), 64).single([" ".join(WORDS[:50])])
    with tempfile.TemporaryDirectory() as exact:
        terms.write_float32(Path(exact))
        return terms.write_int8(Path(exact), folder, rows)


def make_split_artifact(
    folder: Path,
    seed: int = 7,
    late: LateInteractionWeights = LATE,
    cross_attention: bool = True,
    **changes: Any,
) -> Path:
    """Write the artifact, float32, with term matching if `late` has it.

    `changes` are of its manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = split_weights(seed, late)
    layers = CROSS_ATTENTION_LAYERS * cross_attention
    write_tokenizer(folder / TOKENIZER)
    terms = _write_terms(folder, seed) if late.terms else None
    graphs = [
        encoder_graph(weights, SHAPE, cross_attention_layers=layers),
        late_graph(layers + 1, DIM, terms=terms),
    ]
    graphs += [cross_attention_graph(weights, SHAPE, terms=terms)] * cross_attention
    stages = FILES[: len(graphs)]
    for name, graph in zip(stages, graphs, strict=True):
        onnx.save(graph, str(folder / name))
    manifest = Manifest(
        name="tiny-split",
        kind="late_interaction",
        base_model="random",
        licence="apache-2.0",
        quantisation="none (float32)",
        max_tokens=512,
        stages=stages,
        tolerance=1e-3,
        reference=(),
        files={
            name: sha256(folder / name)
            for name in (*stages, TOKENIZER, *(TERM_FILES if terms else ()))
        },
        late_interaction=late,
        embedding_tokens=256,
    )
    write_manifest(folder, replace(manifest, **changes))
    return folder
