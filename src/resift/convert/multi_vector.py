"""Convert a late-interaction checkpoint to an artifact, and check int8 against float32.

The steps: read the checkpoint → write float32 graphs → quantise encoder and token vectors → check
→ write the manifest. What is compared are the logits of candidate lists, as for a cross-encoder.
"""

import logging
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from tokenizers import Tokenizer

from resift.convert.calibration_text import CalibrationTexts, CandidateLists
from resift.convert.check import check_finite, checked, described
from resift.convert.embedder_check import EmbedderTexts, known_texts
from resift.convert.graph import save_graph
from resift.convert.late_checkpoint import LateCheckpoint, read_late_checkpoint
from resift.convert.late_interaction_graph import maxsim_graph
from resift.convert.output import (
    Conversion,
    finish,
    list_parity,
    new_manifest,
    with_check,
    with_report,
)
from resift.convert.quantise import QUANTISER, Quantiser, int8_output, int8_scales
from resift.convert.stages import token_vector_graph
from resift.rerank.artifact import TOKENIZER, Agreement, Manifest
from resift.rerank.graph_runs import TokenStates, run
from resift.rerank.models import Batch
from resift.rerank.multi_vector import MultiVectorModel, query_feeds
from resift.rerank.runtimes import open_session
from resift.rerank.token_vectors import TokenVectors
from resift.rerank.tokenization import Ids, Tokens, load_tokenizer, pad

FILES = ENCODER, MAXSIM = "encoder.onnx", "maxsim.onnx"
QUERY_STEP = 3  # activation ranges are measured on all texts and every third query
LEAST_SPREAD = 1e-3  # of logits that do not vary
_DIGITS = 4

Feeds = dict[str, Ids]
Logits = list[NDArray[np.float32]]

_log = logging.getLogger("resift")


def convert_multi_vector(
    name: str,
    checkpoint: Path,
    out: Path,
    texts: CalibrationTexts,
    *,
    revision: str | None,
    int8: bool,
    work: Path | None = None,
) -> Conversion:
    """Convert the folder `checkpoint`, known as `name`, at a commit, into the new folder `out`.

    `work` is a folder for temporary files. int8 that does not order texts as float32 does is not
    used. Raises `ModelError` for a checkpoint that cannot be converted; then `out` is not written.
    """
    source = read_late_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory(prefix="resift-", dir=work) as temporary:
        work, folder = Path(temporary), Path(temporary) / "artifact"
        folder.mkdir()
        source.encoder.tokenizer.tokenizer.save(str(folder / TOKENIZER))
        tokens = Tokens(load_tokenizer(folder / TOKENIZER), source.document_length)
        known = known_texts(tokens, texts)
        write_float32(source, folder)
        tokenizer = load_tokenizer(folder / TOKENIZER)
        model = open_model(source, tokenizer, folder)
        exact = list_logits(model, known.lists)
        check_finite(exact, checkpoint)
        source = replace(source, reading=_with_scale(source.reading, exact))
        report = None
        if int8:
            report = _Int8Model(source, tokenizer, known, work).write(exact, folder)
            _log.info("%s: %s", name, described(report))
            model = open_model(source, tokenizer, folder)
        is_int8 = report is not None and report.is_int8
        manifest = _manifest(source, name, folder, revision, is_int8)
        parity = list_parity(known.lists, exact, partial(_logit, model))
        conversion = finish(with_report(manifest, report), parity, folder, out, int8=is_int8)
    return with_check(conversion, report)


def write_float32(source: LateCheckpoint, folder: Path) -> None:
    """Write both graphs in float32."""
    maxsim = maxsim_graph(_width(source), is_mean=source.reading.is_mean)
    _save([_encoder_graph(source), maxsim], folder)


def open_model(source: LateCheckpoint, tokenizer: Tokenizer, folder: Path) -> MultiVectorModel:
    """The model of the graphs in a folder."""
    return MultiVectorModel(
        tokenizer,
        source.document_length,
        source.reading,
        *(open_session(folder / file) for file in FILES),
    )


def list_logits(model: MultiVectorModel, lists: CandidateLists) -> Logits:
    """The logits of each list's candidates; each text is encoded once."""
    texts = list(dict.fromkeys(text for _, candidates in lists for text in candidates))
    tokens = [part for part in model.tokens(texts, "beginning") if part is not None]
    states = dict(model.document_states(texts, tokens))
    index = {text: number for number, text in enumerate(texts)}
    logits = []
    for query, candidates in lists:
        numbers = [index[text] for text in candidates]
        row = model.query_row(query)
        rows = model.rows(row, candidates, [tokens[number] for number in numbers])
        queries = [model.query_states(row)] * len(rows)
        padded = _padded([states[number] for number in numbers], pad(rows)["input_ids"].shape[1])
        logits.append(model.stages[0](Batch(rows, queries, padded))[1])
    return logits


class _Int8Model:
    """Quantises an encoder with any set of layers in float32, from one run over range texts."""

    def __init__(
        self, source: LateCheckpoint, tokenizer: Tokenizer, texts: EmbedderTexts, work: Path
    ) -> None:
        """The float32 graphs are in the folder of the artifact in `work`."""
        self._source, self._tokenizer = source, tokenizer
        self._lists, self._folder = texts.lists, work / "check"
        model = open_model(source, tokenizer, work / "artifact")
        samples: list[tuple[Feeds, int]] = []
        for number, (query, text) in enumerate(texts.ranges):
            row = model.query_row(query)
            document = model.rows(row, [text])[0]
            samples.append((pad([document]), len(document.ids)))
            if number % QUERY_STEP == 0:
                samples.append(query_feeds(source.reading, row))
        exact = open_session(work / "artifact" / ENCODER)
        vectors = (run(exact, feeds, ["states"])["states"][0, :size] for feeds, size in samples)
        self._scales = int8_scales(list(vectors))
        graph = _encoder_graph(source, int8_embeddings=True)
        names = {port.name for port in graph.graph.input}
        self._quantiser = Quantiser(
            graph, [{name: feeds[name] for name in names} for feeds, _ in samples]
        )

    def write(self, exact: Logits, folder: Path) -> Agreement:
        """Write the int8 graphs if the check accepts some; `exact` are the float32 logits."""
        graphs, report = checked(
            self._quantised,
            partial(self._logits, self._folder),
            exact,
            self._harmful,
            self._quantiser.work,
            QUANTISER,
        )
        if graphs is not None:
            _save(graphs, folder)
        return report

    def _quantised(self, float_layers: Collection[str]) -> list[onnx.ModelProto]:
        encoder = self._quantiser.quantised(float_layers)
        int8_output(encoder, "states", self._scales)
        reading = self._source.reading
        maxsim = maxsim_graph(_width(self._source), self._scales, is_mean=reading.is_mean)
        return [encoder, maxsim]

    def _logits(self, folder: Path, graphs: Sequence[onnx.ModelProto]) -> Logits:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _save(graphs, folder)
        model = open_model(self._source, self._tokenizer, folder)
        return list_logits(model, self._lists)

    def _harmful(self) -> list[str]:
        """Layers, the one with the largest error first."""
        errors = self._quantiser.errors()
        return sorted(errors, key=lambda name: -errors[name])


def _save(graphs: Sequence[onnx.ModelProto], folder: Path) -> None:
    for graph, file in zip(graphs, FILES, strict=True):
        save_graph(graph, folder / file)


def _encoder_graph(source: LateCheckpoint, *, int8_embeddings: bool = False) -> onnx.ModelProto:
    layers = [(layer.activation, layer.residual) for layer in source.projections]
    return token_vector_graph(
        source.weights, source.encoder.shape, layers, int8_embeddings=int8_embeddings
    )


def _width(source: LateCheckpoint) -> int:
    """The size of a token's vector."""
    last = len(source.projections) - 1
    name = f"projection.{last}" if last >= 0 else "encoder.layer.0.output.dense"
    return len(source.weights[f"{name}.weight"])


def _padded(states: Sequence[TokenStates], positions: int) -> TokenStates:
    padded = np.zeros((len(states), positions, states[0].shape[1]), states[0].dtype)
    for number, row in enumerate(states):
        padded[number, : len(row)] = row
    return padded


def _with_scale(reading: TokenVectors, logits: Logits) -> TokenVectors:
    """The settings with the mean and the deviation of float32 logits, from which scores follow."""
    values = np.concatenate(logits).astype(np.float64)
    spread = max(float(values.std()), LEAST_SPREAD)
    return replace(
        reading, centre=round(float(values.mean()), _DIGITS), spread=round(spread, _DIGITS)
    )


def _manifest(
    source: LateCheckpoint, name: str, folder: Path, revision: str | None, is_int8: bool
) -> Manifest:
    limit = source.document_length
    manifest = new_manifest("multi_vector", name, folder, FILES, limit, is_int8)
    return replace(manifest, multi_vector=source.reading, revision=revision)


def _logit(model: MultiVectorModel, query: str, text: str) -> float:
    row = model.query_row(query)
    batch = Batch(model.rows(row, [text]), [model.query_states(row)])
    return float(model.stages[0](batch)[1][0])
