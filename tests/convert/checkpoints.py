"""Tiny checkpoints with random weights, one a family, made and saved by transformers.

Most tests read those of `plain_checkpoints`, which need no torch.
"""

from pathlib import Path
from typing import Any

from convert.plain_checkpoints import (
    DIM,
    FAMILIES,
    HEADS,
    LAYERS,
    POSITIONS,
    ROBERTAS,
    VOCABULARY,
    WIDE,
    WORDS,
    pairs,
    tokenizer_settings,
    word_tokenizer,
)

__all__ = ["FAMILIES", "POSITIONS", "ROBERTAS", "WORDS", "make_checkpoint", "pairs"]


def make_checkpoint(folder: Path, family: str, labels: int = 1, **changes: Any) -> Path:
    """Write config, safetensors and tokenizer of a sequence classifier."""
    import torch
    import transformers

    torch.manual_seed(11)
    config = config_of(family, num_labels=labels, **changes)
    auto: Any = transformers.AutoModelForSequenceClassification
    model = auto.from_config(config)
    spread(model)
    model.save_pretrained(folder)
    tokenizer(family).save_pretrained(folder)
    return folder


def spread(model: Any) -> None:
    """Random weights, far enough apart to tell logits and vectors apart.

    Those of wide layers keep the size of what they read, as trained ones do.
    """
    import torch

    for name, parameter in model.named_parameters():
        if name.lower().endswith("norm.weight"):
            torch.nn.init.normal_(parameter, mean=1, std=0.2)
        else:
            width = parameter.shape[-1]
            torch.nn.init.normal_(parameter, std=0.5 if width <= 64 else width**-0.5)


def config_of(family: str, **changes: Any) -> Any:
    """A family's own configuration at this size."""
    import transformers

    roberta = family in ROBERTAS
    common = {
        "vocab_size": VOCABULARY,
        "pad_token_id": 1 if roberta else 0,
        "max_position_embeddings": POSITIONS + 2 if roberta else POSITIONS,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": DIM,
        "intermediate_size": WIDE,
        "type_vocab_size": 1 if roberta else 2,
    }
    if family == "modernbert":
        ids = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
        common |= ids | {"local_attention": 16, "global_attn_every_n_layers": 2}
    if family == "electra":
        common["embedding_size"] = DIM // 2
    if family == "distilbert":
        del common["type_vocab_size"]
        common |= {"dim": DIM, "hidden_dim": WIDE, "n_layers": LAYERS, "n_heads": HEADS}
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers"):
            del common[name]
        del common["num_attention_heads"]
    return transformers.AutoConfig.for_model(family, **(common | changes))


def tokenizer(family: str) -> Any:
    """Whole words and the family's own special tokens, as transformers wraps them."""
    import transformers

    settings = tokenizer_settings(family)
    del settings["tokenizer_class"]
    wrapped: Any = transformers.PreTrainedTokenizerFast
    return wrapped(tokenizer_object=word_tokenizer(family), **settings)
