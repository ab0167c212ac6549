"""A sentence-transformers bi-encoder → an embedder's artifact, checked against its torch model."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.errors import ParityError
from resift.extras import require
from resift.rerank.artifact import TOKENIZER, Manifest, load_artifact, sha256, write_manifest
from resift.rerank.late_interaction import unit
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer, pad
from resift.training.bi_encoder import BiEncoder, read_bi_encoder
from resift.training.calibration_text import CalibrationTexts, Pairs
from resift.training.conversion_report import (
    Conversion,
    base_model,
    quantisation,
    reference_pairs,
    tolerance,
    tools,
)
from resift.training.folders import put_model
from resift.training.graph import encoder_graph
from resift.training.quantise import quantise

ENCODER = "encoder.onnx"
SHARE_OF_QUERIES = 3  # activation ranges are read off all texts and every third query
EXPORT_TOLERANCE = 1e-4  # numbers of the float32 graph's unit vectors against the checkpoint's

Floats = NDArray[np.float32]


def convert_embedder(
    name: str, checkpoint: Path, out: Path, pairs: CalibrationTexts, *, int8: bool
) -> Conversion:
    """Convert the folder `checkpoint`, which the manifest calls `name`, into the new folder `out`.

    Raises `ModelError` for what is made of more than an encoder that pools, and `ParityError`
    where the exported graph does not give the checkpoint's vectors; nothing is left at `out` then.
    """
    source = read_bi_encoder(checkpoint)
    queries, texts = _prompted(source, pairs.ranges)
    checked = list(chain(*_prompted(source, pairs.held_out)))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        source.encoder.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        tokenizer, limit = load_tokenizer(folder / TOKENIZER), source.encoder.max_tokens
        tokens = Tokens(tokenizer, limit, known_only=False)
        expected = _torch_vectors(source, checked)
        _export(source, tokens, checked, expected, folder)
        if int8:
            _quantise(source, tokens, [*texts, *queries[::SHARE_OF_QUERIES]], folder)
        found = _vectors(source, tokens, checked, folder)
        cosines = (found * expected).sum(axis=1)
        own, full = _pair_cosines(found), _pair_cosines(expected)
        manifest = replace(
            _manifest(name, source, folder, int8),
            reference=reference_pairs(pairs.held_out, own, full),
            tolerance=tolerance(full, int8),
        )
        write_manifest(folder, manifest)
        load_artifact(folder)
        put_model(folder, out)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    return Conversion(
        manifest.quantisation,
        max_difference=float(np.abs(own - full).max()),
        pairs=len(own),
        megabytes=size,
        similarity=(float(cosines.mean()), float(cosines.min())),
    )


def _export(
    source: BiEncoder, tokens: Tokens, texts: Sequence[str], expected: Floats, folder: Path
) -> None:
    """Write the float32 graph, and check it against the checkpoint's vectors."""
    encoder = source.encoder
    onnx.save(encoder_graph(encoder.weights, encoder.shape), str(folder / ENCODER))
    found = _vectors(source, tokens, texts, folder)
    difference = float(np.abs(found - expected).max())
    if not difference <= EXPORT_TOLERANCE:
        raise ParityError(
            f"the exported graph's vectors are {difference:.5f} from the checkpoint's, allowed are "
            f"{EXPORT_TOLERANCE}; this checkpoint is not laid out as its type says"
        )


def _quantise(source: BiEncoder, tokens: Tokens, texts: Sequence[str], folder: Path) -> None:
    encoder = source.encoder
    graph = encoder_graph(encoder.weights, encoder.shape, int8_embeddings=True)
    feeds = [pad([row]) for row in tokens.single(texts)]
    if not encoder.shape.token_types:
        feeds = [{k: v for k, v in own.items() if k != "token_type_ids"} for own in feeds]
    onnx.save(quantise(graph, feeds), str(folder / ENCODER))


def _vectors(source: BiEncoder, tokens: Tokens, texts: Sequence[str], folder: Path) -> Floats:
    """What the graph in `folder` gives now, one text at a time as in use."""
    return Encoder(tokens, open_session(folder / ENCODER)).vectors(texts, source.pooling)


def _prompted(source: BiEncoder, pairs: Pairs) -> tuple[list[str], list[str]]:
    """Queries and texts of pairs, as they are read."""
    queries = [source.query_prompt + query for query, _ in pairs]
    return queries, [source.passage_prompt + text for _, text in pairs]


def _torch_vectors(source: BiEncoder, texts: Sequence[str]) -> Floats:
    """The checkpoint's own unit vectors: its tokenizer, its model in float32, without padding."""
    torch = require("torch", "convert")
    encoder = source.encoder
    vectors = []
    for text in texts:
        feeds = encoder.tokenizer(
            text, truncation=True, max_length=encoder.max_tokens, return_tensors="pt"
        )
        if not encoder.shape.token_types:
            feeds.pop("token_type_ids", None)
        with torch.inference_mode():
            states = encoder.torch_model(**feeds).last_hidden_state[0].numpy()
        vectors.append(states.mean(axis=0) if source.pooling == "mean" else states[0])
    return unit(np.stack(vectors))


def _pair_cosines(vectors: Floats) -> NDArray[np.float64]:
    """Cosines of queries, the first half, with their texts, the second."""
    queries, texts = np.split(vectors.astype(np.float64), 2)
    cosines: NDArray[np.float64] = (queries * texts).sum(axis=1)
    return cosines


def _manifest(name: str, source: BiEncoder, folder: Path, int8: bool) -> Manifest:
    """All but what the artifact itself says of pairs."""
    return Manifest(
        name=Path(base_model(name)).name,
        kind="embedder",
        base_model=base_model(name),
        licence="as the checkpoint's",
        quantisation=quantisation(int8),
        max_tokens=source.encoder.max_tokens,
        stages=(ENCODER,),
        tolerance=0.0,
        reference=(),
        files={own: sha256(folder / own) for own in (ENCODER, TOKENIZER)},
        made_with=tools(int8),
        pooling=source.pooling,
        query_prompt=source.query_prompt,
        passage_prompt=source.passage_prompt,
    )
