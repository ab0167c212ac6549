"""Does an int8 embedder order texts as its float32 model does? If not, layers stay float32.

Cosines of queries with candidates take the place of a cross-encoder's logits (`check.py`).
"""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.convert.bi_encoder import BiEncoder
from resift.convert.calibration_text import (
    CalibrationTexts,
    CandidateLists,
    Pairs,
    vocabulary_lists,
    vocabulary_pairs,
)
from resift.convert.check import checked
from resift.convert.export import MIN_KNOWN, RANGE_SEED
from resift.convert.graph import save_graph
from resift.convert.quantise import QUANTISER, Quantiser
from resift.convert.stages import vector_graph
from resift.rerank.artifact import Agreement
from resift.rerank.models import Encoder
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, pad

QUERY_STEP = 3  # activation ranges are measured on all texts and every third query
SCALE = 100.0
"""Cosines are compared in hundredths: `check` takes a list that varies by less than a thousandth
for one without an order, and cosines of some trained models lie within a few hundredths."""

Cosines = list[NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class EmbedderTexts:
    """Texts that the model knows, for ranges, for the check, and held out as references."""

    ranges: Pairs
    lists: CandidateLists
    held_out: Pairs


def known_texts(tokens: Tokens, texts: CalibrationTexts) -> EmbedderTexts:
    """The given texts; random words of the vocabulary if the model knows few of their words.

    `tokens` leave out unknown words.
    """

    def known(pairs: Pairs) -> bool:
        rows = tokens.single([part for pair in pairs for part in pair])
        return float(np.mean([row.unknown_share for row in rows])) <= 1 - MIN_KNOWN

    words = tokens.words()
    lists = [row for row in texts.lists if known([(row[0], text) for text in row[1]])]
    return EmbedderTexts(
        texts.ranges if known(texts.ranges) else vocabulary_pairs(words, RANGE_SEED),
        lists if len(lists) >= MIN_KNOWN * len(texts.lists) else vocabulary_lists(words),
        texts.held_out if known(texts.held_out) else vocabulary_pairs(words),
    )


class Int8Encoder:
    """Quantises an encoder with any set of layers in float32, from one run over range texts."""

    def __init__(
        self, source: BiEncoder, tokens: Tokens, texts: EmbedderTexts, folder: Path
    ) -> None:
        """`folder` is for temporary files."""
        self._source, self._tokens = source, tokens
        self._lists, self._folder = texts.lists, folder
        graph = vector_graph(source.weights, source.shape, source.dense, int8_embeddings=True)
        inputs = {port.name for port in graph.graph.input}
        queries, passages = source.prompted(texts.ranges)
        samples = [
            {name: values for name, values in pad([row]).items() if name in inputs}
            for row in tokens.single([*passages, *queries[::QUERY_STEP]])
        ]
        self._quantiser = Quantiser(graph, samples)

    def write(self, exact: Encoder, file: Path) -> Agreement:
        """Write the int8 graph to `file` if the check accepts one; `exact` is the float32 model."""
        graphs, report = checked(
            self._quantised,
            partial(self._int8_cosines, self._folder / "check"),
            self._cosines(exact),
            self._harmful,
            self._quantiser.work,
            QUANTISER,
        )
        if graphs is not None:
            save_graph(graphs[0], file)
        return report

    def _quantised(self, float_layers: Collection[str]) -> list[onnx.ModelProto]:
        return [self._quantiser.quantised(float_layers)]

    def _int8_cosines(self, folder: Path, graphs: Sequence[onnx.ModelProto]) -> Cosines:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        save_graph(graphs[0], folder / "encoder.onnx")
        return self._cosines(Encoder(self._tokens, open_session(folder / "encoder.onnx")))

    def _cosines(self, encoder: Encoder) -> Cosines:
        """The cosine of each query with its candidates, in hundredths, one array a list."""
        source = self._source
        unique = list(dict.fromkeys(text for _, texts in self._lists for text in texts))
        passages = encoder.vectors(source.passages(unique), source.pooling).astype(np.float64)
        queries = encoder.vectors(
            source.queries([query for query, _ in self._lists]), source.pooling
        ).astype(np.float64)
        index = {text: number for number, text in enumerate(unique)}
        return [
            SCALE * (passages[[index[text] for text in texts]] @ query)
            for query, (_, texts) in zip(queries, self._lists, strict=True)
        ]

    def _harmful(self) -> Sequence[str]:
        """Layers, the one with the largest error first."""
        errors = self._quantiser.errors()
        return sorted(errors, key=lambda name: -errors[name])
