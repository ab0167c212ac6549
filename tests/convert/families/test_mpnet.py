"""MPNet gives what transformers gives: numbers per distance for all layers, positions from 2.

Checkpoints are random, with a tokenizer of word pieces and MPNet's special tokens.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.families.agree import check_real_shape, check_tiny
from convert.families.checkpoints import POSITIONS, make_checkpoint
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.families.mpnet import buckets
from resift.errors import ModelError

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

SETTINGS: dict[str, dict[str, Any]] = {
    "mpnet": {},
    "another activation": {"hidden_act": "relu"},
    "another epsilon": {"layer_norm_eps": 1e-2},
    "more buckets than are read": {"relative_attention_num_buckets": 40},
    "another padding": {"pad_token_id": 0},  # transformers counts from 2 all the same
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_logits_are_those_of_transformers(settings: dict[str, Any], tmp_path: Path) -> None:
    check_tiny(tmp_path, "mpnet", **settings)


@pytest.mark.real_shapes
@pytest.mark.timeout(1800)
def test_logits_in_the_shape_of_mpnet_base(tmp_path: Path) -> None:
    check_real_shape(
        tmp_path,
        "mpnet",
        512,
        num_hidden_layers=12,
        num_attention_heads=12,
        hidden_size=768,
        intermediate_size=3072,
    )


def test_buckets_are_those_of_transformers() -> None:
    import torch
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = np.arange(-600, 601)
    reference: Any = MPNetEncoder.relative_position_bucket
    expected = reference(torch.from_numpy(distances))
    np.testing.assert_array_equal(buckets(distances), expected.numpy())


def test_rows_are_as_long_as_positions_and_texts_follow_its_template(tmp_path: Path) -> None:
    source = read_cross_encoder(make_checkpoint(tmp_path / "checkpoint", "mpnet"))
    assert source.max_tokens == POSITIONS
    encoding = source.tokenizer.tokenizer.encode("ba", "be")
    assert encoding.tokens == ["<s>", "ba", "</s>", "</s>", "be", "</s>"]


def test_a_table_with_too_few_buckets_is_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", "mpnet", relative_attention_num_buckets=16
    )
    with pytest.raises(ModelError, match="has 16 rows; expected 32"):
        read_cross_encoder(checkpoint)
