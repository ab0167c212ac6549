"""DeBERTa-v2 and -v3 give what transformers gives, with every setting that changes numbers.

Checkpoints are random, with a Unigram tokenizer. What graphs cannot have is refused in one line.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.families.agree import check_real_shape, check_tiny
from convert.families.checkpoints import make_checkpoint
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.config import Config
from resift.convert.families.deberta import log_buckets
from resift.errors import ModelError

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

NO_BUCKETS = {"position_buckets": -1}
SETTINGS: dict[str, dict[str, Any]] = {
    "deberta-v3": {},
    "projections of positions": {"share_att_key": False},
    "queries read distances": {"pos_att_type": ["c2p"]},
    "keys read distances": {"pos_att_type": ["p2c"], "share_att_key": False},
    "no part reads distances": {"pos_att_type": []},
    "distances beyond the buckets": {"max_relative_positions": 24},
    "few distances without buckets": NO_BUCKETS | {"max_relative_positions": 16},
    "distances without buckets": NO_BUCKETS,
    "an odd number of buckets": {"position_buckets": 9},
    "all distances exact": {"position_buckets": 256},
    "distances not normalised": {"norm_rel_ebd": "none"},
    "positions too": {"position_biased_input": True},
    "token types too": {"type_vocab_size": 2},
    "positions and token types": {"position_biased_input": True, "type_vocab_size": 2},
    "positions alone": {"position_biased_input": True, "relative_attention": False},
    "narrow embeddings": {"embedding_size": 20, "type_vocab_size": 2},
    "other activations": {"pooler_hidden_act": "tanh", "hidden_act": "gelu_new"},
    "another epsilon": {"layer_norm_eps": 1e-2},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_logits_are_those_of_transformers(settings: dict[str, Any], tmp_path: Path) -> None:
    check_tiny(tmp_path, "deberta-v2", **settings)


V3 = {"position_buckets": 256}
SMALL = V3 | {
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
}
XSMALL = V3 | {
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "hidden_size": 384,
    "intermediate_size": 1536,
}


@pytest.mark.real_shapes
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shape", [SMALL, XSMALL], ids=["small", "xsmall"])
def test_logits_in_the_shape_of_deberta_v3(shape: dict[str, Any], tmp_path: Path) -> None:
    check_real_shape(tmp_path, "deberta-v2", 512, **shape)


@pytest.mark.real_shapes
@pytest.mark.timeout(1800)
def test_logits_of_a_model_that_reads_1024_tokens(tmp_path: Path) -> None:
    reach = {"max_relative_positions": 512}  # further distances share the last bucket
    check_real_shape(tmp_path, "deberta-v2", 1024, (100, 700, 1200), count=24, **(XSMALL | reach))


@pytest.mark.parametrize(
    ("span", "reach"), [(256, 512), (256, 1280), (32, 128), (8, 24), (9, 64), (320, 512)]
)
def test_buckets_are_those_of_transformers(span: int, reach: int) -> None:
    import torch
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distances = np.arange(-1300, 1301)
    expected = make_log_bucket_position(torch.from_numpy(distances), span, reach)
    actual = log_buckets(distances, span, reach, Config(Path("config.json"), {}))
    np.testing.assert_array_equal(actual, expected.long().numpy())


REFUSED = [
    ({"conv_kernel_size": 3}, "conv_kernel_size is 3; a convolution"),
    ({"position_buckets": 60, "max_relative_positions": 20}, "position_buckets 60 with distances"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_settings_that_graphs_cannot_have_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "deberta-v2", **settings)
    with pytest.raises(ModelError, match=message) as caught:
        read_cross_encoder(checkpoint)
    assert "\n" not in str(caught.value)
