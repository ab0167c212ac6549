"""A model folder is what its manifest says, or the error says in a line what is wrong with it."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from resift import Reranker
from resift.errors import ArtifactError, ModelNotFound
from resift.rerank.artifact import (
    MANIFEST,
    QUERY_TERM_GRAPH,
    TERM_FILES,
    TERM_GRAPH,
    TOKENIZER,
    Agreement,
    Exit,
    load_artifact,
    write_manifest,
)
from resift.rerank.calibration import ModelCalibration, Platt
from resift.rerank.catalogue import BUNDLED
from resift.settings import Settings

STAGE = "stage-0.onnx"
EXIT = Exit((0.01, 0.5, 0.99), (-1.25, 0.0, 2.5), 3000)
REPORT = Agreement(0.9982, 0.991, 0.95, 300, 0.0431, True, ("encoder.layer.1.output",), "resift 1")
CALIBRATION = ModelCalibration(Platt(0.75, -1.5), Platt(0.5, -2.0), 4000)


@pytest.fixture
def folder(joint_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small joint artifact that a test may spoil."""
    return Path(shutil.copytree(joint_folder, tmp_path / "model"))


def _edit(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(values | changes))


def _report_of(**changes: object) -> dict[str, Any]:
    return {"report": asdict(Agreement(0.99, 0.99, 0.99, 9, 0.1)) | changes}


def _refused(folder: Path, *messages: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Reranker(folder)
    assert "\n" not in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, "1.0", True, None, float("nan"), 1e39, 10**400])
def test_weights_of_late_interaction_are_numbers(tmp_path: Path, value: object) -> None:
    folder = Path(shutil.copytree(BUNDLED, tmp_path / "model"))
    values = json.loads((folder / MANIFEST).read_text())["late_interaction"]
    _edit(folder, late_interaction=values | {"terms": value})
    _refused(folder, "late_interaction: terms", "expected a")
    if value != 0 and value != -1:  # which are numbers
        _edit(folder, late_interaction=values | {"bias": value})
        _refused(folder, "late_interaction: bias", "expected a number")
    _edit(folder, late_interaction={})
    _refused(folder, "not a manifest")


def test_a_manifest_reads_as_it_was_written(folder: Path) -> None:
    bundled = load_artifact(BUNDLED).manifest
    files = {**load_artifact(folder).manifest.files}
    for name in TERM_FILES:
        shutil.copy(BUNDLED / name, folder)
        files[name] = bundled.files[name]
    manifest = replace(bundled, files=files, stages=(STAGE,))
    write_manifest(folder, manifest)
    assert load_artifact(folder).manifest == manifest
    assert (folder / MANIFEST).read_text().endswith("}\n")


@pytest.mark.parametrize("exits", [(), (EXIT,), (EXIT, replace(EXIT, gains=(0.0, 0.0, 0.0)))])
@pytest.mark.parametrize("calibration", [None, CALIBRATION])
def test_exits_and_calibration_read_as_they_were_written(
    folder: Path, exits: tuple[Exit, ...], calibration: ModelCalibration | None
) -> None:
    manifest = replace(load_artifact(folder).manifest, exits=exits, calibration=calibration)
    write_manifest(folder, manifest)
    loaded = load_artifact(folder).manifest
    assert loaded == manifest
    assert (loaded.exits, loaded.calibration) == (exits, calibration)


def test_a_manifest_from_before_there_were_exits_has_none(folder: Path) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    for name in ("exits", "calibration"):
        del values[name]
    (folder / MANIFEST).write_text(json.dumps(values))
    manifest = load_artifact(folder).manifest
    assert (manifest.exits, manifest.calibration) == ((), None)


@pytest.mark.parametrize(
    "report",
    [None, REPORT, replace(REPORT, is_int8=False, spearman=None, within_query=None)],
)
@pytest.mark.parametrize("label", [None, "relevant", 1])
def test_report_revision_and_label_read_as_they_were_written(
    folder: Path, report: Agreement | None, label: str | int | None
) -> None:
    manifest = load_artifact(folder).manifest
    manifest = replace(manifest, report=report, revision="0a" * 20, label=label)
    write_manifest(folder, manifest)
    assert load_artifact(folder).manifest == manifest
    assert Reranker(folder).fingerprint == manifest.fingerprint


def test_a_manifest_of_format_3_is_read_and_written_as_the_newest(folder: Path) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    for name in ("report", "revision", "label"):
        del values[name]
    (folder / MANIFEST).write_text(json.dumps(values | {"format": 3}))
    manifest = load_artifact(folder).manifest
    assert (manifest.report, manifest.revision, manifest.label) == (None, None, None)
    assert Reranker(folder).score("query", ["a text"]).shape == (1,)
    write_manifest(folder, replace(manifest, report=REPORT))
    assert json.loads((folder / MANIFEST).read_text())["format"] == 4
    assert load_artifact(folder).manifest.report == REPORT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"spearman": "high"}, "figures must be numbers"),
        ({"within_query": float("nan")}, "figures must be numbers"),
        ({"top10_overlap": True}, "figures must be numbers"),
        ({"max_difference": None}, "figures must be numbers"),
        ({"pairs": "many"}, "figures must be numbers"),
        ({"is_int8": 1}, "is_int8"),
        ({"float_layers": [3]}, "float_layers"),
        ({"float_layers": None}, "format 4"),
    ],
)
def test_a_report_that_cannot_be_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    _edit(folder, report=asdict(REPORT) | changes)
    _refused(folder, MANIFEST, message)


@pytest.mark.parametrize("name", ["report", "calibration"])
@pytest.mark.parametrize("value", [{}, [], 3, "good"])
def test_a_part_without_its_entries_is_refused(folder: Path, name: str, value: object) -> None:
    _edit(folder, **{name: value})
    _refused(folder, MANIFEST, "manifest of format 4")


def test_stages_and_tokenizer_are_paths_in_the_folder(folder: Path) -> None:
    artifact = load_artifact(folder)
    assert artifact.stages == [folder / STAGE]
    assert artifact.tokenizer == folder / TOKENIZER


@pytest.mark.parametrize("name", [STAGE, TOKENIZER])
def test_one_flipped_bit_is_found_out(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    _refused(folder, name, "SHA-256")


@pytest.mark.parametrize("name", [STAGE, TOKENIZER])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    _refused(folder, name, "missing")


def test_a_folder_that_is_not_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="absent"):
        load_artifact(tmp_path / "absent")


def test_a_file_is_no_model_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"")
    with pytest.raises(ModelNotFound, match=r"model\.onnx"):
        Reranker(file)


def test_a_transformers_checkpoint_is_told_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / TOKENIZER).write_text("{}")
    with pytest.raises(ArtifactError, match="run  resift convert FOLDER OUT"):
        load_artifact(tmp_path)


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path: Path) -> None:
    _refused(
        tmp_path, "not a resift model, and no config.json, so it is no transformers checkpoint"
    )


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "null", "\udcff"])
def test_a_manifest_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    _refused(folder, MANIFEST)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (2, "format 2, this resift reads 3 and 4; convert it again"),
        (5, "format 5, this resift reads 3 and 4; update resift"),
        ("4", "this resift reads 3 and 4; convert it again"),
        (None, "format None, this resift reads 3 and 4; convert it again"),
    ],
)
def test_another_format_is_refused_with_its_number(
    folder: Path, number: object, message: str
) -> None:
    _edit(folder, format=number)
    _refused(folder, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "causal"}, "kind 'causal'"),
        ({"kind": "late_interaction"}, "late_interaction"),
        ({"kind": "late_interaction", "late_interaction": {"cosine": 1.0}}, "query_maxsim"),
        ({"max_tokens": 100}, "multiple of 16"),
        ({"max_tokens": 0}, "multiple of 16"),
        ({"max_tokens": "many"}, "manifest of format 4"),
        ({"stages": ["other.onnx"]}, "no hash for other.onnx"),
        ({"stages": []}, "stages"),
        ({"reference": [{"query": "q"}]}, "manifest of format 4"),
        ({"files": [STAGE, TOKENIZER]}, "files"),
        ({"files": {STAGE: 1, TOKENIZER: 2}}, "files"),
        ({"surprise": 1}, "surprise"),
        ({"query_prompt": 5}, "query_prompt 5, expected text"),
        ({"passage_prompt": None}, "passage_prompt None, expected text"),
        ({"name": ["a"]}, "name ['a'], expected text"),
        ({"revision": 5}, "revision 5, expected text or null"),
        ({"label": 1.5}, "label 1.5, expected a name, an index or null"),
        ({"label": True}, "label True, expected a name, an index or null"),
        ({"report": []}, "report [], expected an object or null"),
        ({"report": 0}, "report 0, expected an object or null"),
        ({"report": {}}, "spearman"),
        (_report_of(pairs="many"), "a report's figures must be numbers"),
        (_report_of(is_int8=1), "a report needs is_int8"),
        (_report_of(float_layers=[1]), "names of float_layers"),
        (_report_of(float_layers="ab"), "names of float_layers"),
        (_report_of(quantiser=None), "names of float_layers"),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    _edit(folder, **changes)
    _refused(folder, MANIFEST, message)


def _exit_of(**changes: object) -> dict[str, Any]:
    return {"exits": [asdict(EXIT) | changes]}


def _calibration_of(curve: str = "plain", **changes: object) -> dict[str, Any]:
    values = asdict(CALIBRATION)
    return {"calibration": values | {curve: values[curve] | changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (_exit_of(levels=[0.99, 0.5, 0.01]), "rising levels"),
        (_exit_of(levels=[0.01, 0.99, 0.5]), "rising levels"),
        (_exit_of(gains=[2.5, 0.0, -1.25]), "a rising gain for each"),
        (_exit_of(gains=[-1.25, 0.0]), "a rising gain for each"),
        (_exit_of(gains=0.5), "manifest of format 4"),
        (_exit_of(surprise=1), "surprise"),
        ({"exits": [{"levels": [], "gains": []}]}, "pairs"),
        ({"exits": None}, "manifest of format 4"),
        (_calibration_of(scale=0), "a scale above 0"),
        (_calibration_of(scale=-0.75), "a scale above 0"),
        (_calibration_of("fused", scale=0.0), "a scale above 0"),
        (_calibration_of("fused", scale=-1), "a scale above 0"),
        (_calibration_of(scale=float("nan")), "expected numbers"),
        (_calibration_of(scale="steep"), "manifest of format 4"),
        (_calibration_of(surprise=1), "surprise"),
        ({"calibration": {"plain": {"scale": 1.0}, "fused": {}, "pairs": 1}}, "bias"),
        ({"calibration": {"plain": {}}}, "fused"),
    ],
)
def test_what_was_fitted_must_rise(folder: Path, changes: dict[str, Any], message: str) -> None:
    _edit(folder, **changes)
    _refused(folder, MANIFEST, message)


@pytest.mark.parametrize(
    "changes",
    [
        _exit_of(gains=[-1.25, float("nan"), 2.5]),
        _exit_of(levels=["high", "higher", "highest"]),
        _calibration_of(bias=float("nan")),
        _calibration_of(bias="low"),
        _calibration_of("fused", scale=float("inf")),
    ],
)
def test_what_was_fitted_must_be_numbers(folder: Path, changes: dict[str, Any]) -> None:
    _edit(folder, **changes)
    with pytest.raises(ArtifactError):
        load_artifact(folder)


def test_a_key_that_is_missing_is_named(folder: Path) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    del values["tolerance"]
    (folder / MANIFEST).write_text(json.dumps(values))
    _refused(folder, MANIFEST, "tolerance")


@pytest.mark.parametrize(
    "path_to", [lambda f: f"../{f.name}/{STAGE}", lambda f: str(f / STAGE), lambda f: "sub/x"]
)
def test_a_file_name_never_leaves_the_folder(folder: Path, path_to: Callable[[Path], str]) -> None:
    name = path_to(folder)
    files = dict(load_artifact(folder).manifest.files)
    _edit(folder, stages=[name], files={**files, name: files[STAGE]})
    _refused(folder, "leaves the folder")


def test_the_fingerprint_is_of_what_decides_a_score() -> None:
    manifest = load_artifact(BUNDLED).manifest
    same = [
        {"name": "other"},
        {"licence": "mit"},
        {"reference": ()},
        {"made_with": {}},
        {"exits": (EXIT,)},
        {"report": REPORT},
        {"revision": "0a" * 20},
    ]
    for change in same:
        assert replace(manifest, **change).fingerprint == manifest.fingerprint  # type: ignore[arg-type]
    assert manifest.late_interaction is not None
    weights = replace(manifest.late_interaction, bias=0.0)
    files = {**manifest.files, TOKENIZER: "0" * 64}
    different = [{"files": files}, {"late_interaction": weights}, {"max_tokens": 256}]
    prints = {replace(manifest, **change).fingerprint for change in different}  # type: ignore[arg-type]
    assert len(prints | {manifest.fingerprint}) == 4


def test_the_same_artifact_has_one_fingerprint_in_every_runtime(joint_folder: Path) -> None:
    prints = {
        Reranker(joint_folder, settings=Settings(runtime=runtime)).fingerprint
        for runtime in ("openvino", "onnxruntime")
    }
    assert len(prints) == 1


def test_the_bundled_model_is_small_and_has_no_float32_twin() -> None:
    sizes = {file.name: file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file()}
    assert sum(sizes.values()) <= 30_000_000
    graphs = {name for name in sizes if name.endswith(".onnx")}
    stages = load_artifact(BUNDLED).manifest.stages
    assert graphs == {*stages, TERM_GRAPH, QUERY_TERM_GRAPH}
    assert not [name for name in sizes if name.endswith((".safetensors", ".bin", ".pt", ".data"))]
    assert "int8" in load_artifact(BUNDLED).manifest.quantisation


def test_the_bundled_model_reads_query_and_document_together() -> None:
    manifest = load_artifact(BUNDLED).manifest
    assert manifest.stages == ("encoder.onnx", "late.onnx", "cross_attention.onnx")
    assert manifest.calibration is not None and len(manifest.exits) == 1
    assert len(manifest.reference) >= 6


def test_stages_that_would_not_run_are_refused(folder: Path) -> None:
    manifest = load_artifact(folder).manifest
    write_manifest(folder, replace(manifest, stages=manifest.stages * 2))
    with pytest.raises(ArtifactError, match="stages do not follow one another"):
        Reranker(folder)


@pytest.mark.parametrize("name", ["fusion_weight", "feedback_weight", "tolerance", "max_tokens"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "1", True, None, 128.0])
def test_a_number_that_cannot_be_is_refused(folder: Path, name: str, value: object) -> None:
    if value == 128.0 and name != "max_tokens":
        return
    values = json.loads((folder / MANIFEST).read_text())
    for given in (value, 10**400):
        (folder / MANIFEST).write_text(json.dumps(values | {name: given}))
        _refused(folder, name)


@pytest.mark.parametrize("name", [MANIFEST, TOKENIZER, STAGE])
def test_a_pipe_in_a_model_folder_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    _refused(folder, name)
