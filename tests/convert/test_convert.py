"""A checkpoint becomes an artifact whose int8 was measured; float32 stays where int8 is not close.

Checkpoints are tiny: with weights as small as trained ones int8 is close, with large ones it is
not, and in between some layers stay in float32.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.plain_checkpoints import SPREAD, TRAINED, WORDS, pairs, write_checkpoint
from resift import Reranker
from resift.convert import convert, graph
from resift.convert.check import MIN_SPEARMAN
from resift.convert.convert import convert_folder
from resift.convert.output import Conversion
from resift.errors import InputError
from resift.rerank.artifact import Manifest, load_artifact
from resift.settings import Settings

NAME = "owner/tiny"
COMMIT = "0a" * 20
PAIRS = pairs(240)
QUERY, TEXTS = PAIRS[0][0], [text for _, text in PAIRS[:40]]
FAMILIES = {"close": "roberta", "far": "bert", "mixed": "bert"}
SPREADS = {"close": TRAINED, "far": SPREAD, "mixed": TRAINED}


@dataclass(frozen=True, slots=True)
class Made:
    """A conversion, where it went, and the lines that it logged."""

    checkpoint: Path
    folder: Path
    conversion: Conversion
    lines: tuple[str, ...]

    @property
    def manifest(self) -> Manifest:
        return load_artifact(self.folder).manifest

    @property
    def graph(self) -> onnx.GraphProto:
        return onnx.load(str(self.folder / "stage-0.onnx")).graph

    def reranker(self, runtime: str | None = None) -> Reranker:
        return Reranker(self.folder, settings=Settings(runtime=runtime))


@pytest.fixture(scope="module")
def own_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of pairs whose words the checkpoints know."""
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.jsonl")


def write_texts(file: Path) -> Path:
    file.write_text("".join(json.dumps({"query": q, "text": text}) + "\n" for q, text in PAIRS))
    return file


def make(folder: Path, kind: str, texts: Path | None) -> Made:
    lines: list[str] = []
    checkpoint = write_checkpoint(folder / "checkpoint", FAMILIES[kind], spread=SPREADS[kind])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert._log, "info", lambda line, *values: lines.append(line % values))
        out = folder / "out"
        conversion = convert_folder(checkpoint, out, name=NAME, revision=COMMIT, texts=texts)
    return Made(checkpoint, folder / "out", conversion, tuple(lines))


@pytest.fixture(scope="module")
def close(own_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("close"), "close", own_texts)


@pytest.fixture(scope="module")
def far(own_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("far"), "far", own_texts)


@pytest.fixture(scope="module")
def mixed(own_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("mixed"), "mixed", own_texts)


def float_kernels(made: Made) -> set[str]:
    """The layers of an artifact whose kernels are float32."""
    constants = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    return {
        node.name.removesuffix(".matmul")
        for node in made.graph.node
        if node.op_type == "MatMul"
        and node.name.startswith("encoder.layer")
        and node.input[1].endswith(".kernel")
        and constants.get(node.input[1]) == onnx.TensorProto.FLOAT
    }


def test_int8_that_is_close_is_taken_and_says_how_close(close: Made) -> None:
    report = close.conversion.report
    assert report is not None and report.is_int8 and report.float_layers == ()
    assert report.spearman is not None and report.spearman >= MIN_SPEARMAN
    assert close.manifest.quantisation.startswith("static int8")
    assert float_kernels(close) == set()
    (line,) = close.lines
    assert line.startswith(f"{NAME}: int8 against float32: Spearman {report.spearman:.4f}, ")
    assert line.endswith(f"; {report.pairs} pairs, difference {report.max_difference:.3f}")


def test_int8_that_is_not_close_keeps_float32_and_says_so(far: Made, tmp_path: Path) -> None:
    report = far.conversion.report
    assert report is not None and not report.is_int8
    assert report.spearman is not None and report.spearman < MIN_SPEARMAN
    assert far.manifest.quantisation == "none: float32, as int8 is not close enough to it"
    assert far.lines[0].startswith(f"{NAME}: kept in float32: int8 is not close enough to it (")
    plain = convert_folder(far.checkpoint, tmp_path / "plain", name=NAME, int8=False)
    assert plain.report is None
    assert load_artifact(tmp_path / "plain").manifest.fingerprint == far.manifest.fingerprint
    assert {file.name for file in far.folder.iterdir()} == {
        "manifest.json",
        "tokenizer.json",
        "stage-0.onnx",
    }


def test_layers_that_do_harm_stay_float32_and_are_named(mixed: Made) -> None:
    report = mixed.conversion.report
    assert report is not None and report.is_int8
    assert 0 < len(report.float_layers) < 6
    assert float_kernels(mixed) == set(report.float_layers)
    assert mixed.lines[0].endswith(f"; {len(report.float_layers)} layers in float32")


@pytest.mark.parametrize("kind", ["close", "far", "mixed"])
def test_the_manifest_holds_the_report_and_the_commit(
    kind: str, request: pytest.FixtureRequest
) -> None:
    made: Made = request.getfixturevalue(kind)
    assert made.manifest.report == made.conversion.report
    assert (made.manifest.revision, made.manifest.label) == (COMMIT, None)
    assert (made.manifest.base_model, made.manifest.name) == (NAME, NAME)


@pytest.mark.parametrize("kind", ["close", "far", "mixed"])
def test_references_hold_in_every_runtime_and_logits_are_near_float32s(
    kind: str, runtime: str, request: pytest.FixtureRequest
) -> None:
    made: Made = request.getfixturevalue(kind)
    reranker = made.reranker(runtime)
    assert len(made.manifest.reference) == 8
    for pair in made.manifest.reference:
        logit = reranker.score(pair.query, [pair.text])[0]
        assert logit == pytest.approx(pair.logit, abs=made.manifest.tolerance)
        assert abs(pair.logit - pair.logit_fp32) <= made.conversion.max_difference + 1e-5
    together = reranker.score(QUERY, TEXTS)
    alone = [reranker.score(QUERY, [text])[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-3, rtol=0)


def test_texts_in_a_language_that_the_model_does_not_know(tmp_path: Path) -> None:
    """The built-in texts are English: ranges and check then come from the model's own words."""
    made = make(tmp_path, "close", None)
    report = made.conversion.report
    assert report is not None and report.is_int8
    assert report.spearman is not None and report.spearman >= MIN_SPEARMAN
    assert report.pairs == 300
    for pair in made.manifest.reference:
        assert set(f"{pair.query} {pair.text}".split()) <= set(WORDS)


def test_references_are_of_the_users_texts(close: Made, own_texts: Path) -> None:
    lines = [json.loads(line) for line in own_texts.read_text().splitlines()]
    held_out = {line["text"] for line in lines[4::5]}
    assert {pair.text for pair in close.manifest.reference} <= held_out


@pytest.fixture
def tiny_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of a few kB count as too large for one file."""
    monkeypatch.setattr(graph, "MAX_BYTES", 10_000)


@pytest.mark.usefixtures("tiny_limit")
@pytest.mark.parametrize("kind", ["close", "far", "mixed"])
def test_a_large_graph_has_its_weights_in_a_second_file(
    kind: str, own_texts: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    small: Made = request.getfixturevalue(kind)
    large = make(tmp_path, kind, own_texts)
    files = {"manifest.json", "tokenizer.json", "stage-0.onnx", "stage-0.onnx.data"}
    assert {file.name for file in large.folder.iterdir()} == files
    assert set(large.manifest.files) == files - {"manifest.json"}
    assert large.manifest.report == small.manifest.report
    for runtime in ("openvino", "onnxruntime"):
        expected = small.reranker(runtime).score(QUERY, TEXTS)
        actual = large.reranker(runtime).score(QUERY, TEXTS)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.usefixtures("tiny_limit")
def test_a_large_model_gets_exits_too(own_texts: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "roberta", spread=TRAINED)
    made = convert_folder(checkpoint, tmp_path / "out", name=NAME, texts=own_texts, exits=(1,))
    names = {file.name for file in (tmp_path / "out").glob("*.data")}
    assert names == {"stage-0.onnx.data", "stage-1.onnx.data"}
    assert made.report is not None and made.report.is_int8
    assert len(Reranker(tmp_path / "out").score(QUERY, TEXTS)) == len(TEXTS)


def test_a_label_of_several_is_noted(tmp_path: Path) -> None:
    names = {"0": "no", "1": "relevant", "2": "maybe"}
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=3, id2label=names)
    convert_folder(checkpoint, tmp_path / "out", name=NAME, int8=False, label="relevant")
    manifest = load_artifact(tmp_path / "out").manifest
    assert (manifest.label, manifest.revision, manifest.report) == ("relevant", None, None)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from resift.convert import convert, export
checked = export.checked
def slow(*arguments):
    result = checked(*arguments)
    Path(sys.argv[3]).touch()
    time.sleep(100)
    return result
export.checked = slow
convert.convert_folder(Path(sys.argv[1]), Path(sys.argv[2]), name="made")
"""


@pytest.fixture
def half_way(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that converts into ``models/out`` and has written its int8 graphs."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "roberta", spread=TRAINED)
    models, mark = tmp_path / "models", tmp_path / "half way"
    models.mkdir()
    arguments = [checkpoint, models / "out", mark, Path(__file__).parent.parent]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)])
    end = time.monotonic() + 60
    while not mark.exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def test_a_kill_leaves_a_hidden_folder_and_no_artifact(
    half_way: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    half_way.kill()
    half_way.wait(30)
    (left,) = (tmp_path / "models").iterdir()
    assert left.name.startswith(".resift-") and left.suffix == ".part"
    out = tmp_path / "models" / "out"
    convert_folder(tmp_path / "checkpoint", out, name=NAME, int8=False)
    assert load_artifact(out).manifest.name == NAME


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("half way")

    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(convert, "load_artifact", fail)
    with pytest.raises(RuntimeError, match="half way"):
        convert_folder(checkpoint, tmp_path / "models" / "out", name=NAME, int8=False)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("bad", ["{", '{"query": "no text"}', "[]", ""])
def test_a_bad_line_of_calibration_is_named(bad: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    file = tmp_path / "texts.jsonl"
    file.write_text(f'{{"query": "q", "text": "t"}}\n{bad}\n', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        convert_folder(checkpoint, tmp_path / "out", name=NAME, texts=file)
    assert str(caught.value).startswith(f"{file}:2: expected a line of")
    assert not (tmp_path / "out").exists()


def test_a_calibration_file_without_pairs_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    file = tmp_path / "texts.jsonl"
    file.touch()
    with pytest.raises(InputError, match="contains no pairs"):
        convert_folder(checkpoint, tmp_path / "out", name=NAME, texts=file)
    assert not (tmp_path / "out").exists()
