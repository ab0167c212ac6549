"""A larger embedder whose similarities the student learns to keep: a transformers folder.

Mean pooling over the last states, unit length, as the all-* models of sentence-transformers are
trained for. In bfloat16, which newer processors multiply several times faster.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import ModelNotFound
from resift.extras import require

ROWS = 32
TOKENS = 192

Floats = NDArray[np.float32]


def open_teacher(folder: Path) -> Callable[[Sequence[str]], Floats]:
    """Texts → unit vectors ``(n, dim)``."""
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"{folder}: no config.json there; expected a transformers folder")
    transformers = require("transformers", "train")
    torch = require("torch", "train")
    options = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    model = transformers.AutoModel.from_pretrained(
        folder, use_safetensors=True, dtype=torch.bfloat16, **options
    ).eval()

    def embed(texts: Sequence[str]) -> Floats:
        vectors = np.empty((len(texts), model.config.hidden_size), np.float32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for start in range(0, len(order), ROWS):
            places = order[start : start + ROWS]
            vectors[places] = _pooled(torch, model, tokenizer, [texts[place] for place in places])
        return vectors

    return embed


def _pooled(torch: Any, model: Any, tokenizer: Any, texts: list[str]) -> Floats:
    feeds = tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
    with torch.inference_mode():
        states = model(**feeds).last_hidden_state.float()
    weights = feeds["attention_mask"].float()[:, :, None]
    means = (states * weights).sum(1) / weights.sum(1)
    unit: Floats = torch.nn.functional.normalize(means, dim=1).numpy()
    return unit
