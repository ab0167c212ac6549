"""Checkpoints in the shape of public rerankers, with random weights, to measure speed and rounding.

No package holds these models. One with random weights has the cost and the arithmetic of the public
one of its shape, but not its quality. Needs torch and transformers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

WORK = Path(__file__).parent / ".work" / "shapes"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@dataclass(frozen=True, slots=True)
class Shape:
    """An architecture and its sizes; `vocabulary` is the number of rows of the embedding table."""

    model_type: str
    layers: int
    dim: int
    heads: int
    wide: int
    vocabulary: int = 30_522
    tokens: int = 512
    settings: Mapping[str, Any] = field(default_factory=dict)


def _ettin(layers: int, dim: int, heads: int, wide: int) -> Shape:
    return Shape("modernbert", layers, dim, heads, wide, 50_368, 7_999)


def _deberta(layers: int, dim: int, heads: int) -> Shape:
    settings = {
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "max_relative_positions": -1,
        "position_biased_input": False,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "pooler_hidden_size": dim,
    }
    return Shape("deberta-v2", layers, dim, heads, 4 * dim, 128_100, settings=settings)


SHAPES: Mapping[str, Shape] = {
    "cross-encoder/ms-marco-TinyBERT-L2-v2": Shape("bert", 2, 128, 2, 512),
    "cross-encoder/ms-marco-MiniLM-L2-v2": Shape("bert", 2, 384, 12, 1536),
    "cross-encoder/ms-marco-MiniLM-L4-v2": Shape("bert", 4, 384, 12, 1536),
    "cross-encoder/ms-marco-MiniLM-L6-v2": Shape("bert", 6, 384, 12, 1536),
    "cross-encoder/ms-marco-MiniLM-L12-v2": Shape("bert", 12, 384, 12, 1536),
    "cross-encoder/ms-marco-electra-base": Shape("electra", 12, 768, 12, 3072),
    "cross-encoder/ettin-reranker-17m-v1": _ettin(7, 256, 4, 384),
    "cross-encoder/ettin-reranker-32m-v1": _ettin(10, 384, 6, 576),
    "cross-encoder/ettin-reranker-68m-v1": _ettin(19, 512, 8, 768),
    "cross-encoder/ettin-reranker-150m-v1": _ettin(22, 768, 12, 1152),
    "cross-encoder/ettin-reranker-400m-v1": _ettin(28, 1024, 16, 2624),
    "Alibaba-NLP/gte-reranker-modernbert-base": _ettin(22, 768, 12, 1152),
    "mixedbread-ai/mxbai-rerank-xsmall-v1": _deberta(12, 384, 6),
    "mixedbread-ai/mxbai-rerank-base-v1": _deberta(12, 768, 12),
    "BAAI/bge-reranker-base": Shape("xlm-roberta", 12, 768, 12, 3072, 250_002),
    "BAAI/bge-reranker-v2-m3": Shape("xlm-roberta", 24, 1024, 16, 4096, 250_002, 8_192),
    "sentence-transformers/all-mpnet-base-v2": Shape("mpnet", 12, 768, 12, 3072, 30_527),
    "albert/albert-base-v2": Shape("albert", 12, 768, 12, 3072, 30_000),
    "distilbert/distilbert-base-uncased": Shape("distilbert", 6, 768, 12, 3072),
    "FacebookAI/roberta-base": Shape("roberta", 12, 768, 12, 3072, 50_265),
}
"""By the public model that has the shape."""


def make_checkpoint(name: str) -> Path:
    """The folder of a checkpoint in the shape of `name`, made on first use."""
    folder = WORK / name.replace("/", "--")
    if (folder / "tokenizer.json").is_file():
        return folder
    import torch
    import transformers

    shape = SHAPES[name]
    torch.manual_seed(7)
    auto: Any = transformers.AutoModelForSequenceClassification
    model = auto.from_config(_config(shape))
    _spread(model, is_new=shape.model_type == "modernbert")
    model.save_pretrained(folder)
    tokenizer(shape).save_pretrained(folder)
    return folder


def _spread(model: Any, *, is_new: bool) -> None:
    """Weights with which logits vary: layers keep the size of what they read.

    `is_new`: norms before each block do that for the weights of a new model; only its head changes.
    """
    import torch

    for name, parameter in model.named_parameters():
        if is_new:
            if name.startswith("classifier") and parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.2)
        elif parameter.dim() == 2:
            std = 0.5 if "embeddings" in name else parameter.shape[1] ** -0.5
            torch.nn.init.normal_(parameter, std=std)
        elif "norm" in name.lower() and name.endswith("weight"):
            torch.nn.init.normal_(parameter, mean=1, std=0.2)


def _config(shape: Shape) -> Any:
    import transformers

    roberta = shape.model_type in ("roberta", "xlm-roberta", "mpnet")
    sizes = {
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.wide,
        "max_position_embeddings": shape.tokens + (2 if roberta else 0),
    }
    if shape.model_type == "distilbert":
        names = ("dim", "n_layers", "n_heads", "hidden_dim", "max_position_embeddings")
        sizes = dict(zip(names, sizes.values(), strict=True))
    return transformers.AutoConfig.for_model(
        shape.model_type,
        vocab_size=shape.vocabulary,
        num_labels=1,
        pad_token_id=1 if roberta else 0,
        **sizes,
        **({"embedding_size": 128} if shape.model_type == "albert" else {}),
        **({"type_vocab_size": 1} if roberta and shape.model_type != "mpnet" else {}),
        **shape.settings,
    )


def tokenizer(shape: Shape) -> Any:
    """A tokenizer of the architecture's kind, trained on the manuals.

    Its vocabulary is smaller than the public one, so that words have as many tokens or more.
    """
    import transformers

    fast, names = _TOKENIZERS.get(shape.model_type, _word_pieces)(shape.vocabulary)
    wrapped: Any = transformers.PreTrainedTokenizerFast
    return wrapped(tokenizer_object=fast, model_max_length=shape.tokens, **names)


def _texts() -> list[str]:
    return [topics[name] for name in sorted(topics)]


def _names(specials: list[str]) -> dict[str, str]:
    parts = ("pad", "unk", "cls", "sep", "mask")
    if specials is ROBERTA_SPECIALS:
        parts = ("cls", "pad", "sep", "unk", "mask")
    return {f"{part}_token": token for part, token in zip(parts, specials, strict=True)}


def _filled(fast: Tokenizer, rows: int) -> Tokenizer:
    """A vocabulary of as many tokens as the embedding table has rows."""
    content = json.loads(fast.to_str())
    vocabulary = content["model"]["vocab"]
    names = [f"unused{number}" for number in range(len(vocabulary), rows)]
    if isinstance(vocabulary, dict):
        vocabulary |= {name: len(vocabulary) + number for number, name in enumerate(names)}
    else:
        vocabulary += [[name, -100.0] for name in names]
    return Tokenizer.from_str(json.dumps(content))


def _word_pieces(rows: int) -> tuple[Tokenizer, dict[str, str]]:
    fast = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer()
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=20_000, special_tokens=SPECIALS)
    fast.train_from_iterator(_texts(), trainer)
    fast.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return _filled(fast, rows), _names(SPECIALS)


def _byte_pairs(rows: int) -> tuple[Tokenizer, dict[str, str]]:
    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, special_tokens=SPECIALS, initial_alphabet=alphabet
    )
    fast.train_from_iterator(_texts(), trainer)
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return _filled(fast, rows), _names(SPECIALS)


def _roberta_pairs(rows: int) -> tuple[Tokenizer, dict[str, str]]:
    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, special_tokens=ROBERTA_SPECIALS, initial_alphabet=alphabet
    )
    fast.train_from_iterator(_texts(), trainer)
    fast.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return _filled(fast, rows), _names(ROBERTA_SPECIALS)


def _unigrams(specials: list[str], unknown: str, rows: int) -> tuple[Tokenizer, dict[str, str]]:
    fast = Tokenizer(models.Unigram())
    fast.normalizer = normalizers.NFKC()
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=8_000, special_tokens=specials, unk_token=unknown)
    fast.train_from_iterator(_texts(), trainer)
    if specials is ROBERTA_SPECIALS:
        fast.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        fast.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return _filled(fast, rows), _names(specials)


_TOKENIZERS: Mapping[str, Any] = {
    "modernbert": _byte_pairs,
    "roberta": _roberta_pairs,
    "xlm-roberta": lambda rows: _unigrams(ROBERTA_SPECIALS, "<unk>", rows),
    "deberta-v2": lambda rows: _unigrams(SPECIALS, "[UNK]", rows),
    "albert": lambda rows: _unigrams(SPECIALS, "[UNK]", rows),
}
