"""Logits of float32 graphs beside those of transformers and sentence-transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from resift.convert.checkpoint import read_cross_encoder
from resift.convert.stages import stage_graph
from resift.rerank.artifact import TOKENIZER
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import Tokens, load_tokenizer, pad

Pairs = Sequence[tuple[str, str]]
Logits = NDArray[np.float64]


def graph_logits(
    checkpoint: Path,
    pairs: Pairs,
    folder: Path,
    runtime: str | None = None,
    batch: int = 1,
    label: str | int | None = None,
) -> Logits:
    """A checkpoint's logits for pairs by our float32 graph, `batch` rows at a time."""
    source = read_cross_encoder(checkpoint, label)
    file = folder / "stage.onnx"
    onnx.save(stage_graph(source.weights, source.shape, range(source.shape.layers)), str(file))
    source.tokenizer.tokenizer.save(str(folder / TOKENIZER))
    tokens = Tokens(load_tokenizer(folder / TOKENIZER), source.max_tokens)
    session = open_session(file, runtime)
    rows = [
        tokens.pairs(tokens.head(source.query_prompt + query), [text])[0] for query, text in pairs
    ]
    logits = []
    for start in range(0, len(rows), batch):
        feeds = pad(rows[start : start + batch])
        outputs = session.run({name: feeds[name] for name in session.inputs})
        logits.extend(outputs["logits"].tolist())
    return np.array(logits)


def transformers_logits(checkpoint: Path, pairs: Pairs, max_tokens: int) -> Logits:
    """The same by transformers; only documents are truncated, as in use."""
    import torch
    import transformers

    auto: Any = transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(checkpoint, attn_implementation="eager", dtype="float32").eval()
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(checkpoint)
    logits = []
    for query, text in pairs:
        inputs = tokenizer(
            query, text, truncation="only_second", max_length=max_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            labels = model(**inputs).logits[0].tolist()
        logits.append(labels[0] if len(labels) == 1 else labels[1] - labels[0])
    return np.array(logits)


def sentence_transformers_logits(checkpoint: Path, pairs: Pairs) -> Logits:
    """The same by sentence-transformers, without its activation."""
    import torch
    from sentence_transformers import CrossEncoder

    model: Any = CrossEncoder(str(checkpoint), device="cpu")
    return np.array(
        [float(model.predict([pair], activation_fn=torch.nn.Identity())[0]) for pair in pairs]
    )
