"""Scores mean what was fitted, orders stay, and a file for another model is refused."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift import Candidate, Reranker
from resift.errors import CalibrationError, OutputError
from resift.rerank.artifact import load_artifact
from resift.rerank.calibration import (
    MAX_BYTES,
    SIGMOID,
    Curve,
    Fit,
    Isotonic,
    JudgedCalibration,
    Platt,
    ScoreScale,
    open_scale,
    read_calibration,
    write_calibration,
)
from resift.rerank.catalogue import BUNDLED
from resift.settings import Settings
from texts import passages

QUERY = "how do I keep an object from being deleted"
POOL = passages(30)
MANIFEST = load_artifact(BUNDLED).manifest
FLAT = Isotonic((-8.0, 0.0, 8.0), (0.01, 0.4, 0.4))
FUSED = Platt(0.5, -3.0)
STEEP = Platt(3.0, 0.0)

logits = st.lists(st.floats(-30, 30), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    thousandths = st.sets(st.integers(-20_000, 20_000), min_size=1, max_size=8)
    logits_ = sorted(logit / 1000 for logit in draw(thousandths))
    inside = st.floats(1e-6, 1 - 1e-6)
    probabilities = sorted(draw(st.lists(inside, min_size=len(logits_), max_size=len(logits_))))
    return Isotonic(tuple(logits_), tuple(probabilities))


platts = st.builds(Platt, st.floats(0.01, 1), st.floats(-3, 3))
curves = st.one_of(platts, isotonics())


def made(plain: Curve = FLAT, fused: Curve | None = FUSED, depth: int = 30) -> JudgedCalibration:
    """For the bundled model."""

    def fit(curve: Curve) -> Fit:
        return Fit(curve, {curve.method: 0.1}, {curve.method: 0.02})

    return JudgedCalibration(
        model=MANIFEST.name,
        fingerprint=MANIFEST.fingerprint,
        queries=40,
        pairs=4_000,
        relevant=90,
        plain=fit(plain),
        fused=fit(fused) if fused else None,
        fusion_weight=MANIFEST.fusion_weight,
        feedback_weight=MANIFEST.feedback_weight,
        bins=15,
        made={"at": "a day"},
        depth=depth,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A calibration of the bundled model."""
    write_calibration(tmp_path / "own.json", made())
    return tmp_path / "own.json"


@given(curves, logits)
def test_a_curve_never_falls_and_is_never_quite_sure(curve: Curve, logits_: list[float]) -> None:
    probabilities = curve(np.sort(np.array(logits_)))
    assert (np.diff(probabilities) >= -1e-15).all()  # but for rounding
    assert ((probabilities > 0) & (probabilities < 1)).all()


@given(isotonics(), st.floats(-25, 25))
def test_an_isotonic_curve_has_no_steps(curve: Isotonic, logit: float) -> None:
    near = curve(np.array([logit, logit + 1e-9]))
    assert near[1] - near[0] <= 1e-6  # knots are a thousandth apart at least


def test_an_isotonic_curve_is_level_beyond_its_ends_and_straight_between() -> None:
    values = FLAT(np.array([-50.0, -8.0, -4.0, 0.0, 50.0, np.nan]))
    np.testing.assert_allclose(values, [0.01, 0.01, 0.205, 0.4, 0.4, np.nan])


@given(curves, st.one_of(st.none(), curves))
def test_a_file_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, plain: Curve, fused: Curve | None
) -> None:
    file = tmp_path_factory.getbasetemp() / "round.json"
    write_calibration(file, made(plain, fused))
    assert read_calibration(file) == made(plain, fused)
    assert file.read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as JSON"),
        ("\udcff", "not readable as JSON"),
        ("[1]", "format None, this resift reads 2"),
        ('{"format": 1}', "format 1, this resift reads 2; run  resift calibrate  again"),
        ('{"format": 3}', "format 3, this resift reads 2; update resift"),
        ('{"format": 2}', "no calibration of format 2"),
    ],
)
def test_what_is_no_calibration_is_refused_in_a_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "odd.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    _refused(file, message)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ({"method": "magic"}, "method 'magic', expected platt or isotonic"),
        ({"method": "platt", "scale": -1.0, "bias": 0.0}, "a scale above 0"),
        ({"method": "platt", "scale": "steep", "bias": 0.0}, "no calibration"),
        ({"method": "platt", "scale": 1.0}, "bias"),
        ({"method": "isotonic", "logits": [], "probabilities": []}, "as many probabilities"),
        ({"method": "isotonic", "logits": [0, 1], "probabilities": [0.1]}, "as many probabilities"),
        ({"method": "isotonic", "logits": [1, 0], "probabilities": [0.1, 0.2]}, "logits that rise"),
        ({"method": "isotonic", "logits": [0, 1], "probabilities": [0.2, 0.1]}, "never fall"),
        ({"method": "isotonic", "logits": [0, 1], "probabilities": [0.0, 0.1]}, "over 0"),
        ({"method": "isotonic", "logits": [0, None], "probabilities": [0.1, 0.2]}, "numbers"),
        ("steep", "no calibration"),
    ],
)
def test_a_curve_that_cannot_be_is_refused(file: Path, curve: object, message: str) -> None:
    values = json.loads(file.read_text())
    values["plain"]["curve"] = curve
    file.write_text(json.dumps(values))
    _refused(file, message)


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    _refused(tmp_path / "absent.json", "absent.json: no such file;  resift calibrate")
    _refused(tmp_path, "cannot be read")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for file in (tmp_path / "taken", tmp_path / "absent" / "own.json"):
        with pytest.raises(OutputError, match=r"is a folder|there is no folder"):
            write_calibration(file, made())
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def _refused(file: Path, message: str) -> None:
    with pytest.raises(CalibrationError) as caught:
        open_scale(MANIFEST.scale, MANIFEST.name, MANIFEST.fingerprint, file)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_another_models_calibration_is_refused_naming_both(
    tmp_path: Path, joint_folder: Path
) -> None:
    file = tmp_path / "other.json"
    write_calibration(file, made())
    tiny = load_artifact(joint_folder).manifest
    with pytest.raises(CalibrationError) as caught:
        Reranker(joint_folder, calibration=file)
    for name in (MANIFEST.name, MANIFEST.fingerprint, tiny.name, tiny.fingerprint):
        assert name in str(caught.value)


WINDOW = [Candidate(str(n), text, score=30.0 - n) for n, text in enumerate(POOL)]


def test_scores_are_the_files_and_the_order_is_as_it_was(bundled: Reranker, file: Path) -> None:
    """A curve may tie scores, and never ranks."""
    calibrated = Reranker(calibration=str(file), settings=Settings(runtime=_runtime(bundled)))
    for documents, curve, added in ((POOL, FLAT, False), (WINDOW, FUSED, True)):
        ranking, before = (model.rank(QUERY, documents, None) for model in (calibrated, bundled))
        assert [hit.index for hit in ranking] == [hit.index for hit in before]
        assert [hit.logit for hit in ranking] == [hit.logit for hit in before]
        sums = [(hit.logit or 0) + (hit.fusion + hit.feedback) * added for hit in ranking]
        assert [hit.score for hit in ranking] == pytest.approx(_probabilities(curve, sums))
        assert (ranking.receipt.calibration, before.receipt.calibration) == ("judged", "model")


def _probabilities(curve: Curve, logits_: Sequence[float]) -> list[float]:
    return [float(probability) for probability in curve(np.array(logits_))]


def _runtime(reranker: Reranker) -> str:
    return reranker.rank(QUERY, POOL[:1]).receipt.runtime.split()[0]


def test_settings_name_the_file_too_and_the_argument_wins(file: Path, tmp_path: Path) -> None:
    steep = tmp_path / "steep.json"
    write_calibration(steep, made(STEEP))
    settings = Settings(calibration=str(file))
    for given_file, curve in ((None, FLAT), (steep, STEEP)):
        hit = Reranker(calibration=given_file, settings=settings).rank(QUERY, POOL, 1)[0]
        assert hit.logit is not None
        assert hit.score == pytest.approx(_probabilities(curve, [hit.logit])[0])


def test_at_another_weight_the_models_own_scale_is_taken_and_nobody_vouches_for_it(
    bundled: Reranker, file: Path
) -> None:
    calibrated = Reranker(calibration=file, settings=Settings(runtime=_runtime(bundled)))
    ranking, before = (
        model.rank(QUERY, WINDOW, fusion_weight=2.0) for model in (calibrated, bundled)
    )
    assert ranking.hits == before.hits
    assert ranking.receipt.calibration == before.receipt.calibration == "none"


def test_a_file_without_a_fused_curve_leaves_fused_scores_to_the_model(
    bundled: Reranker, tmp_path: Path
) -> None:
    write_calibration(tmp_path / "plain.json", made(fused=None))
    settings = Settings(runtime=_runtime(bundled))
    calibrated = Reranker(calibration=tmp_path / "plain.json", settings=settings)
    ranking = calibrated.rank(QUERY, WINDOW)
    assert ranking.hits == bundled.rank(QUERY, WINDOW).hits
    assert ranking.receipt.calibration == "model"
    assert calibrated.rank(QUERY, POOL).receipt.calibration == "judged"


def test_without_any_calibration_the_receipt_says_so(joint: Reranker) -> None:
    assert joint.rank(QUERY, POOL[:3]).receipt.calibration == "none"
    assert joint.rank(QUERY, WINDOW, fusion_weight=1.0).receipt.calibration == "none"


def test_a_scale_takes_a_weight_for_its_own_but_for_rounding() -> None:
    scale = ScoreScale("judged", SIGMOID, FUSED, 0.3, 4.0)
    assert scale.curve(0.1 + 0.2, 4.0) == (FUSED, "judged")
    assert scale.curve(0.3001, 4.0) == (FUSED, "none")
    assert scale.curve(0.3, 0.0) == (FUSED, "none")
    assert scale.curve(0.0, 0.0) == (SIGMOID, "judged")


@pytest.mark.parametrize(
    ("depth", "meaning"), [(30, "judged"), (25, "judged"), (100, "judged_other_depth")]
)
def test_at_another_depth_a_receipt_says_so(tmp_path: Path, depth: int, meaning: str) -> None:
    write_calibration(tmp_path / "own.json", made(depth=depth))
    calibrated = Reranker(calibration=tmp_path / "own.json")
    for documents in (POOL, WINDOW):
        receipt = calibrated.rank(QUERY, documents, 3).receipt
        assert receipt.calibration == meaning
        notes = [note for note in receipt.notes if "calibrate --depth 30" in note]
        assert len(notes) == (meaning != "judged")
    assert (
        calibrated.score_candidates(QUERY, POOL).ranking(depth=5).receipt.calibration
        == "judged_other_depth"
    )
    with pytest.warns(UserWarning, match="not 4"):
        calibrated.rank(QUERY, POOL[:4], min_score=0.1)


@pytest.mark.parametrize("name", ["depth", "plain", "bins", "fingerprint"])
def test_every_value_of_a_file_is_needed(file: Path, name: str) -> None:
    values = json.loads(file.read_text())
    del values[name]
    file.write_text(json.dumps(values))
    _refused(file, name if name != "fingerprint" else "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fusion_weight", float("nan")),
        ("feedback_weight", "4"),
        ("fusion_weight", -1.0),
        ("fusion_weight", True),
        ("feedback_weight", 10**400),
        ("queries", "many"),
        ("pairs", -1),
        ("relevant", 1.5),
        ("bins", None),
        ("depth", "deep"),
        ("depth", None),
        ("depth", -5),
        ("depth", True),
        ("model", None),
        ("fingerprint", 7),
        ("made", "today"),
        ("made", None),
        ("plain", None),
        ("plain", []),
        ("fused", "curve"),
        ("more", 1),
    ],
)
def test_every_value_of_a_file_is_checked(file: Path, name: str, value: object) -> None:
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {name: value}))
    _refused(file, "")


@pytest.mark.parametrize(
    "change",
    [
        {"log_loss": {}},
        {"log_loss": {"isotonic": "low"}},
        {"calibration_error": {"platt": 0.1}},
        {"calibration_error": {"isotonic": float("nan")}},
        {"calibration_error": [1]},
        {"curve": {"method": "isotonic", "logits": ["0", "1"], "probabilities": [0.1, 0.2]}},
        {"curve": {"method": "isotonic", "logits": [0, True], "probabilities": [0.1, 0.2]}},
        {"curve": {"method": "isotonic", "logits": [0, 1e999], "probabilities": [0.1, 0.2]}},
        {"curve": {"method": "isotonic", "logits": [0, 10**400], "probabilities": [0.1, 0.2]}},
        {"curve": {"method": "isotonic", "logits": 3, "probabilities": [0.1]}},
        {"curve": {"method": "isotonic", "logits": [[0]], "probabilities": [[0.1]]}},
        {"curve": {"method": "platt", "scale": float("nan"), "bias": 0}},
        {"curve": {"method": "platt", "scale": True, "bias": 0}},
    ],
)
def test_every_value_of_a_fit_is_checked(file: Path, change: dict[str, object]) -> None:
    values = json.loads(file.read_text())
    values["plain"] |= change
    file.write_text(json.dumps(values))
    _refused(file, "")


def test_what_cannot_be_a_calibration_is_not_read(file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    _refused(tmp_path / "pipe", "is a pipe, expected a file")
    large = tmp_path / "large.json"
    with large.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    _refused(large, "has more than")
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 200_000)
    _refused(deep, "not readable as JSON")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_calibration(file) == made()
