"""A cross-encoder's graphs: float32 stages, int8 stages, and the check of one against the other."""

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.convert.calibration_text import (
    CalibrationTexts,
    CandidateLists,
    vocabulary_lists,
    vocabulary_pairs,
)
from resift.convert.check import check_finite, checked
from resift.convert.checkpoint import Checkpoint
from resift.convert.exits import Feeds, fit_exits, run_stages
from resift.convert.graph import save_graph
from resift.convert.quantise import QUANTISER, Quantiser, int8_output, int8_scales
from resift.convert.stages import stage_graph
from resift.errors import ModelError
from resift.rerank.artifact import TOKENIZER, Agreement
from resift.rerank.batching import schedule
from resift.rerank.graph_checks import NEXT_STATES
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer, pad

MIN_KNOWN = 0.5  # of lists or words; with fewer, the model does not know the texts' language
RANGE_SEED = 8  # another than that of the lists: pairs that set ranges check nothing

Logits = list[NDArray[np.float32]]
StageRuns = list[tuple[Feeds, Feeds]]
"""Inputs and outputs of each stage."""


@dataclass(frozen=True, slots=True)
class Export:
    """What the steps share: a checkpoint, its tokens, the layers of each stage, texts, folders."""

    source: Checkpoint
    tokens: Tokens
    layers: Sequence[range]
    texts: CalibrationTexts
    folder: Path

    @property
    def artifact(self) -> Path:
        """The folder of the artifact that is made."""
        return self.folder / "artifact"

    @property
    def files(self) -> list[Path]:
        """The artifact's stages."""
        return [self.artifact / f"stage-{number}.onnx" for number in range(len(self.layers))]

    def rows(self, query: str, texts: Sequence[str]) -> list[TokenRow]:
        """Tokenise a query with texts as the artifact does."""
        return self.tokens.pairs(self.tokens.head(self.source.query_prompt + query), texts)


@dataclass(frozen=True, slots=True)
class Stages:
    """Stages that were written, with float32 logits of `lists`, and the check of int8, if any."""

    lists: CandidateLists
    logits: Logits
    report: Agreement | None = None

    @property
    def is_int8(self) -> bool:
        """Whether the artifact's stages are int8."""
        return self.report is not None and self.report.is_int8


def open_export(
    source: Checkpoint, layers: Sequence[range], texts: CalibrationTexts, folder: Path
) -> Export:
    """Begin an artifact in `folder`: its tokenizer is written."""
    artifact = folder / "artifact"
    artifact.mkdir()
    source.tokenizer.tokenizer.save(str(artifact / TOKENIZER))
    tokens = Tokens(load_tokenizer(artifact / TOKENIZER), source.max_tokens)
    room, prompt = source.max_tokens // 2, tokens.single([source.query_prompt])[0]
    if prompt.seen + prompt.unknown + prompt.dropped > room:
        raise ModelError(
            f"{source.config.file.parent}: its default prompt has over {room} tokens, half of what "
            "the model reads; shorten it in config_sentence_transformers.json"
        )
    return Export(source, tokens, layers, texts, folder)


def with_exits(export: Export, lists: CandidateLists) -> Export:
    """Fit exits and add their weights."""
    source = export.source
    to_fit = [(source.query_prompt + query, texts) for query, texts in lists]
    fitted = fit_exits(source, export.tokens, export.layers, to_fit, export.folder)
    return replace(export, source=replace(source, weights={**source.weights, **fitted}))


def write_stages(export: Export, *, int8: bool) -> Stages:
    """Write the artifact's stages: int8 if they order candidates as float32 does, else float32."""
    lists = _known_lists(export)
    rows = [export.rows(query, texts) for query, texts in lists]
    float32 = export.folder / "float32"
    float32.mkdir()
    files = [float32 / file.name for file in export.files]
    for file, layers in zip(files, export.layers, strict=True):
        save_graph(stage_graph(export.source.weights, export.source.shape, layers), file)
    sessions = [open_session(file) for file in files]
    exact = _list_logits(sessions, rows)
    check_finite(exact, export.source.config.file.parent)
    runs = _range_runs(export, sessions) if int8 else []
    sessions.clear()  # the next step opens graphs of the same size
    report = _Int8Stages(export, runs).write(rows, exact) if int8 else None
    if report is None or not report.is_int8:
        for file in float32.iterdir():
            os.replace(file, export.artifact / file.name)
    shutil.rmtree(float32, ignore_errors=True)
    return Stages(lists, exact, report)


class _Int8Stages:
    """Quantises all stages with any set of layers in float32, from one run over range pairs."""

    def __init__(self, export: Export, runs: Sequence[StageRuns]) -> None:
        self._export = export
        self._scales: list[NDArray[np.float32]] = [
            int8_scales([steps[number][1][NEXT_STATES][0] for steps in runs])
            for number in range(len(export.layers) - 1)
        ]
        self._quantisers = []
        for number, layers in enumerate(export.layers):
            scales = self._scales[number - 1] if number else None
            graph = stage_graph(
                export.source.weights,
                export.source.shape,
                layers,
                int8_embeddings=True,
                scales=scales,
            )
            samples = [_rounded(steps[number][0], scales) for steps in runs]
            self._quantisers.append(Quantiser(graph, samples))

    def write(self, rows: Sequence[Sequence[TokenRow]], exact: Logits) -> Agreement:
        """Write the stages that the check accepts, if it accepts any."""
        graphs, report = checked(
            self._quantised,
            partial(self._logits, rows),
            exact,
            self._harmful,
            {name: cost for part in self._quantisers for name, cost in part.work.items()},
            QUANTISER,
        )
        if graphs is not None:
            for graph, file in zip(graphs, self._export.files, strict=True):
                save_graph(graph, file)
        return report

    def _quantised(self, float_layers: Collection[str]) -> list[onnx.ModelProto]:
        graphs = [quantiser.quantised(float_layers) for quantiser in self._quantisers]
        for graph, scales in zip(graphs, self._scales, strict=False):
            int8_output(graph, NEXT_STATES, scales)
        return graphs

    def _logits(
        self, rows: Sequence[Sequence[TokenRow]], graphs: Sequence[onnx.ModelProto]
    ) -> Logits:
        folder = self._export.folder / "check"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files = [folder / file.name for file in self._export.files]
        for graph, file in zip(graphs, files, strict=True):
            save_graph(graph, file)
        return _list_logits([open_session(file) for file in files], rows)

    def _harmful(self) -> list[str]:
        """Layers, the one with the largest error first."""
        errors = {name: x for part in self._quantisers for name, x in part.errors().items()}
        return sorted(errors, key=lambda name: -errors[name])


def _range_runs(export: Export, sessions: Sequence[Session]) -> list[StageRuns]:
    """Inputs and outputs of the float32 stages for each range pair."""
    rows = _range_rows(export)
    if len(sessions) > 1:
        return [run_stages(sessions, row) for row in rows]
    names = sessions[0].inputs  # a single stage reads tokens, so nothing has to run
    feeds: list[Feeds] = [{**pad(row)} for row in rows]
    return [[({name: arrays[name] for name in names}, {})] for arrays in feeds]


def _range_rows(export: Export) -> list[list[TokenRow]]:
    """The range pairs' rows, one each; of random words if the model knows few of their words.

    Unknown words are left out, and ranges of what remains are too narrow for other texts.
    """
    rows = [export.rows(query, [text]) for query, text in export.texts.ranges]
    unknown = [row.unknown_share for pair in rows for row in pair]
    if np.mean(unknown) <= 1 - MIN_KNOWN:
        return rows
    pairs = vocabulary_pairs(export.tokens.words(), RANGE_SEED)
    return [export.rows(query, [text]) for query, text in pairs]


def _rounded(feeds: Feeds, scales: NDArray[np.float32] | None) -> Feeds:
    """A stage's inputs, with states rounded to int8 as between int8 stages."""
    if scales is None:
        return feeds
    states = np.clip(np.rint(feeds["states"] / scales), -127, 127).astype(np.int8)
    return {**feeds, "states": states}


def _list_logits(sessions: Sequence[Session], rows: Sequence[Sequence[TokenRow]]) -> Logits:
    """The stages' logits, one array a list."""
    flat = [row for group in rows for row in group]
    logits = np.empty(len(flat), np.float32)
    for group in schedule([len(row.ids) for row in flat]):
        steps = run_stages(sessions, [flat[index] for index in group.rows])
        logits[group.rows] = steps[-1][1]["logits"]
    ends = np.cumsum([len(group) for group in rows])
    return np.split(logits, ends[:-1])


def _known_lists(export: Export) -> CandidateLists:
    """Lists of known words; if there are too few, lists of random words of the vocabulary.

    Texts in a language that the model does not know are all alike to it.
    """
    lists = export.texts.lists
    known = [
        (query, texts)
        for query, texts in lists
        if not any(row.unknown for row in export.rows(query, texts))
    ]
    if len(known) >= MIN_KNOWN * len(lists):
        return known
    return vocabulary_lists(export.tokens.words())
