"""What plain forward passes share: float64 numpy, one sequence without padding, real weight names.

Written from the papers and from the published descriptions of the models, apart from any graph.
"""

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from convert.agreement import graph_logits
from convert.checkpoints import WORDS, pairs
from resift.convert.checkpoint import read_cross_encoder
from resift.errors import ModelError

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Config = Mapping[str, Any]
Forward = Callable[["Weights", Config, Ids, Ids], float]

TOKENS = 64
PAIRS = pairs(40)
TOLERANCE = 1e-4
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": TOKENS,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
}

_GRID = np.linspace(-6, 6, 120_001)
_ERF = np.array([math.erf(x) for x in _GRID])  # straight lines between are within 2e-9


class Weights:
    """A checkpoint's weights by name, and the layers that they make."""

    def __init__(self, folder: Path, epsilon: float = 1e-12) -> None:
        arrays = load_file(folder / "model.safetensors")
        self.arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
        self.epsilon = epsilon

    def linear(self, name: str, x: Floats) -> Floats:
        product: Floats = x @ self.arrays[f"{name}.weight"].T
        return product + self.arrays.get(f"{name}.bias", 0.0)

    def norm(self, name: str, x: Floats) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.epsilon)
        result: Floats = unit * self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]
        return result

    def embed(self, name: str, ids: Ids, types: Ids) -> Floats:
        """The normed sum of all tables that there are: ``(tokens, dim)``."""
        x = self.arrays[f"{name}.word_embeddings.weight"][ids]
        for kind, rows in (("token_type", types), ("position", np.arange(len(ids)))):
            table = self.arrays.get(f"{name}.{kind}_embeddings.weight")
            x = x if table is None else x + table[rows]
        return self.norm(f"{name}.LayerNorm", x)

    def logit(self, name: str, pooled: Floats) -> float:
        """The label of a row, or the second less the first of two."""
        labels = self.linear(name, pooled)[0]
        return float(labels[0] if len(labels) == 1 else labels[1] - labels[0])


def gelu(x: Floats) -> Floats:
    """X Φ(x), as https://arxiv.org/abs/1606.08415 has it."""
    result: Floats = 0.5 * x * (1 + np.interp(x / math.sqrt(2), _GRID, _ERF))
    return result


def relu(x: Floats) -> Floats:
    return np.maximum(x, 0)


def silu(x: Floats) -> Floats:
    result: Floats = x / (1 + np.exp(-x))
    return result


ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {"gelu": gelu, "relu": relu, "silu": silu}


def by_heads(x: Floats, heads: int) -> Floats:
    """``(tokens, dim)`` → ``(heads, tokens, size)``."""
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def attend(query: Floats, key: Floats, value: Floats, bias: Floats | float = 0.0) -> Floats:
    """Softmax attention by heads → ``(tokens, dim)``."""
    mixed = []
    for head in range(len(query)):
        logits = query[head] @ key[head].T / math.sqrt(query.shape[-1])
        logits += bias[head] if isinstance(bias, np.ndarray) else bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        mixed.append(shares / shares.sum(axis=1, keepdims=True) @ value[head])
    return np.concatenate(mixed, axis=1)


def check_agreement(folder: Path, forward: Forward, out: Path, runtime: str, batch: int) -> None:
    """The graph gives the logits of a forward pass, and these differ."""
    expected = reference_logits(folder, forward)
    actual = graph_logits(folder, PAIRS, out, runtime, batch)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE


def check_refusal(folder: Path, message: str, **changes: Any) -> None:
    """After `changes` of its config, a checkpoint is refused in one line that names it."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match=message) as caught:
        read_cross_encoder(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def reference_logits(
    folder: Path,
    forward: Forward,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    max_tokens: int = TOKENS,
) -> Floats:
    """Logits of pairs whose documents are truncated to `max_tokens` by the checkpoint's tokenizer.

    Token types are what the tokenizer gives, if its settings list them.
    """
    weights = Weights(folder)
    config = json.loads((folder / "config.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    reads_types = "token_type_ids" in settings["model_input_names"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens, strategy="only_second")
    logits = []
    for query, text in pairs:
        encoding = tokenizer.encode(query, text)
        ids = np.array(encoding.ids, np.int64)
        types = np.array(encoding.type_ids, np.int64) if reads_types else np.zeros_like(ids)
        logits.append(forward(weights, config, ids, types))
    return np.array(logits)


def mixed_pairs(count: int, seed: int = 3) -> list[tuple[str, str]]:
    """Most documents of 3 to 180 words, some of up to 2,000."""
    rng = random.Random(seed)
    long = [600, 1_100, 2_000]
    lengths = [*rng.choices([3, 8, 15, 40, 90, 180], k=count - len(long)), *long]
    return [
        (" ".join(rng.choices(WORDS, k=rng.randint(2, 8))), " ".join(rng.choices(WORDS, k=length)))
        for length in lengths
    ]


class Drawn:
    """Random weights by name, spread so that logits differ; the same ones each time."""

    def __init__(self, seed: int = 7, spread: float = 1.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._spread = spread
        self.arrays: dict[str, NDArray[np.float32]] = {}

    def table(self, name: str, rows: int, dim: int) -> None:
        values = self._rng.normal(0, 1, (rows, dim))
        self.arrays[f"{name}.weight"] = values.astype(np.float32)

    def linear(self, name: str, out: int, into: int, *, bias: bool = True) -> None:
        values = self._rng.normal(0, self._spread * into**-0.5, (out, into))
        self.arrays[f"{name}.weight"] = values.astype(np.float32)
        if bias:
            self.arrays[f"{name}.bias"] = self._rng.normal(0, 0.2, out).astype(np.float32)

    def norm(self, name: str, dim: int) -> None:
        self.arrays[f"{name}.weight"] = self._rng.normal(1, 0.2, dim).astype(np.float32)
        self.arrays[f"{name}.bias"] = self._rng.normal(0, 0.2, dim).astype(np.float32)

    def save(self, folder: Path, config: Config) -> None:
        """Write the weights and ``config.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.arrays, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config))
