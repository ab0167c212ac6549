"""Tiny late-interaction checkpoints on disk, written without torch, in the three formats.

Their tokenizer knows the words of `plain_checkpoints`, a mask token, markers and punctuation.
"""

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

from convert.plain_checkpoints import (
    BERT_SPECIALS,
    DIM,
    WORDS,
    tokenizer_settings,
    write_bi_encoder,
    write_json,
)

WIDTH = 24
QUERY_LENGTH, DOCUMENT_LENGTH = 12, 40
MARKERS = ("[unused0]", "[unused1]", "[Q] ", "[D] ")
TOKENS = [*BERT_SPECIALS, *WORDS, "[MASK]", *MARKERS, *string.punctuation]
STANFORD = {
    "query_maxlen": QUERY_LENGTH,
    "doc_maxlen": DOCUMENT_LENGTH,
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "mask_punctuation": True,
    "attend_to_mask_tokens": False,
    "similarity": "cosine",
    "dim": WIDTH,
}
PYLATE: Mapping[str, Any] = {
    "prompts": {},
    "default_prompt_name": None,
    "similarity_fn_name": "MaxSim",
    "query_prefix": "[Q] ",
    "document_prefix": "[D] ",
    "query_length": QUERY_LENGTH,
    "document_length": DOCUMENT_LENGTH,
    "attend_to_expansion_tokens": False,
    "skiplist_words": list(string.punctuation),
    "do_query_expansion": True,
}
ENCODER = {
    "document_length": DOCUMENT_LENGTH,
    "query_expansion": {"strategy": "min", "attend": False, "length": QUERY_LENGTH},
}
_DENSE = {
    "activation_function": "torch.nn.modules.linear.Identity",
    "bias": False,
    "in_features": DIM,
    "out_features": WIDTH,
}


def late_tokenizer() -> Tokenizer:
    """Whole words, signs, and BERT's special tokens."""
    tokenizer = Tokenizer(WordLevel({w: n for n, w in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[MASK]", *BERT_SPECIALS])
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in MARKERS[2:]])
    return tokenizer


def write_stanford(
    folder: Path, family: str = "bert", *, spread: float = 0.5, **changes: Any
) -> Path:
    """A Stanford ColBERT; `changes` are of its metadata, None takes an entry out."""
    _write_encoder(folder, family, spread)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"architectures": ["HF_ColBERT"]})
    weights = {f"{family}.{name}": x for name, x in load_file(folder / "model.safetensors").items()}
    weights |= _linear(0, DIM, WIDTH)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    _write_settings(folder / "artifact.metadata", STANFORD, changes)
    return folder


def write_pylate(
    folder: Path,
    family: str = "bert",
    *,
    spread: float = 0.5,
    dense: Sequence[Mapping[str, Any]] = ({},),
    **changes: Any,
) -> Path:
    """A PyLate folder; `changes` are of its settings, and `dense` of the settings of its layers."""
    _write_encoder(folder, family, spread)
    _write_dense(folder, dense, "pylate.models.Dense.Dense", {})
    _write_settings(folder / "config_sentence_transformers.json", PYLATE, changes)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": QUERY_LENGTH - 1})
    return folder


def write_multi_vector_encoder(
    folder: Path,
    family: str = "bert",
    *,
    spread: float = 0.5,
    encoder: Mapping[str, Any] = ENCODER,
    mask: Mapping[str, Any] | None = None,
    dense: Sequence[Mapping[str, Any]] = ({},),
    **changes: Any,
) -> Path:
    """A folder of sentence-transformers; `changes` are of its settings, `mask` of its mask."""
    _write_encoder(folder, family, spread)
    _write_dense(
        folder,
        dense,
        "sentence_transformers.base.modules.dense.Dense",
        {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"},
    )
    rows = json.loads((folder / "modules.json").read_text())
    skiplist = {"skiplist_words": list(string.punctuation), "skiplist_tasks": ["document"]}
    settings: dict[str, dict[str, Any]] = {
        "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask": {
            **skiplist,
            **(mask or {}),
        },
        "base.modules.normalize.Normalize": {"module_input_name": "token_embeddings"},
    }
    for kind, values in settings.items():
        path = f"{len(rows)}_{kind.rpartition('.')[2]}"
        (folder / path).mkdir()
        write_json(folder / path / "config.json", values)
        rows.append({"idx": len(rows), "name": path, "path": path})
        rows[-1]["type"] = f"sentence_transformers.{kind}"
    write_json(folder / "modules.json", rows)
    write_json(folder / "sentence_bert_config.json", encoder)
    named = {"model_type": "MultiVectorEncoder", "prompts": {"query": "[Q] ", "document": "[D] "}}
    _write_settings(folder / "config_sentence_transformers.json", named, changes)
    return folder


def _write_encoder(folder: Path, family: str, spread: float) -> None:
    """The files of an encoder, whose table has a row for each of `TOKENS`."""
    write_bi_encoder(folder, family, modules=("Transformer",), spread=spread)
    late_tokenizer().save(str(folder / "tokenizer.json"))
    settings = tokenizer_settings("bert") | {"mask_token": "[MASK]", "model_max_length": 31}
    write_json(folder / "tokenizer_config.json", settings)
    config = json.loads((folder / "config.json").read_text())
    config |= {"vocab_size": len(TOKENS)}
    write_json(folder / "config.json", config)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "word_embeddings" in name or "tok_embeddings" in name)
    more = np.random.default_rng(3).normal(0, spread, (len(TOKENS) - len(weights[name]), DIM))
    weights[name] = np.concatenate([weights[name], more.astype(np.float32)])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _write_dense(
    folder: Path, layers: Sequence[Mapping[str, Any]], kind: str, common: Mapping[str, Any]
) -> None:
    rows = json.loads((folder / "modules.json").read_text())
    for number, changes in enumerate(layers, 1):
        path = folder / f"{number}_Dense"
        path.mkdir()
        config = {**_DENSE, **common, **changes}
        weights = _linear(number, config["in_features"], config["out_features"])
        if config["bias"]:
            weights["linear.bias"] = np.full(config["out_features"], 0.1, np.float32)
        if config.get("use_residual") and config["in_features"] != config["out_features"]:
            added = _linear(9, config["in_features"], config["out_features"])
            weights["residual.weight"] = added["linear.weight"]
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        write_json(path / "config.json", config)
        rows.append({"idx": number, "name": str(number), "path": path.name, "type": kind})
    write_json(folder / "modules.json", rows)


def _linear(seed: int, width: int, out: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"linear.weight": rng.normal(0, width**-0.5, (out, width)).astype(np.float32)}


def _write_settings(file: Path, values: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    merged = {**values, **changes}
    write_json(file, {key: value for key, value in merged.items() if value is not None})
