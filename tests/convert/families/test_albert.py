"""ALBERT gives what transformers gives, with any number of groups; a graph has each weight once.

Checkpoints are random, with a Unigram tokenizer. Its settings name token types: transformers 5
forgets them otherwise (huggingface/transformers issue 48128), though the models read them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.families.agree import check_real_shape, check_tiny
from convert.families.checkpoints import make_checkpoint
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.config import Config
from resift.convert.families.albert import ALBERT
from resift.convert.stages import encoder_graph
from resift.errors import ModelError

SETTINGS: dict[str, dict[str, Any]] = {
    "one group": {},
    "two groups": {"num_hidden_layers": 4, "num_hidden_groups": 2},
    "two groups of unequal size": {"num_hidden_layers": 5, "num_hidden_groups": 2},
    "three inner layers": {"inner_group_num": 3, "num_hidden_layers": 1},
    "groups of inner layers": {
        "num_hidden_layers": 3,
        "num_hidden_groups": 2,
        "inner_group_num": 2,
    },
    "wide embeddings": {"embedding_size": 40},
    "another activation": {"hidden_act": "gelu"},
    "another epsilon": {"layer_norm_eps": 1e-2},
}


@pytest.mark.torch
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_logits_are_those_of_transformers(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    check_tiny(tmp_path, "albert", spread=0.4, **settings)


@pytest.mark.torch
@pytest.mark.real_shapes
@pytest.mark.timeout(1800)
def test_logits_in_the_shape_of_albert_base(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    check_real_shape(
        tmp_path,
        "albert",
        512,
        num_hidden_layers=12,
        num_attention_heads=12,
        hidden_size=768,
        intermediate_size=3072,
        embedding_size=128,
    )


@pytest.mark.torch
def test_a_graph_has_the_weights_of_a_group_once(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sizes = []
    for layers in (2, 6):
        folder = tmp_path / str(layers)
        source = read_cross_encoder(make_checkpoint(folder, "albert", num_hidden_layers=layers))
        model = encoder_graph(source.weights, source.shape)
        sizes.append(sum(len(tensor.raw_data) for tensor in model.graph.initializer))
    assert sizes[0] == sizes[1]


def configured(**values: Any) -> Config:
    return Config(Path("config.json"), {"num_attention_heads": 2, **values})


def test_layers_share_the_arrays_of_their_group() -> None:
    shared = "encoder.albert_layer_groups."
    weights = {
        f"{shared}{group}.albert_layers.{inner}.output.dense.weight": np.zeros((1, 1), np.float32)
        for group in range(2)
        for inner in range(2)
    }
    config = configured(num_hidden_layers=3, num_hidden_groups=2, inner_group_num=2)
    result = ALBERT.finish(weights, config)
    arrays = [result[f"encoder.layer.{index}.output.dense.weight"] for index in range(6)]
    order = [id(value) for value in weights.values()]
    assert [order.index(id(array)) for array in arrays] == [0, 1, 0, 1, 2, 3]
    assert not [name for name in result if name.startswith(shared)]


@pytest.mark.parametrize(("groups", "inner"), [(0, 1), (4, 1), (1, 0)])
def test_impossible_groups_are_refused(groups: int, inner: int) -> None:
    config = configured(num_hidden_layers=3, num_hidden_groups=groups, inner_group_num=inner)
    with pytest.raises(ModelError, match=f"num_hidden_groups {groups}, inner_group_num {inner}"):
        ALBERT.shape(config)


def test_without_an_activation_in_its_config_it_is_the_approximate_gelu() -> None:
    assert ALBERT.shape(configured(num_hidden_layers=2)).activation == "gelu_tanh"
