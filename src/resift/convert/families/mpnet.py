"""MPNet (arXiv:2004.09297): BERT's layers under other names, and a number per head and distance.

All layers add the same numbers to their attention's logits. Distances have 32 buckets: exact ones
near, wider ones further away. The reference implementation ignores a config's other number.
"""

import numpy as np
from numpy.typing import NDArray

from resift.convert.config import Config
from resift.convert.families import bert
from resift.convert.families.family import Arrays, Family, required
from resift.convert.layers import EncoderShape
from resift.convert.positions import Absolute, Biased
from resift.errors import ModelError

NAMES = (
    (".attention.attn.q.", ".attention.self.query."),
    (".attention.attn.k.", ".attention.self.key."),
    (".attention.attn.v.", ".attention.self.value."),
    (".attention.attn.o.", ".attention.output.dense."),
    (".attention.LayerNorm.", ".attention.output.LayerNorm."),
)
FIRST_POSITION = 2  # behind the padding's, which no config changes
BUCKETS, REACH = 32, 128
BIAS = "encoder.relative_attention_bias.weight"


def _shape(config: Config) -> EncoderShape:
    return EncoderShape(
        layers=config.whole("num_hidden_layers"),
        heads=config.whole("num_attention_heads"),
        epsilon=config.number("layer_norm_eps", default=1e-12),
        activation=config.activation("hidden_act"),
        first_position=FIRST_POSITION,
        token_types=False,
    )


def _positions(weights: Arrays, config: Config) -> Absolute:
    table = required(weights, BIAS, config)
    if len(table) < BUCKETS:
        raise ModelError(
            f"{config.file.parent}: {BIAS} has {len(table)} rows; expected {BUCKETS}, one a bucket "
            "of distances"
        )
    last = _tokens(config) - 1
    return Biased(table[buckets(np.arange(-last, last + 1))].T)


def buckets(distances: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bucket of each distance, key position - query position."""
    one_side = BUCKETS // 2
    exact, size = one_side // 2, np.abs(distances)
    # In float32, as they were trained: rounded down, another last digit can be another bucket.
    growth = np.log((np.maximum(size, exact) / exact).astype(np.float32))
    growth = growth / np.float32(np.log(REACH / exact)) * np.float32(one_side - exact)
    far = np.minimum(exact + growth.astype(np.int64), one_side - 1)
    result: NDArray[np.int64] = np.where(size < exact, size, far) + one_side * (distances > 0)
    return result


def _tokens(config: Config) -> int:
    return bert.tokens(config) - FIRST_POSITION


MPNET = Family("mpnet.", _shape, _tokens, NAMES, positions=_positions)
