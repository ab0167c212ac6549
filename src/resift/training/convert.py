"""``resift convert``: a checkpoint → an artifact, of a cross-encoder a cross-encoder, and checked.

What a checkpoint is, is read off it: a bi-encoder's conversion is `embedder.py`.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.errors import InputError, ModelNotFound, ParityError
from resift.extras import require
from resift.files import from_home
from resift.rerank.artifact import (
    TOKENIZER,
    Manifest,
    load_artifact,
    sha256,
    write_manifest,
)
from resift.rerank.graph_checks import NEXT_STATES
from resift.rerank.models import Batch, Model, load_model
from resift.rerank.native import first_line
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer
from resift.training.bi_encoder import is_bi_encoder
from resift.training.calibration_text import (
    FEWEST,
    CalibrationTexts,
    calibration_texts,
    candidate_lists,
    vocabulary_pairs,
)
from resift.training.checkpoint import Checkpoint, read_checkpoint
from resift.training.conversion_report import (
    FP32_TOLERANCE,
    Conversion,
    base_model,
    quantisation,
    reference_pairs,
    tolerance,
    tools,
)
from resift.training.embedder import convert_embedder
from resift.training.exits import Feeds, fit_exits, measure_exits, parts, through
from resift.training.folders import check_new, put_model
from resift.training.quantise import int8_output, int8_steps, quantise
from resift.training.stage_graph import stage_graph

EXPORT_TOLERANCE = 1e-3  # logits of the float32 graph against the checkpoint's
MEASURED = 4  # of so many candidate lists one measures the exits, the others fit them
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]

Pairs = Sequence[tuple[str, str]]


def convert_checkpoint(
    checkpoint: str,
    out: Path,
    revision: str | None = None,
    calibration: Path | None = None,
    *,
    int8: bool = True,
    exits: Sequence[int] = (),
) -> Conversion:
    """Convert a local checkpoint folder, or a hub id at a commit, into the new folder `out`.

    A sentence-transformers folder becomes an embedder, any other is a cross-encoder. `exits` are
    numbers of layers after which a cross-encoder can let candidates go, rising; it is cut there
    into stages. Raises `ModelError` for what is no BERT-type model of the two kinds, `InputError`
    for exits that it cannot have, `ParityError` where the exported graphs do not give what the
    checkpoint gives; nothing is left at `out` then.
    """
    check_new(out)
    folder = _folder(checkpoint, revision)
    if is_bi_encoder(folder):
        if exits:
            raise InputError(f"{checkpoint}: an embedder, which reads no pairs and has no exits")
        texts = calibration_texts(calibration)
        return convert_embedder(checkpoint, folder, out, texts, int8=int8)
    return _convert_cross_encoder(checkpoint, folder, out, calibration, int8, exits)


def _convert_cross_encoder(
    checkpoint: str,
    read_from: Path,
    out: Path,
    calibration: Path | None,
    int8: bool,
    exits: Sequence[int],
) -> Conversion:
    source = read_checkpoint(read_from)
    layers = parts(source.shape.layers, exits)
    texts = calibration_texts(calibration)
    lists = candidate_lists(texts.given) if exits else []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        source.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        tokens = Tokens(load_tokenizer(folder / TOKENIZER), source.max_tokens)
        texts = replace(texts, held_out=_readable(texts.held_out, tokens))
        expected = source.logits(texts.held_out)
        to_fit = [
            (source.query_prompt + query, candidates)
            for place, (query, candidates) in enumerate(lists)
            if place % MEASURED
        ]
        fitted = fit_exits(source, tokens, layers, to_fit, folder) if exits else {}
        _export(
            replace(source, weights={**source.weights, **fitted}),
            tokens,
            layers,
            texts,
            expected,
            folder,
            int8,
        )
        manifest = _manifest(checkpoint, source, folder, len(layers), int8)
        write_manifest(folder, manifest)
        model = load_model(load_artifact(folder))
        found = _logits(model, texts.held_out)
        measured, foreseen = measure_exits(model, lists[::MEASURED]) if exits else ([], [])
        manifest = replace(
            manifest,
            exits=tuple(measured),
            reference=reference_pairs(texts.held_out, found, expected),
            tolerance=tolerance(expected, int8),
        )
        write_manifest(folder, manifest)
        load_artifact(folder)
        put_model(folder, out)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    difference = float(np.abs(found - expected).max())
    return Conversion(manifest.quantisation, difference, len(expected), size, tuple(foreseen))


def _folder(checkpoint: str, revision: str | None) -> Path:
    """A local folder as it is; a hub id is downloaded at its commit, safetensors only."""
    folder = from_home(checkpoint)
    if folder.exists():
        if revision is not None:
            raise InputError(f"--revision {revision}: {checkpoint} is a folder and has none")
        return folder
    if checkpoint.count("/") != 1:
        raise ModelNotFound(f"{checkpoint}: neither a folder nor a hub id like owner/name")
    if revision is None or not COMMIT.fullmatch(revision):
        raise InputError(
            f"{checkpoint}: name its commit with --revision, 40 hex digits, so that the model "
            f"cannot change; got {revision}"
        )
    hub = require("huggingface_hub", "convert")
    try:
        return Path(hub.snapshot_download(checkpoint, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:  # the client raises its own, httpx's and OSError's kinds
        raise ModelNotFound(
            f"{checkpoint} at {revision}: cannot be downloaded ({first_line(error)}); "
            "check the name, the commit and the network"
        ) from error


def _export(
    source: Checkpoint,
    tokens: Tokens,
    layers: Sequence[range],
    texts: CalibrationTexts,
    expected: NDArray[np.float64],
    folder: Path,
    int8: bool,
) -> None:
    """Write the graphs that are asked for, having checked float32 ones against the checkpoint."""
    files = [folder / _stage(place) for place in range(len(layers))]
    for file, own in zip(files, layers, strict=True):
        onnx.save(stage_graph(source.weights, source.shape, source.head, own), str(file))
    sessions = [open_session(file) for file in files]
    checked = [through(sessions, [_row(source, tokens, pair)]) for pair in texts.held_out]
    logits = np.array([steps[-1][1]["logits"][0] for steps in checked])
    difference = float(np.abs(logits - expected).max())
    if not difference <= EXPORT_TOLERANCE:
        raise ParityError(
            f"the exported graph is {difference:.4f} from the checkpoint's logits for the same "
            f"texts, allowed are {EXPORT_TOLERANCE}; this checkpoint does not read or is not laid "
            "out as its type says"
        )
    if not int8:
        return
    steps = [through(sessions, [_row(source, tokens, pair)]) for pair in texts.ranges]
    scales: NDArray[np.float32] | None = None
    for place, (file, own) in enumerate(zip(files, layers, strict=True)):
        graph = stage_graph(source.weights, source.shape, source.head, own, True, scales)
        given = [_rounded(step[place][0], scales) for step in steps]
        made = quantise(graph, given)
        if place + 1 < len(files):
            scales = int8_steps([step[place][1][NEXT_STATES][0] for step in steps])
            int8_output(made, NEXT_STATES, scales)
        onnx.save(made, str(file))


def _readable(pairs: Sequence[tuple[str, str]], tokens: Tokens) -> list[tuple[str, str]]:
    """Pairs of which the tokenizer knows every word: of others the artifact reads less.

    Where it knows too few, of a language that the built-in pages are not in, words of its own.
    """
    heads = [tokens.head(query) for query, _ in pairs]
    known = [
        pair
        for pair, head in zip(pairs, heads, strict=True)
        if head.seen and not head.unknown and not tokens.pairs(head, [pair[1]])[0].unknown
    ]
    return known if len(known) >= FEWEST else vocabulary_pairs(tokens.words())


def _row(source: Checkpoint, tokens: Tokens, pair: tuple[str, str]) -> TokenRow:
    """A pair as the artifact reads it."""
    query, text = pair
    return tokens.pairs(tokens.head(source.query_prompt + query), [text])[0]


def _rounded(feeds: Feeds, scales: NDArray[np.float32] | None) -> Feeds:
    """A stage's inputs as they are between int8 stages."""
    if scales is None:
        return feeds
    states = np.clip(np.rint(feeds["states"] / scales), -127, 127).astype(np.int8)
    return {**feeds, "states": states}


def _stage(place: int) -> str:
    return f"stage-{place}.onnx"


def _logits(model: Model, pairs: Pairs) -> NDArray[np.float64]:
    """What the artifact gives for pairs, one by one."""
    logits = []
    for query, text in pairs:
        batch = Batch(model.rows(model.query_row(query), [text]))
        for stage in model.stages:
            batch, found = stage(batch)
        logits.append(float(found[0]))
    return np.array(logits)


def _manifest(
    checkpoint: str, source: Checkpoint, folder: Path, stages: int, int8: bool
) -> Manifest:
    """All but what the artifact itself says of pairs."""
    names = tuple(_stage(place) for place in range(stages))
    return Manifest(
        name=Path(base_model(checkpoint)).name,
        kind="cross_encoder",
        base_model=base_model(checkpoint),
        licence="as the checkpoint's",
        quantisation=quantisation(int8),
        max_tokens=source.max_tokens,
        stages=names,
        tolerance=FP32_TOLERANCE,
        reference=(),
        files={name: sha256(folder / name) for name in (*names, TOKENIZER)},
        made_with=tools(int8),
        query_prompt=source.query_prompt,
    )
