"""Term matching is added to an artifact whose encoder and cross-attention stay what they are."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resift.convert.late_interaction import Float32Model
from resift.rerank.artifact import load_artifact
from resift.rerank.loading import load_model
from resift.training.export import score_list
from split_artifacts import LATE, SHAPE, split_weights, term_model, write_tokenizer

pytest.importorskip("torch")
pytestmark = pytest.mark.torch  # the train extra brings it

from resift.training.add_terms import add_terms, main, state_scales  # noqa: E402
from resift.training.export import export  # noqa: E402
from training.test_export import SOURCES  # noqa: E402

WEIGHT = 1.5


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Float32Model:
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "words.json")
    return Float32Model("made", split_weights(), SHAPE, tokenizer, "random", "apache-2.0")


@pytest.fixture(scope="session")
def before(model: Float32Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("before") / "model"
    export(model, SOURCES, out)
    return out


@pytest.fixture(scope="session")
def after(model: Float32Model, before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("after") / "model"
    with_terms = replace(model, terms=term_model(), term_weight=WEIGHT)
    out.mkdir()
    add_terms(load_artifact(before), with_terms, SOURCES, out)
    return out


def test_logits_gain_the_terms_and_nothing_else(before: Path, after: Path, runtime: str) -> None:
    old, new = (load_model(load_artifact(path), runtime) for path in (before, after))
    query, texts = SOURCES[0].query_texts[0], SOURCES[0].texts[:20]
    without, with_terms = (score_list(model, query, texts) for model in (old, new))
    parts = new.term_parts(query, texts)  # type: ignore[attr-defined]
    assert np.allclose(with_terms.early - without.early, parts, atol=1e-4) and np.std(parts) > 0.05
    residuals = without.final - without.early
    assert np.allclose(with_terms.final - with_terms.early, residuals, atol=1e-4)
    assert np.std(residuals) > 1e-3


def test_the_encoder_stays_to_the_byte_and_the_weights_of_the_ranking(
    before: Path, after: Path
) -> None:
    for name in ("encoder.onnx", "tokenizer.json"):
        assert (after / name).read_bytes() == (before / name).read_bytes()
    old, new = (load_artifact(path).manifest for path in (before, after))
    assert (new.fusion_weight, new.feedback_weight) == (old.fusion_weight, old.feedback_weight)
    assert new.late_interaction == replace(LATE, terms=WEIGHT)
    assert new.exits and new.reference != old.reference
    assert new.fingerprint != old.fingerprint


@pytest.mark.parametrize(
    "base, weight, message",
    [("after", "1", "has term matching"), ("before", "1", "exists already"), ("before", "0", "")],
)
def test_a_command_that_cannot_end_well_ends_at_once(
    before: Path,
    after: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    base: str,
    weight: str,
    message: str,
) -> None:
    folder = {"before": before, "after": after}[base]
    (tmp_path / "note.txt").write_text("mine")
    command = ["add_terms", "pairs", "terms", str(tmp_path), "--base", str(folder)]
    monkeypatch.setattr(sys, "argv", [*command, "--weight", weight])
    with pytest.raises(SystemExit, match=message or "2"):
        main()
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_scales_are_read_from_the_graph(before: Path) -> None:
    scales = state_scales(before / "cross_attention.onnx")
    assert scales.shape == (2, 32) and (scales > 0).all()
