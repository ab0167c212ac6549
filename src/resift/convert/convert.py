"""Convert a checkpoint to an artifact, and check the artifact against it.

The steps for a cross-encoder: read the checkpoint → fit exits, if any → write float32 graphs and
compare their logits with the checkpoint's → quantise to int8 → measure → write the manifest.
`embedder.py` converts bi-encoders.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.convert.calibration_text import (
    MIN_HELD_OUT,
    CalibrationTexts,
    calibration_texts,
    candidate_lists,
    vocabulary_pairs,
)
from resift.convert.checkpoint import Checkpoint, LoadModel, read_cross_encoder
from resift.convert.embedder import convert_embedder
from resift.convert.exits import Feeds, fit_exits, measure_exits, run_stages, stage_layers
from resift.convert.folder import is_bi_encoder
from resift.convert.output import Conversion, Parity, check_new_folder, finish, new_manifest
from resift.convert.quantise import int8_output, int8_scales, quantise
from resift.convert.stages import stage_graph
from resift.errors import InputError, ModelNotFound, ParityError
from resift.extras import require
from resift.files import from_home
from resift.rerank.artifact import TOKENIZER, load_artifact, write_manifest
from resift.rerank.graph_checks import NEXT_STATES
from resift.rerank.models import Batch, Model, load_model
from resift.rerank.native import first_line
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer

EXPORT_TOLERANCE = 1e-3  # of the float32 graphs' logits against the checkpoint's
MEASURED_LISTS = 4  # every fourth candidate list measures exits, the others fit them
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]

Pairs = Sequence[tuple[str, str]]


def convert_checkpoint(
    checkpoint: str,
    out: Path,
    revision: str | None = None,
    calibration: Path | None = None,
    *,
    load: LoadModel,
    int8: bool = True,
    exits: Sequence[int] = (),
) -> Conversion:
    """Convert a local checkpoint folder, or a hub id at a commit, into the new folder `out`.

    A sentence-transformers bi-encoder becomes an embedder, any other checkpoint a cross-encoder.
    `load` loads the checkpoint's model. A cross-encoder gets an exit after each number of layers in
    `exits`, which rise. Raises `ModelError` for an architecture that cannot be converted,
    `InputError` for impossible exits, and `ParityError` if the exported graphs do not give the
    checkpoint's numbers; then `out` is not written.
    """
    check_new_folder(out)
    folder = _checkpoint_folder(checkpoint, revision)
    if is_bi_encoder(folder):
        if exits:
            raise InputError(f"{checkpoint}: an embedder, which has no exits; leave --exits out")
        texts = calibration_texts(calibration)
        return convert_embedder(checkpoint, folder, out, texts, load=load, int8=int8)
    source = read_cross_encoder(folder, load)
    layers = stage_layers(source.shape.layers, exits)
    texts = calibration_texts(calibration)
    lists = candidate_lists(texts.pairs) if exits else []
    with tempfile.TemporaryDirectory() as temporary:
        export = _open_export(source, layers, texts, Path(temporary))
        expected = source.logits(export.texts.held_out)
        if exits:
            export = _with_exits(export, lists)
        sessions = _write_float32(export, expected)
        if int8:
            _write_int8(export, sessions)
        names, limit = [file.name for file in export.files], source.max_tokens
        manifest = new_manifest("cross_encoder", checkpoint, export.folder, names, limit, int8)
        manifest = replace(manifest, query_prompt=source.query_prompt)
        write_manifest(export.folder, manifest)
        model = load_model(load_artifact(export.folder))
        measured, explained = measure_exits(model, lists[::MEASURED_LISTS]) if exits else ([], [])
        manifest = replace(manifest, exits=tuple(measured))
        pairs = export.texts.held_out
        parity = Parity(pairs, _artifact_logits(model, pairs), expected)
        conversion = finish(manifest, parity, export.folder, out, int8=int8)
    return replace(conversion, explained=tuple(explained))


def _checkpoint_folder(checkpoint: str, revision: str | None) -> Path:
    """The local folder of a checkpoint; downloads the safetensors of a hub id at its commit."""
    folder = from_home(checkpoint)
    if folder.exists():
        if revision is not None:
            raise InputError(
                f"--revision {revision}: {checkpoint} is a folder; leave --revision out"
            )
        return folder
    if checkpoint.count("/") != 1:
        raise ModelNotFound(f"{checkpoint}: neither a folder nor a hub id like owner/name")
    if revision is None or not COMMIT.fullmatch(revision):
        raise InputError(
            f"{checkpoint}: name its commit by --revision, 40 hex digits, so that the model "
            f"cannot change; got {revision}"
        )
    hub = require("huggingface_hub", "convert")
    try:
        return Path(hub.snapshot_download(checkpoint, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:  # many types, of huggingface_hub and httpx
        raise ModelNotFound(
            f"{checkpoint} at {revision}: cannot be downloaded ({first_line(error)}); "
            "check the name, the commit and the network"
        ) from error


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
    source.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    tokens = Tokens(load_tokenizer(folder / TOKENIZER), source.max_tokens)
    held_out = _known_pairs(texts.held_out, tokens)
    return _Export(source, tokens, layers, replace(texts, held_out=held_out), folder)


def _known_pairs(pairs: Pairs, tokens: Tokens) -> list[tuple[str, str]]:
    """Pairs without unknown words, which the artifact drops and the checkpoint does not.

    If there are too few, as for a language other than that of the built-in texts, returns pairs of
    random words of the vocabulary.
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


def _write_float32(export: _Export, expected: NDArray[np.float64]) -> list[Session]:
    """Write and open the float32 stages; raises `ParityError` if logits are not `expected`."""
    source = export.source
    for file, layers in zip(export.files, export.layers, strict=True):
        onnx.save(stage_graph(source.weights, source.shape, layers), str(file))
    sessions = [open_session(file) for file in export.files]
    outputs = [run_stages(sessions, [export.row(pair)])[-1][1] for pair in export.texts.held_out]
    logits = np.array([output["logits"][0] for output in outputs])
    difference = float(np.abs(logits - expected).max())
    if not difference <= EXPORT_TOLERANCE:
        raise ParityError(
            f"the exported graph's logits are {difference:.4f} from the checkpoint's, at most "
            f"{EXPORT_TOLERANCE} is allowed; this checkpoint's layers are not those that its "
            "model_type stands for"
        )
    return sessions


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
        onnx.save(quantised, str(file))


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
