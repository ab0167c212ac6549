"""Convert a sentence-transformers bi-encoder to an embedder's artifact, and check it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.convert.calibration_text import CalibrationTexts, Pairs
from resift.convert.checkpoint import Checkpoint, LoadModel, read_checkpoint
from resift.convert.folder import (
    module_folder,
    module_kinds,
    read_limit,
    read_pooling,
    read_prompts,
)
from resift.convert.output import Conversion, Parity, finish, new_manifest
from resift.convert.quantise import quantise
from resift.convert.stages import encoder_graph
from resift.errors import ModelError, ParityError
from resift.rerank.artifact import TOKENIZER, Pooling
from resift.rerank.batching import LENGTH_STEP
from resift.rerank.late_interaction import unit
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer, pad

MODULE_KINDS = ("Transformer", "Pooling", "Normalize")
PASSAGE_PROMPTS = ("document", "passage", "corpus")
ENCODER = "encoder.onnx"
QUERY_STEP = 3  # activation ranges are measured on all texts and every third query
EXPORT_TOLERANCE = 1e-4  # of the float32 graph's unit vectors against the checkpoint's

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

    def vectors(self, texts: Sequence[str]) -> Floats:
        """The checkpoint's unit vectors ``(n, dim)``, computed one text at a time."""
        states = (self.encoder.states(text) for text in texts)
        return unit(np.stack([x.mean(axis=0) if self.pooling == "mean" else x[0] for x in states]))


def convert_embedder(
    name: str,
    checkpoint: Path,
    out: Path,
    pairs: CalibrationTexts,
    *,
    load: LoadModel,
    int8: bool,
) -> Conversion:
    """Convert the folder `checkpoint`, known as `name`, into the new folder `out`.

    Raises `ModelError` for other modules than an encoder and its pooling, and `ParityError` if the
    exported graph does not give the checkpoint's vectors; then `out` is not written.
    """
    source = read_bi_encoder(checkpoint, load)
    encoder = source.encoder
    queries, passages = source.prompted(pairs.ranges)
    held_out = [text for texts in source.prompted(pairs.held_out) for text in texts]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        encoder.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        tokenizer = load_tokenizer(folder / TOKENIZER)
        tokens = Tokens(tokenizer, encoder.max_tokens, known_only=False)
        expected = source.vectors(held_out)
        onnx.save(encoder_graph(encoder.weights, encoder.shape), str(folder / ENCODER))
        vectors = _artifact_vectors(source, tokens, held_out, folder)
        _check_parity(vectors, expected)
        if int8:
            _write_int8(encoder, tokens, [*passages, *queries[::QUERY_STEP]], folder)
            vectors = _artifact_vectors(source, tokens, held_out, folder)
        manifest = replace(
            new_manifest("embedder", name, folder, [ENCODER], encoder.max_tokens, int8),
            pooling=source.pooling,
            query_prompt=source.query_prompt,
            passage_prompt=source.passage_prompt,
        )
        parity = Parity(pairs.held_out, _pair_cosines(vectors), _pair_cosines(expected))
        conversion = finish(manifest, parity, folder, out, int8=int8)
    cosines = (vectors * expected).sum(axis=1)
    return replace(conversion, similarity=(float(cosines.mean()), float(cosines.min())))


def read_bi_encoder(folder: Path, load: LoadModel) -> BiEncoder:
    """Read a folder of Transformer, Pooling (mean or cls) and Normalize. Raises `ModelError`."""
    for kind in module_kinds(folder):
        if kind not in MODULE_KINDS:
            raise ModelError(
                f"{folder}: its module {kind} cannot be converted; expected "
                f"{', '.join(MODULE_KINDS)} and no other"
            )
    transformer = module_folder(folder, "Transformer")
    encoder = read_checkpoint(transformer, load, with_head=False)
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


def _check_parity(vectors: Floats, expected: Floats) -> None:
    difference = float(np.abs(vectors - expected).max())
    if not difference <= EXPORT_TOLERANCE:
        raise ParityError(
            f"the exported graph's vectors are {difference:.5f} from the checkpoint's, at most "
            f"{EXPORT_TOLERANCE} is allowed; this checkpoint's layers are not those that its "
            "model_type stands for"
        )


def _write_int8(encoder: Checkpoint, tokens: Tokens, texts: Sequence[str], folder: Path) -> None:
    graph = encoder_graph(encoder.weights, encoder.shape, int8_embeddings=True)
    inputs = {port.name for port in graph.graph.input}
    samples = [
        {name: values for name, values in pad([row]).items() if name in inputs}
        for row in tokens.single(texts)
    ]
    onnx.save(quantise(graph, samples), str(folder / ENCODER))


def _artifact_vectors(
    source: BiEncoder, tokens: Tokens, texts: Sequence[str], folder: Path
) -> Floats:
    return Encoder(tokens, open_session(folder / ENCODER)).vectors(texts, source.pooling)


def _pair_cosines(vectors: Floats) -> NDArray[np.float64]:
    """Cosines of queries with their texts; `vectors` has all queries, then all texts."""
    queries, texts = np.split(vectors.astype(np.float64), 2)
    cosines: NDArray[np.float64] = (queries * texts).sum(axis=1)
    return cosines
