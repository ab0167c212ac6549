"""Convert a checkpoint to an artifact, and check int8 against float32.

The steps for a cross-encoder: read the checkpoint → fit exits, if any → write float32 graphs →
quantise and check → write the manifest. `embedder.py` converts bi-encoders, `multi_vector.py`
late-interaction checkpoints, `causal.py` decoders.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from resift.convert.calibration_text import CandidateLists, calibration_texts, candidate_lists
from resift.convert.causal import convert_causal
from resift.convert.check import described
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.embedder import convert_embedder
from resift.convert.exits import measure_exits, stage_layers
from resift.convert.export import Export, Stages, open_export, with_exits, write_stages
from resift.convert.late_settings import late_format
from resift.convert.modules import is_bi_encoder, is_causal
from resift.convert.multi_vector import convert_multi_vector
from resift.convert.output import (
    Conversion,
    Parity,
    check_new_folder,
    finish,
    new_manifest,
    spread_out,
    with_report,
)
from resift.errors import InputError, ModelError
from resift.rerank.artifact import Manifest, load_artifact, write_manifest
from resift.rerank.checkpoint_files import activation_of
from resift.rerank.loading import load_model
from resift.rerank.models import Batch, Model

MEASURED_LISTS = 4  # every fourth candidate list measures exits, the others fit them

_log = logging.getLogger("resift")


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
    work: Path | None = None,
    is_embedder: bool = False,
    prompts: tuple[str | None, str | None] = (None, None),
) -> Conversion:
    """Convert the checkpoint in `folder`, known as `name`, into the new folder `out`.

    A sentence-transformers bi-encoder becomes an embedder, and so does any encoder if `is_embedder`
    is set; a late-interaction checkpoint becomes a multi-vector model, a decoder a causal reranker,
    any other checkpoint a cross-encoder. `revision` is its commit. `texts` is a file of pairs for
    activation ranges. `prompts`, of queries and passages, replace those of an embedder. A
    cross-encoder gets an exit after each number of layers in `exits`, which rise; `label` is the
    relevant label of several. `work` is for temporary files. int8 that orders texts otherwise than
    float32 is not used. Raises `ModelError` for what cannot be converted and `InputError` for
    options that do not fit.
    """
    check_new_folder(out)
    with _named(folder, name):
        if late_format(folder) is not None:
            _check_late_options(name, is_embedder, exits, label, prompts)
            held = calibration_texts(texts)
            return convert_multi_vector(
                name, folder, out, held, revision=revision, int8=int8, work=work
            )
        is_embedder = is_embedder or is_bi_encoder(folder)
        causal = not is_embedder and is_causal(folder)
        _check_options(name, is_embedder, exits, label, prompts)
        if causal:
            _refuse(f"{name}: a causal reranker, which has no exits", "exits", exits or None)
            _refuse(f"{name}: a causal reranker, which has no labels", "label", label)
            return convert_causal(
                name, folder, out, revision=revision, texts=texts, int8=int8, work=work
            )
        if is_embedder:
            return convert_embedder(
                name,
                folder,
                out,
                calibration_texts(texts),
                revision=revision,
                int8=int8,
                prompts=prompts,
                work=work,
            )
        with tempfile.TemporaryDirectory(prefix="resift-", dir=work) as temporary:
            export, lists = _export(folder, Path(temporary), texts, exits, label)
            stages = write_stages(export, int8=int8)
            _log_check(name, stages)
            manifest = replace(
                _manifest(export, stages, name),
                revision=revision,
                label=label,
                activation=activation_of(folder),
            )
            write_manifest(export.artifact, manifest)
            model = load_model(load_artifact(export.artifact))
            manifest, explained = _with_measured_exits(manifest, model, lists[::MEASURED_LISTS])
            parity = _parity(stages, model)
            conversion = finish(manifest, parity, export.artifact, out, int8=stages.is_int8)
    return _with_check(replace(conversion, explained=explained), stages)


def _log_check(name: str, stages: Stages) -> None:
    if stages.report is not None:
        _log.info("%s: %s", name, described(stages.report))


def _check_options(
    name: str,
    is_embedder: bool,
    exits: Sequence[int],
    label: str | int | None,
    prompts: tuple[str | None, str | None],
) -> None:
    """Raise `InputError` for an option that the kind of model does not have."""
    if is_embedder:
        _refuse(f"{name}: an embedder, which has no exits", "exits", exits or None)
        _refuse(f"{name}: an embedder, which has no labels", "label", label)
    else:
        _refuse(f"{name}: a reranker, whose prompt is its own", "query-prompt", prompts[0])
        _refuse(f"{name}: a reranker, which has no passage prompt", "passage-prompt", prompts[1])


def _check_late_options(
    name: str,
    is_embedder: bool,
    exits: Sequence[int],
    label: str | int | None,
    prompts: tuple[str | None, str | None],
) -> None:
    """Raise for a use or an option that a late-interaction model does not have."""
    if is_embedder:
        raise ModelError(
            f"{name}: a late-interaction model, which gives a vector for each token; expected an "
            "embedder, such as intfloat/e5-small-v2. As a reranker it is named by  Reranker(…)"
        )
    _check_options(name, False, exits, label, prompts)
    _refuse(f"{name}: a late-interaction model, which has no exits", "exits", exits or None)
    _refuse(f"{name}: a late-interaction model, which has no labels", "label", label)


def _refuse(problem: str, option: str, value: object) -> None:
    """Raise `InputError` for an option that does not fit the model, if it has a value."""
    if value is not None:
        raise InputError(f"{problem}; leave --{option} out")


def _export(
    folder: Path,
    work: Path,
    texts: Path | None,
    exits: Sequence[int],
    label: str | int | None,
) -> tuple[Export, CandidateLists]:
    """What the steps share, exits included, and the candidate lists for these."""
    source = read_cross_encoder(folder, label)
    layers = stage_layers(source.shape, exits)
    pairs = calibration_texts(texts)
    export = open_export(source, layers, pairs, work)
    if not exits:
        return export, []
    lists = candidate_lists(pairs.pairs)
    fitting = [row for number, row in enumerate(lists) if number % MEASURED_LISTS]
    return with_exits(export, fitting), lists


@contextmanager
def _named(folder: Path, name: str) -> Iterator[None]:
    """Put the name that the user gave for the folder of the hub's cache, in messages."""
    try:
        yield
    except (ModelError, InputError) as error:
        if not folder.is_absolute() or Path(name) == folder or str(folder) not in str(error):
            raise
        raise type(error)(str(error).replace(str(folder), name)) from error


def _manifest(export: Export, stages: Stages, name: str) -> Manifest:
    names, limit = [file.name for file in export.files], export.source.max_tokens
    manifest = new_manifest("cross_encoder", name, export.artifact, names, limit, stages.is_int8)
    return with_report(replace(manifest, query_prompt=export.source.query_prompt), stages.report)


def _with_measured_exits(
    manifest: Manifest, model: Model, lists: CandidateLists
) -> tuple[Manifest, tuple[float, ...]]:
    """The manifest with the bounds of its exits, and the variance that each explains."""
    if not lists:
        return manifest, ()
    exits, explained = measure_exits(model, lists)
    return replace(manifest, exits=tuple(exits)), tuple(explained)


def _parity(stages: Stages, model: Model) -> Parity:
    """A few of the checked pairs, which cover the range of the float32 logits, by the artifact."""
    exact = np.concatenate(stages.logits).astype(np.float64)
    chosen = spread_out(exact)
    pairs = [(query, text) for query, texts in stages.lists for text in texts]
    pairs = [pairs[index] for index in chosen]
    logits = []
    for query, text in pairs:
        batch = Batch(model.rows(model.query_row(query), [text]))
        for stage in model.stages:
            batch, values = stage(batch)
        logits.append(float(values[0]))
    return Parity(pairs, np.array(logits), exact[chosen])


def _with_check(conversion: Conversion, stages: Stages) -> Conversion:
    """The conversion with the figures of the check, which are of more pairs than references."""
    if stages.report is None or not stages.is_int8:
        return replace(conversion, report=stages.report)
    return replace(
        conversion,
        report=stages.report,
        pairs=stages.report.pairs,
        max_difference=stages.report.max_difference,
    )
