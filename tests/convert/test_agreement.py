"""Tiny checkpoints as transformers and sentence-transformers save them today keep their logits.

`test_fixtures` asks the same of stored ones without torch; `test_real_shapes` of large ones.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.agreement import graph_logits, sentence_transformers_logits, transformers_logits
from convert.checkpoints import make_checkpoint
from convert.make_fixtures import make_modules, sizes
from convert.plain_checkpoints import (
    PLAIN_FAMILIES,
    POSITIONS,
    edit_json,
    pairs,
    write_checkpoint,
    write_json,
)
from resift.convert.checkpoint import read_cross_encoder

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

TOLERANCE = 1e-4
PAIRS = pairs(40)
SHORT = [(query, text) for query, text in PAIRS if len(text.split()) < 50]
"""Pairs that fit whole: sentence-transformers also truncates queries."""


def assert_agrees(checkpoint: Path, tmp_path: Path, runtime: str | None = None) -> None:
    expected = transformers_logits(checkpoint, PAIRS, POSITIONS)
    for batch in (1, 4):
        logits = graph_logits(checkpoint, PAIRS, tmp_path, runtime, batch)
        np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 1000 * TOLERANCE


@pytest.mark.parametrize("family", PLAIN_FAMILIES)
def test_what_transformers_saves_keeps_its_logits(
    family: str, runtime: str, tmp_path: Path
) -> None:
    assert_agrees(make_checkpoint(tmp_path / "checkpoint", family), tmp_path, runtime)


@pytest.mark.parametrize("family", PLAIN_FAMILIES)
def test_two_labels_become_the_second_less_the_first(family: str, tmp_path: Path) -> None:
    assert_agrees(make_checkpoint(tmp_path / "checkpoint", family, labels=2), tmp_path)


@pytest.mark.parametrize("family", PLAIN_FAMILIES)
def test_what_these_tests_write_is_what_transformers_reads(family: str, tmp_path: Path) -> None:
    assert_agrees(write_checkpoint(tmp_path / "checkpoint", family), tmp_path)


MODERN: list[dict[str, Any]] = [
    {"classifier_pooling": "mean"},
    {"num_hidden_layers": 1},
    {"num_hidden_layers": 5, "global_attn_every_n_layers": 3, "local_attention": 6},
    {"local_attention": 300},
    {"hidden_activation": "silu", "classifier_activation": "relu"},
    {"norm_bias": True, "mlp_bias": True, "attention_bias": True, "classifier_bias": True},
    {"norm_eps": 1e-2},
    {"layer_types": ["sliding_attention", "sliding_attention"]},
]


@pytest.mark.parametrize("changes", MODERN, ids=[",".join(changes) for changes in MODERN])
def test_each_setting_of_modernbert_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    assert_agrees(make_checkpoint(tmp_path / "checkpoint", "modernbert", **changes), tmp_path)


def test_older_and_newer_names_of_modernberts_angles_are_read(tmp_path: Path) -> None:
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    }
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "modernbert", rope_parameters=rope)
    assert_agrees(checkpoint, tmp_path)
    newer = graph_logits(checkpoint, PAIRS, tmp_path)
    edit_json(
        checkpoint / "config.json",
        rope_parameters=None, layer_types=None, global_attn_every_n_layers=2,
        global_rope_theta=500.0, local_rope_theta=20.0,
    )  # fmt: skip
    np.testing.assert_array_equal(graph_logits(checkpoint, PAIRS, tmp_path), newer)
    edit_json(checkpoint / "config.json", global_rope_theta=None, local_rope_theta=None)
    assert np.abs(graph_logits(checkpoint, PAIRS, tmp_path) - newer).max() > 100 * TOLERANCE


SETTINGS: dict[str, dict[str, Any]] = {
    "no prompt": {},
    "prompt": {"prompts": {"query": "ba be "}, "default_prompt_name": "query"},
    "unused prompt": {"prompts": {"query": "ba be "}},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_cross_encoder_of_modules_keeps_its_logits(
    settings: dict[str, Any], runtime: str, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers")
    checkpoint = make_modules(tmp_path / "checkpoint", sizes("modernbert"), **settings)
    expected = sentence_transformers_logits(checkpoint, SHORT)
    logits = graph_logits(checkpoint, SHORT, tmp_path, runtime)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 1000 * TOLERANCE


def test_an_activation_of_scores_is_not_part_of_logits(tmp_path: Path) -> None:
    torch, package = pytest.importorskip("torch"), pytest.importorskip("sentence_transformers")
    identity = torch.nn.Identity()
    checkpoint = make_modules(tmp_path / "checkpoint", sizes("modernbert"), activation_fn=identity)
    logits = graph_logits(checkpoint, SHORT, tmp_path)
    model = package.CrossEncoder(str(checkpoint), device="cpu")
    np.testing.assert_allclose(logits, model.predict(SHORT), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert"])
def test_what_sentence_transformers_saves_of_a_classifier_is_read(
    family: str, tmp_path: Path
) -> None:
    package = pytest.importorskip("sentence_transformers")
    old = write_checkpoint(tmp_path / "old", family)
    model = package.CrossEncoder(
        str(old), device="cpu", prompts={"ask": "ba "}, default_prompt_name="ask"
    )
    model.save_pretrained(str(tmp_path / "new"))
    expected = sentence_transformers_logits(tmp_path / "new", SHORT)
    logits = graph_logits(tmp_path / "new", SHORT, tmp_path)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    assert read_cross_encoder(tmp_path / "new").query_prompt == "ba "


@pytest.mark.parametrize("name", ["linear.Identity", "activation.Sigmoid"])
def test_a_classifier_as_older_versions_saved_it_is_read(name: str, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    activation = f"torch.nn.modules.{name}"
    checkpoint = write_checkpoint(
        tmp_path / "checkpoint", sbert_ce_default_activation_function=activation
    )
    write_json(checkpoint / "special_tokens_map.json", {"unk_token": "[UNK]"})
    expected = sentence_transformers_logits(checkpoint, SHORT)
    logits = graph_logits(checkpoint, SHORT, tmp_path)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
