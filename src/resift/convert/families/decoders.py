"""Decoders: Qwen3 (arXiv:2505.09388), Qwen2 (arXiv:2407.10671) and Gemma (arXiv:2403.08295).

All have Llama's names of weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resift.convert.causal_attention import AttentionShape
from resift.convert.causal_graph import DecoderShape
from resift.convert.config import Config
from resift.convert.published_prompts import BGE_GEMMA, MXBAI_V2, QWEN3_RERANKER, PublishedPrompt
from resift.errors import ModelError

PREFIX = "model."
_THETA = 10_000.0
_ONLY_PLAIN = "only plain rotary positions can be converted"


@dataclass(frozen=True, slots=True)
class Decoder:
    """An architecture, and the prompt of the reranker that is published with it.

    `norms_heads`: queries and keys have norms. `has_biases`: queries, keys and values have biases.
    """

    shape: Callable[[Config], DecoderShape]
    prompt: PublishedPrompt
    norms_heads: bool = False
    has_biases: bool = False


def _qwen(config: Config) -> DecoderShape:
    config.refuse("use_sliding_window", False, remedy="only full attention can be converted")
    config.refuse("attention_bias", False, remedy="its biases cannot be converted")
    return DecoderShape(
        layers=config.whole("num_hidden_layers", least=1),
        attention=_attention(config),
        epsilon=config.number("rms_norm_eps", default=1e-6),
        activation=config.activation("hidden_act", default="silu"),
    )


def _gemma(config: Config) -> DecoderShape:
    """Scales of norms are stored less one, and embeddings multiplied by the root of their width.

    An older setting of the activation is not what the model was trained with, and not read.
    """
    return DecoderShape(
        layers=config.whole("num_hidden_layers", least=1),
        attention=_attention(config),
        epsilon=config.number("rms_norm_eps", default=1e-6),
        activation=config.activation("hidden_activation", default="gelu_pytorch_tanh"),
        norm_shift=1.0,
        embedding_scale=float(config.whole("hidden_size", least=1) ** 0.5),
    )


def _attention(config: Config) -> AttentionShape:
    heads = config.whole("num_attention_heads", least=1)
    key_heads = config.whole("num_key_value_heads", default=heads, least=1)
    size = config.whole("head_dim", default=config.whole("hidden_size") // heads, least=2)
    if heads % key_heads or size % 2:
        raise ModelError(
            f"{config.file}: {heads} heads of {size} for {key_heads} keys; expected a multiple of "
            "the keys, and an even size"
        )
    theta = _theta(config)
    angles = tuple(float(theta ** -(2 * n / size)) for n in range(size // 2))
    return AttentionShape(heads, key_heads, size, angles)


def _theta(config: Config) -> float:
    """The base of rotary angles, from newer or older settings."""
    theta = config.number("rope_theta", default=_THETA)
    for name in ("rope_parameters", "rope_scaling"):
        values = config.get(name)
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ModelError(f"{config.file}: {name} {values!r}; expected an object")
        settings = Config(config.file, values)
        for kind in ("rope_type", "type"):
            settings.refuse(kind, "default", remedy=_ONLY_PLAIN)
        theta = settings.number("rope_theta", default=theta)
    return theta


DECODERS: dict[str, Decoder] = {
    "qwen3": Decoder(_qwen, QWEN3_RERANKER, norms_heads=True),
    "qwen2": Decoder(_qwen, MXBAI_V2, has_biases=True),
    "gemma": Decoder(_gemma, BGE_GEMMA),
}
"""By ``model_type`` of ``config.json``."""


def decoder_of(config: Config, folder: Path) -> Decoder:
    """The decoder of a checkpoint. Raises `ModelError` for one that is not known."""
    decoder = DECODERS.get(config.model_type)
    if decoder is None:
        names = ", ".join(config.architectures) or "no architecture"
        raise ModelError(
            f"{folder}: {config.model_type} ({names}) is not a causal model that resift can "
            f"convert; expected one of {', '.join(DECODERS)}"
        )
    return decoder
