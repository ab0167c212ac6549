"""BERT (arXiv:1810.04805) and ELECTRA (arXiv:2003.10555), whose names are the canonical ones."""

from resift.convert.config import Config
from resift.convert.families.family import Family
from resift.convert.graph import Activation
from resift.convert.layers import EncoderShape


def shape(
    config: Config,
    *,
    head_activation: Activation = "tanh",
    first_position: int = 0,
) -> EncoderShape:
    """The shape of an encoder with BERT's layers."""
    config.refuse(
        "position_embedding_type", "absolute", remedy="only absolute positions can be converted"
    )
    return EncoderShape(
        layers=config.whole("num_hidden_layers"),
        heads=config.whole("num_attention_heads"),
        epsilon=config.number("layer_norm_eps", default=1e-12),
        activation=config.activation("hidden_act"),
        first_position=first_position,
        head_activation=head_activation,
    )


def tokens(config: Config) -> int:
    """As many as the position table has rows."""
    return config.whole("max_position_embeddings", default=512)


BERT = Family("bert.", shape, tokens)
ELECTRA = Family("electra.", lambda config: shape(config, head_activation="gelu"), tokens)
