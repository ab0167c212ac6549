"""Convert a checkpoint to an artifact, and check int8 against float32.

The steps for a cross-encoder: read the checkpoint → fit exits, if any → write float32 graphs →
quantise and check → write the manifest. `embedder.py` converts bi-encoders, `multi_vector.py`
late-interaction checkpoints, `causal.py` decoders.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from resift.convert.calibration_text import CandidateLists, calibration_texts, candidate_lists
from resift.convert.causal import convert_causal
from resift.convert.check import described
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.embedder import convert_embedder
from resift.convert.exits import measure_exits, stage_layers
from resift.convert.export import Export, Stages, open_export, with_exits, write_stages
from resift.convert.late_settings import late_format
from resift.convert.modules import activation_of, is_bi_encoder, is_causal
from resift.convert.multi_vector import convert_multi_vector
from resift.convert.output import (
    Conversion,
    check_new_folder,
    finish,
    list_parity,
    new_manifest,
    with_check,
    with_report,
)
from resift.errors import InputError, ModelError
from resift.rerank.artifact import Kind, Manifest, load_artifact, write_manifest
from resift.rerank.loading import load_model
from resift.rerank.models import Batch, Model

MEASURED_LISTS = 4  # every fourth candidate list measures exits, the others fit them
_KINDS: Mapping[Kind, str] = {
    "embedder": "an embedder",
    "causal": "a causal reranker",
    "multi_vector": "a late-interaction model",
}
"""Those that have neither exits nor labels."""

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
        kind = _kind(folder, name, is_embedder)
        _check_options(name, kind, exits, label, prompts)
        if kind == "multi_vector":
            return convert_multi_vector(
                name, folder, out, calibration_texts(texts), revision=revision, int8=int8, work=work
            )
        if kind == "causal":
            return convert_causal(
                name, folder, out, revision=revision, texts=texts, int8=int8, work=work
            )
        if kind == "embedder":
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
            parity = list_parity(stages.lists, stages.logits, partial(_logit, model))
            conversion = finish(manifest, parity, export.artifact, out, int8=stages.is_int8)
    return with_check(replace(conversion, explained=explained), stages.report)


def _log_check(name: str, stages: Stages) -> None:
    if stages.report is not None:
        _log.info("%s: %s", name, described(stages.report))


def _kind(folder: Path, name: str, is_embedder: bool) -> Kind:
    """What a checkpoint becomes. Raises `ModelError`."""
    if late_format(folder) is not None:
        if is_embedder:
            raise ModelError(
                f"{name}: a late-interaction model, which gives a vector for each token; expected "
                "an embedder, such as intfloat/e5-small-v2. As a reranker it is named by  "
                "Reranker(…)"
            )
        return "multi_vector"
    if is_embedder or is_bi_encoder(folder):
        return "embedder"
    return "causal" if is_causal(folder) else "cross_encoder"


def _check_options(
    name: str,
    kind: Kind,
    exits: Sequence[int],
    label: str | int | None,
    prompts: tuple[str | None, str | None],
) -> None:
    """Raise `InputError` for an option that the kind of model does not have."""
    if kind != "embedder":
        _refuse(f"{name}: a reranker, whose prompt is its own", "query-prompt", prompts[0])
        _refuse(f"{name}: a reranker, which has no passage prompt", "passage-prompt", prompts[1])
    if kind in _KINDS:
        _refuse(f"{name}: {_KINDS[kind]}, which has no exits", "exits", exits or None)
        _refuse(f"{name}: {_KINDS[kind]}, which has no labels", "label", label)


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


def _logit(model: Model, query: str, text: str) -> float:
    """The last stage's logit."""
    batch = Batch(model.rows(model.query_row(query), [text]))
    for stage in model.stages:
        batch, values = stage(batch)
    return float(values[0])
