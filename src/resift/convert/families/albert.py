"""ALBERT (arXiv:1909.11942): narrow embeddings, and layers that share their weights.

Layers are in groups. A group has one set of weights, of one inner layer or several, and runs as
many times as it has layers.
"""

from resift.convert.config import Config
from resift.convert.families import bert
from resift.convert.families.family import Arrays, Family
from resift.convert.layers import EncoderShape
from resift.errors import ModelError

NAMES = (
    ("encoder.embedding_hidden_mapping_in.", "embeddings_project."),
    (".attention.query.", ".attention.self.query."),
    (".attention.key.", ".attention.self.key."),
    (".attention.value.", ".attention.self.value."),
    (".attention.dense.", ".attention.output.dense."),
    (".attention.LayerNorm.", ".attention.output.LayerNorm."),
    (".ffn_output.", ".output.dense."),
    (".ffn.", ".intermediate.dense."),
    (".full_layer_layer_norm.", ".output.LayerNorm."),
)
HEAD = {"pooler.": "head.dense.", "classifier.": "head.projection."}


def _shape(config: Config) -> EncoderShape:
    layers, _, inner = _numbers(config)
    return EncoderShape(
        layers=layers * inner,
        heads=config.whole("num_attention_heads"),
        epsilon=config.number("layer_norm_eps", default=1e-12),
        activation=config.activation("hidden_act", default="gelu_new"),
    )


def _numbers(config: Config) -> tuple[int, int, int]:
    """How many layers and groups there are, and inner layers in each."""
    layers = config.whole("num_hidden_layers")
    groups = config.whole("num_hidden_groups", default=1)
    inner = config.whole("inner_group_num", default=1)
    if not 1 <= groups <= layers or not inner:
        raise ModelError(
            f"{config.file}: num_hidden_groups {groups}, inner_group_num {inner}; expected from 1 "
            f"group to {layers}, with at least 1 inner layer"
        )
    return layers, groups, inner


def _finish(weights: Arrays, config: Config) -> Arrays:
    """Every layer's names for its group's arrays, which are not copied."""
    layers, groups, inner = _numbers(config)
    shared = "encoder.albert_layer_groups."
    result = {name: value for name, value in weights.items() if not name.startswith(shared)}
    for index in range(layers * inner):
        group = int(index // inner / (layers / groups))  # as in the reference implementation
        theirs = f"{shared}{group}.albert_layers.{index % inner}."
        ours = f"encoder.layer.{index}."
        result |= {
            ours + name.removeprefix(theirs): value
            for name, value in weights.items()
            if name.startswith(theirs)
        }
    return result


ALBERT = Family("albert.", _shape, bert.tokens, NAMES, HEAD, _finish)
