"""Tiny checkpoints of architectures with tokenizers of their own kind, made by transformers."""

from pathlib import Path
from typing import Any

from convert.plain_checkpoints import DIM, HEADS, LAYERS, POSITIONS, WIDE, WORDS, pairs

__all__ = ["POSITIONS", "make_checkpoint", "pairs"]

DEBERTA_V3: dict[str, Any] = {
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "position_buckets": 8,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
}


def make_checkpoint(
    folder: Path,
    family: str,
    labels: int = 1,
    *,
    spread: float = 0.5,
    tokens: int = POSITIONS,
    **changes: Any,
) -> Path:
    """Write config, safetensors and tokenizer of a sequence classifier.

    `spread` is the deviation of its weights, `tokens` the most that it reads.
    """
    import torch
    import transformers

    torch.manual_seed(11)
    auto: Any = transformers.AutoModelForSequenceClassification
    model = auto.from_config(config_of(family, tokens, num_labels=labels, **changes))
    for name, parameter in model.named_parameters():
        if "norm.weight" in name.lower():
            torch.nn.init.normal_(parameter, mean=1, std=0.2)
        else:
            torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(folder)
    tokenizer(family, tokens).save_pretrained(folder)
    return folder


def config_of(family: str, tokens: int, **changes: Any) -> Any:
    """A family's own configuration at this size."""
    import transformers

    mpnet = family == "mpnet"
    common: dict[str, Any] = {
        "vocab_size": len(WORDS) + 4,
        "pad_token_id": int(mpnet),
        "max_position_embeddings": tokens + 2 if mpnet else tokens,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": DIM,
        "intermediate_size": WIDE,
    }
    if not mpnet:
        common["type_vocab_size"] = 2
    if family == "albert":
        common["embedding_size"] = DIM // 2
    if family == "deberta-v2":
        common |= {"pooler_hidden_size": DIM, **DEBERTA_V3}
    return transformers.AutoConfig.for_model(family, **(common | changes))


def tokenizer(family: str, tokens: int) -> Any:
    """The tokenizer of a family's own kind: word pieces, or Unigram with a sign for spaces."""
    import transformers

    kinds = {"albert": "AlbertTokenizer", "deberta-v2": "DebertaV2Tokenizer"}
    if family in kinds:
        unknown, padding = ("<unk>", "<pad>") if family == "albert" else ("[UNK]", "[PAD]")
        specials = [(name, 0.0) for name in (padding, unknown, "[CLS]", "[SEP]")]
        words = [(f"\u2581{word}", -float(index)) for index, word in enumerate(WORDS)]
        made = getattr(transformers, kinds[family])
        return made(
            vocab=specials + words,
            mask_token=unknown,
            model_max_length=tokens,
            model_input_names=["input_ids", "attention_mask", "token_type_ids"],
        )
    names = ["<s>", "<pad>", "</s>", "[UNK]", *WORDS]
    vocabulary = {name: index for index, name in enumerate(names)}
    return transformers.MPNetTokenizer(
        vocab=vocabulary, mask_token="[UNK]", model_max_length=tokens
    )
