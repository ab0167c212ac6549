"""DistilBERT (arXiv:1910.01108): BERT's layers under other names, without token types."""

from resift.convert.config import Config
from resift.convert.families import bert
from resift.convert.families.family import Family
from resift.convert.layers import EncoderShape

NAMES = (
    ("transformer.layer.", "encoder.layer."),
    (".attention.q_lin.", ".attention.self.query."),
    (".attention.k_lin.", ".attention.self.key."),
    (".attention.v_lin.", ".attention.self.value."),
    (".attention.out_lin.", ".attention.output.dense."),
    (".sa_layer_norm.", ".attention.output.LayerNorm."),
    (".ffn.lin1.", ".intermediate.dense."),
    (".ffn.lin2.", ".output.dense."),
    (".output_layer_norm.", ".output.LayerNorm."),
)


def _shape(config: Config) -> EncoderShape:
    config.refuse("sinusoidal_pos_embds", False, remedy="only learned positions can be converted")
    return EncoderShape(
        layers=config.whole("n_layers", default=6),
        heads=config.whole("n_heads", default=12),
        epsilon=1e-12,
        activation=config.activation("activation"),
        token_types=False,
        head_activation="relu",
    )


DISTILBERT = Family("distilbert.", _shape, bert.tokens, NAMES)
