"""NomicBERT (arXiv:2402.01613): BERT's layers with rotary positions and a gated feed-forward.

Configs have GPT-2's names, or those of transformers, or both. The angles beyond the trained length
depend on the length of the batch, so that a text would have another vector beside a long one: texts
are cut to the trained length, up to which nothing is scaled.
"""

from resift.convert.config import Config
from resift.convert.families.family import Arrays, Family, split_rows
from resift.convert.graph import Activation
from resift.convert.layers import EncoderShape
from resift.convert.positions import Rotary, RotaryLayer
from resift.errors import ModelError

NAMES = (
    ("nomic_bert.", ""),
    ("emb_ln.", "embeddings.LayerNorm."),
    ("encoder.layers.", "layers."),
    ("layers.", "encoder.layer."),
    (".self_attn.q_proj.", ".attention.self.query."),
    (".self_attn.k_proj.", ".attention.self.key."),
    (".self_attn.v_proj.", ".attention.self.value."),
    (".self_attn.o_proj.", ".attention.output.dense."),
    (".attn.out_proj.", ".attention.output.dense."),
    (".post_attention_layernorm.", ".attention.output.LayerNorm."),
    (".norm1.", ".attention.output.LayerNorm."),
    (".post_mlp_layernorm.", ".output.LayerNorm."),
    (".norm2.", ".output.LayerNorm."),
    (".mlp.gate_proj.", ".intermediate.dense."),  # theirs is activated, as our first is
    (".mlp.fc12.", ".intermediate.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.up_proj.", ".intermediate.gate."),
    (".mlp.fc11.", ".intermediate.gate."),
    (".mlp.down_proj.", ".output.dense."),
    (".mlp.fc2.", ".output.dense."),
)
GATES: dict[str, Activation] = {"swiglu": "silu", "geglu": "gelu"}
DEFAULT_TOKENS, DEFAULT_THETA = 2048, 1000.0

_PLAIN = "only NomicBERT as nomic-embed-text-v1.5 has it can be converted"
_ONLY_FALSE = (
    "causal",
    "parallel_block",
    "prenorm",
    "rotary_emb_interleaved",
    "scale_attn_by_inverse_layer_idx",
    "use_rms_norm",
)


def _shape(config: Config) -> EncoderShape:
    _refuse_experts(config)
    for name in _ONLY_FALSE:
        config.refuse(name, False, remedy=_PLAIN)
    config.refuse("rotary_emb_fraction", 1, remedy=_PLAIN)
    config.refuse("rotary_emb_scale_base", remedy=_PLAIN)
    config.refuse("scale_attn_weights", True, remedy=_PLAIN)
    heads = config.whole("num_attention_heads", "n_head", least=1)
    config.refuse("num_heads_kv", heads, remedy=_PLAIN)
    layers = config.whole("num_hidden_layers", "n_layer")
    layer = RotaryLayer(_angles(config, heads))
    return EncoderShape(
        layers=layers,
        heads=heads,
        epsilon=config.number("layer_norm_epsilon", "layer_norm_eps", default=1e-12),
        activation=_activation(config),
        positions=Rotary([layer] * layers, tokens(config)),
    )


def _refuse_experts(config: Config) -> None:
    if config.get("moe_every_n_layers") or config.get("num_experts"):
        raise ModelError(
            f"{config.file.parent}: a mixture of experts, which cannot be converted; use "
            "nomic-ai/nomic-embed-text-v1.5, or for many languages intfloat/multilingual-e5-small"
        )


def _activation(config: Config) -> Activation:
    """The gate's, or that between two plain layers."""
    name = config.get("activation_function")
    if isinstance(name, str) and name in GATES:
        return GATES[name]
    return config.activation("activation_function", "hidden_act", default="silu")


def _angles(config: Config, heads: int) -> tuple[float, ...]:
    """The angle per position of each pair of columns: ``theta ** -(2 i / size)``."""
    newer = config.get("rope_parameters", {})
    if not isinstance(newer, dict):
        raise ModelError(f"{config.file}: rope_parameters {newer!r}; expected an object")
    rope = Config(config.file, newer)
    rope.refuse("rope_type", "default", remedy="only plain rotary positions can be converted")
    theta = rope.number(
        "rope_theta", default=config.number("rotary_emb_base", default=DEFAULT_THETA)
    )
    size = config.whole("hidden_size", "n_embd") // heads
    return tuple(float(theta ** -(2 * n / size)) for n in range(size // 2))


def tokens(config: Config) -> int:
    """As many as the model was trained to read."""
    return config.whole(
        "max_trained_positions", "max_position_embeddings", "n_positions", default=DEFAULT_TOKENS
    )


def _finish(weights: Arrays, config: Config) -> Arrays:
    """Queries, keys and values apart."""
    for index in range(config.whole("num_hidden_layers", "n_layer")):
        name = f"encoder.layer.{index}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weights = split_rows(weights, f"{name}.attn.Wqkv", *parts)
    return weights


NOMIC_BERT = Family("bert.", _shape, tokens, NAMES, finish=_finish)
