"""Tiny checkpoints with random weights on disk, one a family, with a tokenizer of 80 words."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

DIM, HEADS, LAYERS, WIDE, POSITIONS = 32, 4, 2, 48, 64
WORDS = [f"{first}{second}" for first in "bdfgklmnpr" for second in "aeiouyzw"]
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
ROBERTAS = ("roberta", "xlm-roberta", "camembert")
FAMILIES = ("bert", "electra", "distilbert", *ROBERTAS, "albert", "deberta-v2", "mpnet")
DEBERTA_V3: dict[str, Any] = {
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "position_buckets": 8,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
}
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
CLS = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
NO_PROMPTS: dict[str, Any] = {"__version__": {"sentence_transformers": "2.2.2"}}


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
    config = config_of(family, tokens, num_labels=labels, **changes)
    auto: Any = transformers.AutoModelForSequenceClassification
    model = auto.from_config(config)
    _spread(model, spread)
    model.save_pretrained(folder)
    tokenizer(family, tokens).save_pretrained(folder)
    return folder


def make_bi_encoder(
    folder: Path,
    family: str = "bert",
    *,
    pooling: Mapping[str, Any] = MEAN,
    prompts: Mapping[str, Any] = NO_PROMPTS,
    modules: Sequence[str] = ("Transformer", "Pooling", "Normalize"),
    max_seq_length: int = 48,
) -> Path:
    """Write a sentence-transformers folder, as its versions before 5 do."""
    import torch
    import transformers

    torch.manual_seed(12)
    auto: Any = transformers.AutoModel
    model = auto.from_config(config_of(family))
    _spread(model)
    model.save_pretrained(folder)
    tokenizer(family).save_pretrained(folder)
    rows = []
    for index, name in enumerate(modules):
        path = f"{index}_{name}" if index else ""
        (folder / path).mkdir(exist_ok=True)
        kind = f"sentence_transformers.models.{name}"
        rows.append({"idx": index, "name": str(index), "path": path, "type": kind})
        if name == "Pooling":
            write_json(folder / path / "config.json", {"word_embedding_dimension": DIM, **pooling})
    write_json(folder / "modules.json", rows)
    write_json(folder / "config_sentence_transformers.json", prompts)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length})
    return folder


def write_json(file: Path, value: Any) -> None:
    """As it is."""
    file.write_text(json.dumps(value))


def _spread(model: Any, spread: float = 0.5) -> None:
    """Random weights, far enough apart to tell logits and vectors apart."""
    import torch

    for name, parameter in model.named_parameters():
        if "norm.weight" in name.lower():
            torch.nn.init.normal_(parameter, mean=1, std=0.2)
        else:
            torch.nn.init.normal_(parameter, std=spread)


def config_of(family: str, tokens: int = POSITIONS, **changes: Any) -> Any:
    """A family's own configuration at this size."""
    import transformers

    roberta = family in (*ROBERTAS, "mpnet")
    common: dict[str, Any] = {
        "vocab_size": len(WORDS) + 4,
        "pad_token_id": 1 if roberta else 0,
        "max_position_embeddings": tokens + 2 if roberta else tokens,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": DIM,
        "intermediate_size": WIDE,
        "type_vocab_size": 1 if roberta else 2,
    }
    if family == "electra":
        common["embedding_size"] = DIM // 2
    if family == "distilbert":
        del common["type_vocab_size"]
        common |= {"dim": DIM, "hidden_dim": WIDE, "n_layers": LAYERS, "n_heads": HEADS}
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers"):
            del common[name]
        del common["num_attention_heads"]
    if family == "albert":
        common["embedding_size"] = DIM // 2
    if family == "mpnet":
        del common["type_vocab_size"]
    if family == "deberta-v2":  # with the settings of deberta-v3
        common |= DEBERTA_V3
    return transformers.AutoConfig.for_model(family, **(common | changes))


def tokenizer(family: str, tokens: int = POSITIONS) -> Any:
    """Whole words and the family's own special tokens."""
    import transformers

    if family in ("albert", "deberta-v2", "mpnet"):
        return _tokenizer_of_its_kind(family, tokens)
    roberta = family in ROBERTAS
    specials = ROBERTA_SPECIALS if roberta else BERT_SPECIALS
    unknown = "<unk>" if roberta else "[UNK]"
    fast = Tokenizer(
        WordLevel({word: index for index, word in enumerate(specials + WORDS)}, unk_token=unknown)
    )
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    if roberta:
        fast.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    else:
        fast.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    inputs = ["input_ids", "attention_mask"]
    wrapped: Any = transformers.PreTrainedTokenizerFast
    return wrapped(
        tokenizer_object=fast,
        unk_token=unknown,
        model_input_names=inputs if roberta or family == "distilbert" else [*inputs, TYPES],
        model_max_length=tokens,
        **names,
    )


TYPES = "token_type_ids"


def _tokenizer_of_its_kind(family: str, tokens: int) -> Any:
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
            model_input_names=["input_ids", "attention_mask", TYPES],
        )
    names = ["<s>", "<pad>", "</s>", "[UNK]", *WORDS]
    vocabulary = {name: index for index, name in enumerate(names)}
    return transformers.MPNetTokenizer(
        vocab=vocabulary, mask_token="[UNK]", model_max_length=tokens
    )


def pairs(
    count: int, seed: int = 5, lengths: Sequence[int] = (1, 5, 12, 30, 48, 90)
) -> list[tuple[str, str]]:
    """Queries of 1 to 6 words with texts of these lengths; some do not fit whole in 64 tokens."""
    rng = random.Random(seed)
    return [
        (" ".join(rng.choices(WORDS, k=rng.randint(1, 6))), " ".join(rng.choices(WORDS, k=length)))
        for length in (rng.choice(lengths) for _ in range(count))
    ]
