"""Models as wide and deep as real ones keep the logits of transformers and sentence-transformers.

Weights are random, vocabularies small. 200 pairs each, from short ones to as many tokens as the
model reads, at most 2,000.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.agreement import (
    Logits,
    Pairs,
    graph_logits,
    sentence_transformers_logits,
    transformers_logits,
)
from convert.checkpoints import make_checkpoint
from convert.make_fixtures import make_modules
from convert.plain_checkpoints import WORDS, edit_json

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.real_shapes, pytest.mark.timeout(1800)]

TOLERANCE = 1e-4
COUNT = 200
LENGTHS = (10, 25, 40, 60, 100, 150, 250, 480, 1000, 1980)
SHARES = (20, 20, 20, 20, 15, 10, 8, 6, 3, 3)

Reference = Callable[[Path, Pairs], Logits]
Made = tuple[Path, Reference]


def minilm(folder: Path) -> Made:
    """ms-marco-MiniLM-L6-v2's shape."""
    return _classifier(folder, "bert", 512, layers=6, dim=384, heads=12)


def roberta(folder: Path) -> Made:
    """bge-reranker-base's shape, with 3 of its 12 layers."""
    return _classifier(folder, "xlm-roberta", 512, layers=3, dim=768, heads=12)


def ettin_17m(folder: Path) -> Made:
    """ettin-reranker-17m's shape."""
    return _modules(folder, layers=7, dim=256, heads=4, wide=384)


def ettin_32m(folder: Path) -> Made:
    """ettin-reranker-32m's shape."""
    return _modules(folder, layers=10, dim=384, heads=6, wide=576)


def _classifier(
    folder: Path, family: str, tokens: int, *, layers: int, dim: int, heads: int
) -> Made:
    positions = tokens + 2 if family == "xlm-roberta" else tokens
    make_checkpoint(
        folder, family, max_position_embeddings=positions, num_hidden_layers=layers,
        hidden_size=dim, num_attention_heads=heads, intermediate_size=4 * dim,
    )  # fmt: skip
    edit_json(folder / "tokenizer_config.json", model_max_length=tokens)
    return folder, lambda folder, pairs: transformers_logits(folder, pairs, tokens)


def _modules(folder: Path, *, layers: int, dim: int, heads: int, wide: int) -> Made:
    config = {
        "num_hidden_layers": layers, "hidden_size": dim, "num_attention_heads": heads,
        "intermediate_size": wide, "max_position_embeddings": 7999, "local_attention": 128,
        "global_attn_every_n_layers": 3,
    }  # fmt: skip
    return make_modules(folder, config, max_tokens=2048), sentence_transformers_logits


def mixed_pairs() -> list[tuple[str, str]]:
    rng = random.Random(3)
    lengths = rng.choices(LENGTHS, SHARES, k=COUNT - len(LENGTHS)) + list(LENGTHS)
    return [
        (" ".join(rng.choices(WORDS, k=rng.randint(2, 10))), " ".join(rng.choices(WORDS, k=length)))
        for length in lengths
    ]


@pytest.mark.parametrize("make", [minilm, roberta, ettin_17m, ettin_32m])
def test_logits_are_those_of_the_authors_library(
    make: Callable[[Path], Made], runtime: str, tmp_path: Path
) -> None:
    checkpoint, reference = make(tmp_path / "checkpoint")
    pairs = mixed_pairs()
    expected = reference(checkpoint, pairs)
    differences = np.abs(graph_logits(checkpoint, pairs, tmp_path, runtime) - expected)
    print(
        f"{make.__name__}, {runtime}: {differences.max():.1e} at most, {np.ptp(expected):.2f} wide"
    )
    assert differences.max() <= TOLERANCE
    assert np.ptp(expected) > 1000 * TOLERANCE
    few = pairs[:40]
    batches = graph_logits(checkpoint, few, tmp_path, runtime, batch=4)
    assert np.abs(batches - expected[:40]).max() <= TOLERANCE
