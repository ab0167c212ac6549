"""Convert a bi-encoder to an embedder's artifact, and check int8 against float32.

The steps: read the checkpoint → write the float32 graph → quantise and check → write the manifest.
"""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert.bi_encoder import BiEncoder, read_bi_encoder
from resift.convert.calibration_text import CalibrationTexts
from resift.convert.check import described
from resift.convert.embedder_check import EmbedderTexts, Int8Encoder, known_texts
from resift.convert.graph import save_graph
from resift.convert.output import Conversion, Parity, finish, new_manifest, with_report
from resift.convert.stages import vector_graph
from resift.errors import ModelError, ParityError
from resift.rerank.artifact import TOKENIZER, Manifest
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer

ENCODER = "encoder.onnx"

Floats = NDArray[np.float32]

_log = logging.getLogger("resift")


def convert_embedder(
    name: str,
    checkpoint: Path,
    out: Path,
    texts: CalibrationTexts,
    *,
    revision: str | None,
    int8: bool,
    prompts: tuple[str | None, str | None] = (None, None),
    work: Path | None = None,
) -> Conversion:
    """Convert the folder `checkpoint`, known as `name`, at a commit, into the new folder `out`.

    `prompts`, of queries and of passages, go before those of the checkpoint. `work` is a folder for
    temporary files. int8 that does not order texts as float32 does is not used. Raises `ModelError`
    for a checkpoint that cannot be converted; then `out` is not written.
    """
    source = read_bi_encoder(checkpoint, name, prompts)
    _log.info(
        "%s: puts %r before queries and %r before passages, pools by %s, reads %d tokens",
        name, source.query_prompt, source.passage_prompt, source.pooling, source.encoder.max_tokens,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="resift-", dir=work) as temporary:
        work, folder = Path(temporary), Path(temporary) / "artifact"
        folder.mkdir()
        source.encoder.tokenizer.tokenizer.save(str(folder / TOKENIZER))
        tokenizer = load_tokenizer(folder / TOKENIZER)
        tokens = Tokens(tokenizer, source.encoder.max_tokens, known_only=False)
        _check_prompts(source, tokens, name)
        known = known_texts(Tokens(tokenizer, source.encoder.max_tokens), texts)
        graph = vector_graph(source.weights, source.shape, source.dense)
        save_graph(graph, folder / ENCODER)
        exact = Encoder(tokens, open_session(folder / ENCODER))
        vectors = expected = _held_out(source, exact, known, name)
        report = None
        if int8:
            encoder = Int8Encoder(source, tokens, known, work)
            report = encoder.write(exact, folder / ENCODER)
            _log.info("%s: %s", name, described(report))
        if is_int8 := report is not None and report.is_int8:
            vectors = _held_out(
                source, Encoder(tokens, open_session(folder / ENCODER)), known, name
            )
        manifest = replace(_manifest(source, name, folder, is_int8), revision=revision)
        manifest = with_report(manifest, report)
        parity = Parity(known.held_out, _pair_cosines(vectors), _pair_cosines(expected))
        conversion = finish(manifest, parity, folder, out, int8=is_int8)
    cosines = (vectors * expected).sum(axis=1)
    similarity = (float(cosines.mean()), float(cosines.min()))
    return replace(conversion, similarity=similarity, report=report)


def _check_prompts(source: BiEncoder, tokens: Tokens, name: str) -> None:
    """Raise `ModelError` for a prompt that leaves a text too little room."""
    room = source.encoder.max_tokens // 2
    for row in tokens.single([source.query_prompt, source.passage_prompt]):
        if row.seen + row.unknown + row.dropped > room:
            raise ModelError(
                f"{name}: a prompt has over {room} tokens, half of what the model reads; shorten "
                "it, by  resift convert --query-prompt … --passage-prompt …"
            )


def _manifest(source: BiEncoder, name: str, folder: Path, is_int8: bool) -> Manifest:
    limit = source.encoder.max_tokens
    return replace(
        new_manifest("embedder", name, folder, [ENCODER], limit, is_int8),
        pooling=source.pooling,
        query_prompt=source.query_prompt,
        passage_prompt=source.passage_prompt,
    )


def _held_out(source: BiEncoder, encoder: Encoder, texts: EmbedderTexts, name: str) -> Floats:
    """The vectors of all held-out queries, then of all texts. Raises `ParityError`."""
    queries, passages = source.prompted(texts.held_out)
    vectors = encoder.vectors([*queries, *passages], source.pooling)
    if not np.isfinite(vectors).all():
        raise ParityError(f"{name}: its vectors are not finite in float32; it cannot be used")
    return vectors


def _pair_cosines(vectors: Floats) -> NDArray[np.float64]:
    """Cosines of queries with their texts; `vectors` has all queries, then all texts."""
    queries, texts = np.split(vectors.astype(np.float64), 2)
    cosines: NDArray[np.float64] = (queries * texts).sum(axis=1)
    return cosines
