"""Convert a causal reranker's checkpoint to an artifact, and check int8 against float32.

The steps: read the checkpoint → write the float32 graph and score candidate lists → write the int8
graph and score them again → keep the smallest that orders them alike → write the manifest.
"""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert.calibration_text import CandidateLists, calibration_texts
from resift.convert.causal_checkpoint import CausalCheckpoint, read_causal
from resift.convert.causal_graph import write_graph
from resift.convert.causal_products import Float32, Int8, Int8Weights, MixedInt8, Products
from resift.convert.check import check_finite, compare, described, is_close
from resift.convert.output import (
    FLOAT32,
    Conversion,
    finish,
    list_parity,
    new_manifest,
    with_check,
    with_report,
)
from resift.rerank.artifact import (
    TOKENIZER,
    Agreement,
    Artifact,
    Manifest,
    load_artifact,
    write_manifest,
)
from resift.rerank.batching import schedule
from resift.rerank.loading import load_model
from resift.rerank.models import Batch, Model

STAGE = "stage-0.onnx"
CHECKED_LISTS, CHECKED_CHARACTERS = 5, 600
"""Of the candidate lists and their texts: a decoder takes long for a pair."""

QUANTISER = "resift causal 1"
"""Name and version; the version changes with the numbers that are written."""

_KINDS: tuple[tuple[str, Products], ...] = (
    (f"int8 ({QUANTISER}), a scale for each token and output", Int8()),
    (
        f"int8 ({QUANTISER}), a scale for each token and output, but float32 behind gates",
        MixedInt8(),
    ),
    (f"int8 weights ({QUANTISER}), a scale for each output", Int8Weights()),
)
"""The quantisations, fastest first."""

_log = logging.getLogger("resift")

Logits = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A written model with the logits of the lists."""

    manifest: Manifest
    folder: Path
    logits: Logits
    report: Agreement | None = None


def convert_causal(
    name: str,
    folder: Path,
    out: Path,
    *,
    revision: str | None = None,
    texts: Path | None = None,
    int8: bool = True,
    work: Path | None = None,
) -> Conversion:
    """Convert the checkpoint in `folder`, known as `name`, into the new folder `out`.

    Options are those of `convert_folder`. Raises `ModelError` for what cannot be converted.
    """
    source = read_causal(folder)
    lists = [
        (query, [text[:CHECKED_CHARACTERS] for text in candidates])
        for query, candidates in calibration_texts(texts).lists[:CHECKED_LISTS]
    ]
    with tempfile.TemporaryDirectory(prefix="resift-", dir=work) as temporary:
        float32 = _write(source, Path(temporary) / "float32", name, lists, FLOAT32, Float32())
        check_finite(float32.logits, folder)
        best = _quantised(source, Path(temporary), name, lists, float32) if int8 else float32
        is_int8 = best.folder != float32.folder
        if best.report is not None:
            _log.info("%s: %s", name, described(best.report))
        manifest = replace(with_report(best.manifest, best.report), revision=revision)
        model = load_model(Artifact(best.folder, manifest))
        parity = list_parity(lists, float32.logits, partial(_logit, model))
        conversion = finish(manifest, parity, best.folder, out, int8=is_int8)
    return with_check(conversion, best.report)


def _quantised(
    source: CausalCheckpoint, work: Path, name: str, lists: CandidateLists, float32: _Scored
) -> _Scored:
    """The first quantised model that orders candidates as float32 does; float32 if none does."""
    best: Agreement | None = None
    for number, (quantisation, products) in enumerate(_KINDS):
        target = work / f"int8-{number}"
        scored = _write(source, target, name, lists, quantisation, products)
        agreement = replace(compare(float32.logits, scored.logits), quantiser=QUANTISER)
        if is_close(agreement):
            return replace(scored, report=agreement)
        _log.info("%s: %s: %s", name, quantisation, described(agreement))
        best = max(best or agreement, agreement, key=lambda report: report.spearman or 0.0)
        shutil.rmtree(target)
    return replace(float32, report=best and replace(best, is_int8=False))


def _write(
    source: CausalCheckpoint,
    target: Path,
    name: str,
    lists: CandidateLists,
    quantisation: str,
    products: Products,
) -> _Scored:
    """Write a model into the new folder `target`, and score the lists with it."""
    target.mkdir()
    source.tokenizer.tokenizer.save(str(target / TOKENIZER))
    write_graph(target / STAGE, source.weights, source.shape, source.max_tokens, products)
    manifest = new_manifest("causal", name, target, [STAGE], source.max_tokens, int8=False)
    manifest = replace(manifest, quantisation=quantisation, causal=source.prompt)
    write_manifest(target, manifest)
    model = load_model(load_artifact(target))
    return _Scored(manifest, target, [_list_logits(model, *row) for row in lists])


def _list_logits(model: Model, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """The logits of a query's texts, ``(texts,)``."""
    head = model.query_row(query)
    states, rows = model.query_states(head), model.rows(head, texts)
    logits = np.empty(len(rows), np.float32)
    (stage,) = model.stages
    for group in schedule([len(row.ids) for row in rows]):
        batch = Batch([rows[index] for index in group.rows], [states] * len(group.rows))
        logits[group.rows] = stage(batch)[1]
    return logits


def _logit(model: Model, query: str, text: str) -> float:
    return float(_list_logits(model, query, [text])[0])
