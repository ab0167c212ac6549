"""ModernBERT (arXiv:2412.13663): norms before each block, rotary positions, gated feed-forward.

Every third layer sees all tokens, the others as many as half of ``local_attention`` to each side.
The first layer has no norm before its attention, since the embeddings have one.
"""

from resift.convert.config import Config
from resift.convert.families.family import Arrays, Family, split_rows
from resift.convert.layers import EncoderShape
from resift.convert.positions import Rotary, RotaryLayer
from resift.errors import ModelError

NAMES = (
    ("embeddings.tok_embeddings.", "embeddings.word_embeddings."),
    ("embeddings.norm.", "embeddings.LayerNorm."),
    ("final_norm.", "encoder.LayerNorm."),
    ("layers.", "encoder.layer."),
    (".attn_norm.", ".attention.input.LayerNorm."),
    (".attn.Wo.", ".attention.output.dense."),
    (".mlp_norm.", ".intermediate.LayerNorm."),
    (".mlp.Wi.", ".intermediate.dense."),
    (".mlp.Wo.", ".output.dense."),
)
HEAD = {
    "head.dense.": "head.dense.",
    "head.norm.": "head.norm.",
    "classifier.": "head.projection.",
}
GLOBAL, LOCAL = "full_attention", "sliding_attention"


def _shape(config: Config) -> EncoderShape:
    epsilon = config.number("norm_eps", default=1e-5)
    pooling = config.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise ModelError(f"{config.file}: classifier_pooling {pooling!r}; expected cls or mean")
    return EncoderShape(
        layers=config.whole("num_hidden_layers"),
        heads=config.whole("num_attention_heads"),
        epsilon=epsilon,
        activation=config.activation("hidden_activation"),
        token_types=False,
        head_activation=config.activation("classifier_activation"),
        head_epsilon=epsilon,
        positions=Rotary(_layers(config), tokens(config)),
        pooling="mean" if pooling == "mean" else "cls",
    )


def _layers(config: Config) -> list[RotaryLayer]:
    """Each layer's angles and window."""
    count = config.whole("num_hidden_layers")
    step = config.whole("global_attn_every_n_layers", default=3, least=1)
    kinds = config.get("layer_types") or [LOCAL if n % step else GLOBAL for n in range(count)]
    if (
        not isinstance(kinds, list)
        or len(kinds) != count
        or not all(kind in (GLOBAL, LOCAL) for kind in kinds)
    ):
        raise ModelError(
            f"{config.file}: layer_types {kinds!r}; expected {GLOBAL} or {LOCAL} for each layer"
        )
    window = config.whole("local_attention", default=128, least=2) // 2
    by_kind = {
        GLOBAL: RotaryLayer(_angles(config, GLOBAL)),
        LOCAL: RotaryLayer(_angles(config, LOCAL), window),
    }
    return [by_kind[kind] for kind in kinds]


def _angles(config: Config, kind: str) -> tuple[float, ...]:
    """The angle per position of each pair of columns: ``theta ** -(2 i / size)``."""
    name, default = (
        ("global_rope_theta", 160_000.0) if kind == GLOBAL else ("local_rope_theta", 10_000.0)
    )
    theta = config.number(name, default=default)
    parameters = config.get("rope_parameters") or {}
    newer = parameters.get(kind) if isinstance(parameters, dict) else parameters
    if newer is not None:
        angles = Config(config.file, newer if isinstance(newer, dict) else {"rope_type": newer})
        angles.refuse("rope_type", "default", remedy="only plain rotary positions can be converted")
        theta = angles.number("rope_theta", default=theta)
    size = config.whole("hidden_size") // config.whole("num_attention_heads", least=1)
    return tuple(float(theta ** -(2 * n / size)) for n in range(size // 2))


def tokens(config: Config) -> int:
    """As many as the model was trained to read; angles have no end."""
    return config.whole("max_position_embeddings", default=8192)


def _finish(weights: Arrays, config: Config) -> Arrays:
    """Queries, keys and values apart, and the feed-forward's first half and its gate."""
    for index in range(config.whole("num_hidden_layers")):
        name = f"encoder.layer.{index}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weights = split_rows(weights, f"{name}.attn.Wqkv", *parts)
        wide = f"{name}.intermediate"
        weights = split_rows(weights, f"{wide}.dense", f"{wide}.dense", f"{wide}.gate")
    return weights


MODERNBERT = Family("model.", _shape, tokens, NAMES, HEAD, _finish)
