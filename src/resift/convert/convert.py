"""Convert a checkpoint to an artifact, and check int8 against float32.

The steps for a cross-encoder: read the checkpoint → fit exits, if any → write float32 graphs →
quantise to int8 → compare logits → write the manifest. `embedder.py` converts bi-encoders.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert.calibration_text import (
    MIN_HELD_OUT,
    CalibrationTexts,
    calibration_texts,
    candidate_lists,
    vocabulary_pairs,
)
from resift.convert.checkpoint import Checkpoint, read_cross_encoder
from resift.convert.embedder import convert_embedder
from resift.convert.exits import Feeds, fit_exits, measure_exits, run_stages, stage_layers
from resift.convert.graph import save_graph
from resift.convert.modules import is_bi_encoder
from resift.convert.output import Conversion, Parity, check_new_folder, finish, new_manifest
from resift.convert.quantise import int8_output, int8_scales, quantise
from resift.convert.stages import stage_graph
from resift.errors import InputError, ParityError
from resift.rerank.artifact import TOKENIZER, load_artifact, write_manifest
from resift.rerank.graph_checks import NEXT_STATES
from resift.rerank.models import Batch, Model, load_model
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer

MEASURED_LISTS = 4  # every fourth candidate list measures exits, the others fit them

Pairs = Sequence[tuple[str, str]]


def convert_folder(
    folder: Path,
    out: Path,
    *,
    name: str,
    revision: str | None = None,
    texts: Path | None = None,
    int8: bool = True,
    exits: Sequence[int] = (),
    label: str | int | None = None,
) -> Conversion:
    """Convert the checkpoint in `folder`, known as `name`, into the new folder `out`.

    A sentence-transformers bi-encoder becomes an embedder, any other checkpoint a cross-encoder.
    `texts` is a file of pairs for activation ranges. A cross-encoder gets an exit after each number
    of layers in `exits`, which rise; `label` is the relevant label of a head with several. Raises
    `ModelError` for a checkpoint that cannot be converted and `InputError` for impossible exits;
    then `out` is not written.
    """
    check_new_folder(out)
    if is_bi_encoder(folder):
        if exits:
            raise InputError(f"{name}: an embedder, which has no exits; leave --exits out")
        if label is not None:
            raise InputError(f"{name}: an embedder, which has no labels; leave --label out")
        return convert_embedder(name, folder, out, calibration_texts(texts), int8=int8)
    source = read_cross_encoder(folder, label)
    layers = stage_layers(source.shape, exits)
    pairs = calibration_texts(texts)
    lists = candidate_lists(pairs.pairs) if exits else []
    with tempfile.TemporaryDirectory() as temporary:
        export = _open_export(source, layers, pairs, Path(temporary))
        if exits:
            export = _with_exits(export, lists)
        sessions = _write_float32(export)
        expected = _float32_logits(export, sessions)
        if int8:
            _write_int8(export, sessions)
        names, limit = [file.name for file in export.files], source.max_tokens
        manifest = new_manifest("cross_encoder", name, export.folder, names, limit, int8)
        manifest = replace(manifest, query_prompt=source.query_prompt)
        write_manifest(export.folder, manifest)
        model = load_model(load_artifact(export.folder))
        measured, explained = measure_exits(model, lists[::MEASURED_LISTS]) if exits else ([], [])
        manifest = replace(manifest, exits=tuple(measured))
        held_out = export.texts.held_out
        parity = Parity(held_out, _artifact_logits(model, held_out), expected)
        conversion = finish(manifest, parity, export.folder, out, int8=int8)
    return replace(conversion, explained=tuple(explained))


@dataclass(frozen=True, slots=True)
class _Export:
    """Data that the steps of a cross-encoder's conversion share."""

    source: Checkpoint
    tokens: Tokens
    layers: Sequence[range]
    texts: CalibrationTexts
    folder: Path

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"stage-{number}.onnx" for number in range(len(self.layers))]

    def row(self, pair: tuple[str, str]) -> TokenRow:
        """Tokenise a pair as the artifact does."""
        query, text = pair
        return self.tokens.pairs(self.tokens.head(self.source.query_prompt + query), [text])[0]


def _open_export(
    source: Checkpoint, layers: Sequence[range], texts: CalibrationTexts, folder: Path
) -> _Export:
    source.tokenizer.tokenizer.save(str(folder / TOKENIZER))
    tokens = Tokens(load_tokenizer(folder / TOKENIZER), source.max_tokens)
    held_out = _readable_pairs(texts.held_out, tokens)
    return _Export(source, tokens, layers, replace(texts, held_out=held_out), folder)


def _readable_pairs(pairs: Pairs, tokens: Tokens) -> list[tuple[str, str]]:
    """Pairs of known words; if there are too few, pairs of random words of the vocabulary.

    Texts in a language that the model does not know are all alike to it.
    """
    heads = [tokens.head(query) for query, _ in pairs]
    known = [
        pair
        for pair, head in zip(pairs, heads, strict=True)
        if head.seen and not head.unknown and not tokens.pairs(head, [pair[1]])[0].unknown
    ]
    return known if len(known) >= MIN_HELD_OUT else vocabulary_pairs(tokens.words())


def _with_exits(export: _Export, lists: Sequence[tuple[str, list[str]]]) -> _Export:
    """Fit exits and add their weights."""
    source = export.source
    to_fit = [
        (source.query_prompt + query, candidates)
        for number, (query, candidates) in enumerate(lists)
        if number % MEASURED_LISTS
    ]
    fitted = fit_exits(source, export.tokens, export.layers, to_fit, export.folder)
    return replace(export, source=replace(source, weights={**source.weights, **fitted}))


def _write_float32(export: _Export) -> list[Session]:
    """Write and open the float32 stages."""
    source = export.source
    for file, layers in zip(export.files, export.layers, strict=True):
        save_graph(stage_graph(source.weights, source.shape, layers), file)
    return [open_session(file) for file in export.files]


def _float32_logits(export: _Export, sessions: Sequence[Session]) -> NDArray[np.float64]:
    """The float32 stages' logits for the held-out pairs, ``(n,)``."""
    outputs = [run_stages(sessions, [export.row(pair)])[-1][1] for pair in export.texts.held_out]
    logits = np.array([float(output["logits"][0]) for output in outputs])
    if not np.isfinite(logits).all():
        raise ParityError(
            f"{export.source.config.file.parent}: its logits are not finite in float32; this "
            "checkpoint cannot be used"
        )
    return logits


def _write_int8(export: _Export, sessions: Sequence[Session]) -> None:
    """Replace the stages by int8 stages; the float32 `sessions` give the activation ranges."""
    source = export.source
    runs = [run_stages(sessions, [export.row(pair)]) for pair in export.texts.ranges]
    scales: NDArray[np.float32] | None = None
    for number, (file, layers) in enumerate(zip(export.files, export.layers, strict=True)):
        graph = stage_graph(
            source.weights, source.shape, layers, int8_embeddings=True, scales=scales
        )
        samples = [_rounded(steps[number][0], scales) for steps in runs]
        quantised = quantise(graph, samples)
        if number + 1 < len(export.files):
            scales = int8_scales([steps[number][1][NEXT_STATES][0] for steps in runs])
            int8_output(quantised, NEXT_STATES, scales)
        save_graph(quantised, file)


def _rounded(feeds: Feeds, scales: NDArray[np.float32] | None) -> Feeds:
    """A stage's inputs, with states rounded to int8 as between int8 stages."""
    if scales is None:
        return feeds
    states = np.clip(np.rint(feeds["states"] / scales), -127, 127).astype(np.int8)
    return {**feeds, "states": states}


def _artifact_logits(model: Model, pairs: Pairs) -> NDArray[np.float64]:
    """The artifact's logits for pairs, one pair at a time."""
    result = []
    for query, text in pairs:
        batch = Batch(model.rows(model.query_row(query), [text]))
        for stage in model.stages:
            batch, logits = stage(batch)
        result.append(float(logits[0]))
    return np.array(result)
