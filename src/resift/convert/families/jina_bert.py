"""JinaBERT (arXiv:2310.19923): BERT with ALiBi (arXiv:2108.12409) in both directions.

A token sees others less the further away they are, each head with another slope, so that rows may
be longer than those of the training. Most feed-forward networks are gated. Its configs bear BERT's
``model_type``.
"""

from resift.convert.alibi import Alibi
from resift.convert.config import Config
from resift.convert.families import bert
from resift.convert.families.family import Arrays, Family, split_rows
from resift.convert.graph import Activation
from resift.convert.layers import EncoderShape
from resift.errors import ModelError

NAMES = (
    (".mlp.gated_layers.", ".intermediate.dense."),
    (".mlp.wo.", ".output.dense."),
    (".mlp.layernorm.", ".output.LayerNorm."),
)
GATES: dict[str, Activation] = {"geglu": "gelu", "reglu": "relu"}
UNGATED = "original"


def is_jina_bert(config: Config) -> bool:
    """Whether a config with BERT's ``model_type`` is JinaBERT's."""
    named = any(name.startswith("JinaBert") for name in config.architectures)
    return named or config.get("position_embedding_type") == "alibi"


def _shape(config: Config) -> EncoderShape:
    config.refuse(
        "position_embedding_type",
        *("alibi", "absolute"),
        remedy="only ALiBi, with or without absolute positions, can be converted",
    )
    heads = config.whole("num_attention_heads")
    if not heads:
        raise ModelError(f"{config.file}: num_attention_heads 0; expected a number from 1")
    return EncoderShape(
        layers=config.whole("num_hidden_layers"),
        heads=heads,
        epsilon=config.number("layer_norm_eps", default=1e-12),
        activation=_activation(config),
        positions=Alibi(slopes(heads)),
    )


def _activation(config: Config) -> Activation:
    """The gate's, or that between two plain layers."""
    kind = config.get("feed_forward_type", UNGATED)
    if kind == UNGATED:
        return config.activation("hidden_act")
    if kind not in GATES:
        raise ModelError(
            f"{config.file}: feed_forward_type {kind!r}; "
            f"expected {UNGATED} or one of {', '.join(GATES)}"
        )
    return GATES[kind]


def slopes(heads: int) -> list[float]:
    """Each head's slope: a geometric series from ``2 ** (-8 / heads)`` with that ratio.

    Where `heads` is no power of two, the series of the next lower power of two is followed by
    every other slope of the next higher one, as in the paper's code.
    """
    lower = 1 << (heads.bit_length() - 1)
    series = [2 ** (-8 * n / lower) for n in range(1, lower + 1)]
    between = [2 ** (-8 * (n - 0.5) / lower) for n in range(1, heads - lower + 1)]
    return series + between


def _finish(weights: Arrays, config: Config) -> Arrays:
    """The gate apart. Raises `ModelError` if weights do not fit the config."""
    folder = config.file.parent
    norms = [name for name in weights if ".layer_norm_q." in name or ".layer_norm_k." in name]
    if norms or config.get("use_qk_norm"):
        raise ModelError(
            f"{folder}: JinaBERT with norms of queries and keys (qk-post-norm) cannot be "
            "converted; use a model without them, such as jinaai/jina-reranker-v1-turbo-en"
        )
    kind = config.get("feed_forward_type", UNGATED)
    wide = weights.get("encoder.layer.0.intermediate.dense.weight")
    rows = config.whole("intermediate_size") * (1 if kind == UNGATED else 2)
    if wide is not None and len(wide) != rows:
        raise ModelError(
            f"{folder}: a feed-forward network of {len(wide)} columns; expected {rows} with "
            f"feed_forward_type {kind!r}"
        )
    for index in range(config.whole("num_hidden_layers") if kind != UNGATED else 0):
        name = f"encoder.layer.{index}.intermediate"
        weights = split_rows(weights, f"{name}.dense", f"{name}.dense", f"{name}.gate")
    return weights


JINA_BERT = Family("bert.", _shape, bert.tokens, NAMES, finish=_finish)
