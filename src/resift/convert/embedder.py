"""Convert a sentence-transformers bi-encoder to an embedder's artifact, and check it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert.calibration_text import CalibrationTexts, Pairs
from resift.convert.checkpoint import Checkpoint, read_encoder
from resift.convert.graph import save_graph
from resift.convert.modules import (
    module_folder,
    module_kinds,
    read_limit,
    read_pooling,
    read_prompts,
)
from resift.convert.output import Conversion, Parity, finish, new_manifest
from resift.convert.quantise import quantise
from resift.convert.stages import encoder_graph
from resift.errors import ModelError
from resift.rerank.artifact import TOKENIZER, Pooling
from resift.rerank.batching import LENGTH_STEP
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer, pad

MODULE_KINDS = ("Transformer", "Pooling", "Normalize")
PASSAGE_PROMPTS = ("document", "passage", "corpus")
ENCODER = "encoder.onnx"
QUERY_STEP = 3  # activation ranges are measured on all texts and every third query

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BiEncoder:
    """A checkpoint that makes one vector per text; a missing prompt is empty."""

    encoder: Checkpoint
    pooling: Pooling
    query_prompt: str
    passage_prompt: str

    def prompted(self, pairs: Pairs) -> tuple[list[str], list[str]]:
        """The queries and the passages of pairs, with prompts."""
        queries = [self.query_prompt + query for query, _ in pairs]
        return queries, [self.passage_prompt + text for _, text in pairs]


def convert_embedder(
    name: str,
    checkpoint: Path,
    out: Path,
    pairs: CalibrationTexts,
    *,
    revision: str | None,
    int8: bool,
) -> Conversion:
    """Convert the folder `checkpoint`, known as `name`, at a commit, into the new folder `out`.

    Raises `ModelError` for other modules than an encoder and its pooling; then `out` is not
    written.
    """
    source = read_bi_encoder(checkpoint)
    encoder = source.encoder
    queries, passages = source.prompted(pairs.ranges)
    held_out = [text for texts in source.prompted(pairs.held_out) for text in texts]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        encoder.tokenizer.tokenizer.save(str(folder / TOKENIZER))
        tokenizer = load_tokenizer(folder / TOKENIZER)
        tokens = Tokens(tokenizer, encoder.max_tokens, known_only=False)
        save_graph(encoder_graph(encoder.weights, encoder.shape), folder / ENCODER)
        vectors = expected = _artifact_vectors(source, tokens, held_out, folder)
        if int8:
            _write_int8(encoder, tokens, [*passages, *queries[::QUERY_STEP]], folder)
            vectors = _artifact_vectors(source, tokens, held_out, folder)
        manifest = replace(
            new_manifest("embedder", name, folder, [ENCODER], encoder.max_tokens, int8),
            pooling=source.pooling,
            query_prompt=source.query_prompt,
            passage_prompt=source.passage_prompt,
            revision=revision,
        )
        parity = Parity(pairs.held_out, _pair_cosines(vectors), _pair_cosines(expected))
        conversion = finish(manifest, parity, folder, out, int8=int8)
    cosines = (vectors * expected).sum(axis=1)
    return replace(conversion, similarity=(float(cosines.mean()), float(cosines.min())))


def read_bi_encoder(folder: Path) -> BiEncoder:
    """Read a folder of Transformer, Pooling (mean or cls) and Normalize. Raises `ModelError`."""
    for kind in module_kinds(folder):
        if kind not in MODULE_KINDS:
            raise ModelError(
                f"{folder}: its module {kind} cannot be converted; expected "
                f"{', '.join(MODULE_KINDS)} and no other"
            )
    transformer = module_folder(folder, "Transformer")
    encoder = read_encoder(transformer)
    limit = read_limit(transformer, encoder.tokenizer, encoder.max_tokens)
    if limit < LENGTH_STEP:
        raise ModelError(f"{folder}: reads {limit} tokens; a text needs at least {LENGTH_STEP}")
    prompts = read_prompts(folder)
    return BiEncoder(
        replace(encoder, max_tokens=limit - limit % LENGTH_STEP),
        read_pooling(folder),
        query_prompt=prompts.first("query"),
        passage_prompt=prompts.first(*PASSAGE_PROMPTS),
    )


def _write_int8(encoder: Checkpoint, tokens: Tokens, texts: Sequence[str], folder: Path) -> None:
    graph = encoder_graph(encoder.weights, encoder.shape, int8_embeddings=True)
    inputs = {port.name for port in graph.graph.input}
    samples = [
        {name: values for name, values in pad([row]).items() if name in inputs}
        for row in tokens.single(texts)
    ]
    save_graph(quantise(graph, samples), folder / ENCODER)


def _artifact_vectors(
    source: BiEncoder, tokens: Tokens, texts: Sequence[str], folder: Path
) -> Floats:
    return Encoder(tokens, open_session(folder / ENCODER)).vectors(texts, source.pooling)


def _pair_cosines(vectors: Floats) -> NDArray[np.float64]:
    """Cosines of queries with their texts; `vectors` has all queries, then all texts."""
    queries, texts = np.split(vectors.astype(np.float64), 2)
    cosines: NDArray[np.float64] = (queries * texts).sum(axis=1)
    return cosines
