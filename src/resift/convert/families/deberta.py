"""DeBERTa-v2 and -v3 (arXiv:2006.03654, arXiv:2111.09543): attention reads content and distance.

All layers share one table of embeddings per bucket of distances; each projects it by its weights
for positions, or by those of its queries and keys.
"""

import numpy as np
from numpy.typing import NDArray

from resift.convert.config import Config
from resift.convert.disentangled import Disentangled, DistanceTables
from resift.convert.families import bert
from resift.convert.families.family import Arrays, Family, required
from resift.convert.layers import EncoderShape
from resift.convert.positions import Absolute
from resift.errors import ModelError

NAMES = (
    (".self.query_proj.", ".self.query."),
    (".self.key_proj.", ".self.key."),
    (".self.value_proj.", ".self.value."),
    ("encoder.LayerNorm.", "encoder.rel_embeddings.LayerNorm."),
)
DISTANCES = "encoder.rel_embeddings"
PROJECTION = "embeddings.embed_proj.weight"
TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")


def _shape(config: Config) -> EncoderShape:
    config.refuse(
        "conv_kernel_size",
        0,
        remedy="a convolution, as deberta-v2-xlarge has, cannot be converted; use DeBERTa-v3",
    )
    return EncoderShape(
        layers=config.whole("num_hidden_layers"),
        heads=config.whole("num_attention_heads"),
        epsilon=_epsilon(config),
        activation=config.activation("hidden_act"),
        head_activation=config.activation("pooler_hidden_act"),
    )


def _epsilon(config: Config) -> float:
    return config.number("layer_norm_eps", default=1e-7)


def _finish(weights: Arrays, config: Config) -> Arrays:
    """Without tables that the config switches off; narrow tables projected to the layers' width."""
    weights = dict(weights)
    if not config.get("position_biased_input", True):
        weights.pop("embeddings.position_embeddings.weight", None)
    if not config.whole("type_vocab_size", default=0):
        weights.pop("embeddings.token_type_embeddings.weight", None)
    projection = weights.pop(PROJECTION, None)
    names = [f"embeddings.{table}.weight" for table in TABLES]
    if projection is None:
        return weights
    return weights | {name: weights[name] @ projection.T for name in names if name in weights}


def _positions(weights: Arrays, config: Config) -> Absolute:
    """Every layer's projections of the distances' embeddings."""
    parts = _parts(config)
    heads, dim = config.whole("num_attention_heads"), config.whole("hidden_size")
    scale = (dim // heads * (1 + len(parts))) ** -0.5
    layers = range(config.whole("num_hidden_layers"))
    if not config.get("relative_attention", False):
        return Disentangled([DistanceTables() for _ in layers], np.zeros(1, np.int64), scale)
    span = _span(config)
    embeddings = _embeddings(weights, config)
    if len(embeddings) != 2 * span:
        raise ModelError(
            f"{config.file.parent}: {DISTANCES} has {len(embeddings)} rows; expected {2 * span}, "
            "two for each bucket of distances that config.json names"
        )
    is_shared = config.get("share_att_key", False)
    projections = ("key", "query") if is_shared else ("pos_key_proj", "pos_query_proj")

    def table(index: int, projection: str) -> NDArray[np.float32]:
        name = f"encoder.layer.{index}.attention.self.{projection}"
        projected = embeddings @ required(weights, f"{name}.weight", config).T
        projected = (projected + required(weights, f"{name}.bias", config)) * np.float32(scale)
        return projected.reshape(2 * span, heads, -1).transpose(1, 2, 0)

    tables = [
        DistanceTables(
            *(
                table(index, projection) if part in parts else None
                for part, projection in zip(("c2p", "p2c"), projections, strict=True)
            )
        )
        for index in layers
    ]
    return Disentangled(tables, _buckets(config, span), scale)


def _parts(config: Config) -> set[str]:
    """c2p, the queries' products with distances, and p2c, the keys'."""
    names = config.get("pos_att_type", [])
    names = names.lower().split("|") if isinstance(names, str) else names
    return {"c2p", "p2c"} & {str(name).strip() for name in names}


def _embeddings(weights: Arrays, config: Config) -> NDArray[np.float32]:
    """The embeddings of all buckets, ``(buckets, dim)``, normalised if the config says so."""
    table = required(weights, f"{DISTANCES}.weight", config)
    kinds = str(config.get("norm_rel_ebd", "none")).lower().split("|")
    if "layer_norm" not in [kind.strip() for kind in kinds]:
        return table
    scale, shift = (
        required(weights, f"{DISTANCES}.LayerNorm.{part}", config) for part in ("weight", "bias")
    )
    centred = table - table.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + np.float32(_epsilon(config)))
    normalised: NDArray[np.float32] = centred / deviation * scale + shift
    return normalised


def _reach(config: Config) -> int:
    """The distance from which on all are alike."""
    reach = config.get("max_relative_positions", -1)
    return reach if reach >= 1 else tokens(config)


def _span(config: Config) -> int:
    """The number of buckets for distances of one sign."""
    buckets = config.get("position_buckets", -1)
    return buckets if buckets > 0 else _reach(config)


def _buckets(config: Config, span: int) -> NDArray[np.int64]:
    """The row of the embeddings for every distance, from ``1 - tokens`` to ``tokens - 1``."""
    last = tokens(config) - 1
    distances = np.arange(-last, last + 1)
    if config.get("position_buckets", -1) > 0:
        distances = log_buckets(distances, span, _reach(config), config)
    return np.clip(distances + span, 0, 2 * span - 1)


def log_buckets(
    distances: NDArray[np.int64], span: int, reach: int, config: Config
) -> NDArray[np.int64]:
    """Buckets as wide as one distance up to half of `span`, then growing up to `reach`."""
    middle, size = span // 2, np.abs(distances)
    far = size > middle
    if far.any() and (middle < 1 or reach - 1 <= middle):
        raise ModelError(
            f"{config.file}: position_buckets {span} with distances up to {reach}; expected from 2 "
            f"to {2 * reach - 4} buckets"
        )
    # In float32, as they were trained: rounded up, another last digit can be another bucket.
    growth = np.log((size[far] / middle).astype(np.float32))
    growth = growth / np.log(np.float32((reach - 1) / middle))
    steps = np.ceil(growth * np.float32(middle - 1)).astype(np.int64) + middle
    buckets = distances.copy()
    buckets[far] = steps * np.sign(distances[far])
    return buckets


def tokens(config: Config) -> int:
    """As many as the model was trained to read; distances have no end."""
    return bert.tokens(config)


DEBERTA = Family("deberta.", _shape, tokens, NAMES, finish=_finish, positions=_positions)
