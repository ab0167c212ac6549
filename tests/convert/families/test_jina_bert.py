"""JinaBERT's float32 graph gives the logits of a plain forward pass; BERT's configs are told apart.

Checkpoints have the weight names and the config of jina-reranker-v1-turbo-en, and a tokenizer of
bytes like RoBERTa's. Each setting that changes numbers has a case.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from convert.agreement import graph_logits
from convert.checkpoints import WORDS
from convert.families.forward import (
    ACTIVATIONS,
    SMALL,
    TOLERANCE,
    Config,
    Drawn,
    Floats,
    Ids,
    Weights,
    attend,
    by_heads,
    check_agreement,
    check_refusal,
    mixed_pairs,
    reference_logits,
)
from resift.convert.config import Config as FamilyConfig
from resift.convert.families import family_of
from resift.convert.families.bert import BERT
from resift.convert.families.jina_bert import JINA_BERT, slopes

CODE = "jinaai/jina-bert-implementation--modeling_bert."
REAL = {
    "architectures": ["JinaBertForSequenceClassification"],
    "attention_probs_dropout_prob": 0.0,
    "attn_implementation": "torch",
    "auto_map": {
        "AutoConfig": "jinaai/jina-bert-implementation--configuration_bert.JinaBertConfig",
        "AutoModelForSequenceClassification": f"{CODE}JinaBertForSequenceClassification",
    },
    "classifier_dropout": None,
    "emb_pooler": "mean",
    "feed_forward_type": "geglu",
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 384,
    "id2label": {"0": "LABEL_0"},
    "initializer_range": 0.02,
    "intermediate_size": 1536,
    "label2id": {"LABEL_0": 0},
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 8192,
    "model_max_length": 8192,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 6,
    "pad_token_id": 0,
    "position_embedding_type": "alibi",
    "torch_dtype": "float32",
    "type_vocab_size": 2,
    "use_cache": True,
}
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def make(folder: Path, base: Config = REAL | SMALL, *, types: bool = False, **changes: Any) -> Path:
    """Write a checkpoint; None takes a setting out. `types`: its tokenizer gives types to pairs."""
    merged = {**base, **changes, "vocab_size": len(ALPHABET) + len(WORDS) * 2 + 4}
    config = {name: value for name, value in merged.items() if value is not None}
    drawn = Drawn()
    dim, wide = config["hidden_size"], config["intermediate_size"]
    drawn.table("bert.embeddings.word_embeddings", config["vocab_size"], dim)
    drawn.table("bert.embeddings.token_type_embeddings", config["type_vocab_size"], dim)
    if config.get("position_embedding_type") != "alibi":
        positions = config["max_position_embeddings"]
        drawn.table("bert.embeddings.position_embeddings", positions, dim)
    drawn.norm("bert.embeddings.LayerNorm", dim)
    for index in range(config["num_hidden_layers"]):
        name = f"bert.encoder.layer.{index}"
        for part in ("query", "key", "value"):
            drawn.linear(f"{name}.attention.self.{part}", dim, dim)
        drawn.linear(f"{name}.attention.output.dense", dim, dim)
        drawn.norm(f"{name}.attention.output.LayerNorm", dim)
        if config.get("feed_forward_type", "original") == "original":
            drawn.linear(f"{name}.intermediate.dense", wide, dim)
            drawn.linear(f"{name}.output.dense", dim, wide)
            drawn.norm(f"{name}.output.LayerNorm", dim)
        else:
            drawn.linear(f"{name}.mlp.gated_layers", 2 * wide, dim, bias=False)
            drawn.linear(f"{name}.mlp.wo", dim, wide)
            drawn.norm(f"{name}.mlp.layernorm", dim)
    drawn.linear("bert.pooler.dense", dim, dim)
    drawn.linear("classifier", len(config["id2label"]), dim)
    drawn.save(folder, config)
    write_tokenizer(folder, config["max_position_embeddings"], types)
    return folder


def write_tokenizer(folder: Path, limit: int, types: bool) -> None:
    """Bytes and merges of whole words, with RoBERTa's special tokens."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *ALPHABET]
    merges = [(word[0], word[1]) for word in WORDS] + [("Ġ", word) for word in WORDS]
    tokens += [first + second for first, second in merges]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if types:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> $B:1 </s>:1",
            special_tokens=[("<s>", 0), ("</s>", 2)],
        )
    else:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    settings = {"model_max_length": limit, "model_input_names": names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def forward(weights: Weights, config: Config, ids: Ids, types: Ids) -> float:
    """JinaBertForSequenceClassification's logit for a sequence."""
    x = weights.embed("bert.embeddings", ids, types)
    for index in range(config["num_hidden_layers"]):
        name = f"bert.encoder.layer.{index}"
        mixed = attention(weights, f"{name}.attention.self", x, config["num_attention_heads"])
        mixed = weights.linear(f"{name}.attention.output.dense", mixed)
        x = weights.norm(f"{name}.attention.output.LayerNorm", x + mixed)
        x = feed_forward(weights, config, name, x)
    pooled = np.tanh(weights.linear("bert.pooler.dense", x[:1]))
    return weights.logit("classifier", pooled)


def attention(weights: Weights, name: str, x: Floats, heads: int) -> Floats:
    """Each head takes off its slope times the distance."""
    query, key, value = (
        by_heads(weights.linear(f"{name}.{part}", x), heads) for part in ("query", "key", "value")
    )
    distance = np.abs(np.subtract.outer(np.arange(len(x)), np.arange(len(x))))
    return attend(query, key, value, np.array([-slope * distance for slope in published(heads)]))


def feed_forward(weights: Weights, config: Config, name: str, x: Floats) -> Floats:
    """A gate on the first part of ``gated_layers``, or BERT's two layers."""
    kind = config.get("feed_forward_type", "original")
    if kind == "original":
        active = ACTIVATIONS[config["hidden_act"]](weights.linear(f"{name}.intermediate.dense", x))
        narrow = weights.linear(f"{name}.output.dense", active)
        return weights.norm(f"{name}.output.LayerNorm", x + narrow)
    gate, rest = np.split(weights.linear(f"{name}.mlp.gated_layers", x), 2, axis=1)
    active = ACTIVATIONS[{"geglu": "gelu", "reglu": "relu"}[kind]](gate)
    narrow = weights.linear(f"{name}.mlp.wo", active * rest)
    return weights.norm(f"{name}.mlp.layernorm", x + narrow)


def published(heads: int) -> list[float]:
    """The paper's slopes, by its recursion for numbers that are no power of two."""
    if math.log2(heads).is_integer():
        start = 2.0 ** -(2.0 ** -(math.log2(heads) - 3))
        return [start ** (n + 1) for n in range(heads)]
    lower = 2 ** math.floor(math.log2(heads))
    return published(lower) + published(2 * lower)[0::2][: heads - lower]


CASES: dict[str, dict[str, Any]] = {
    "as published": {},
    "relu gate": {"feed_forward_type": "reglu"},
    "no gate": {"feed_forward_type": "original"},
    "no gate, by default": {"feed_forward_type": None},
    "no gate, relu": {"feed_forward_type": "original", "hidden_act": "relu"},
    "a gate whose activation hidden_act does not decide": {"hidden_act": "relu"},
    "three heads": {"hidden_size": 30, "num_attention_heads": 3},
    "six heads": {"hidden_size": 36, "num_attention_heads": 6},
    "a head": {"num_attention_heads": 1},
    "token types": {"types": True},
    "a token type": {"type_vocab_size": 1},
    "positions too": {"position_embedding_type": "absolute"},
    "two labels": {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
    "named like BERT": {"architectures": ["BertForSequenceClassification"]},
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_a_plain_forward_pass(
    case: str, batch: int, runtime: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "checkpoint", **CASES[case])
    check_agreement(folder, forward, tmp_path, runtime, batch)


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24])
def test_slopes_are_the_papers(heads: int) -> None:
    np.testing.assert_allclose(slopes(heads), published(heads), rtol=1e-12)
    assert len(slopes(heads)) == heads


def test_eight_heads_have_the_slopes_that_the_paper_lists() -> None:
    np.testing.assert_allclose(slopes(8), [2.0**-n for n in range(1, 9)])


@pytest.mark.parametrize(
    ("values", "is_jina"),
    [
        ({"architectures": ["JinaBertForSequenceClassification"]}, True),
        ({"position_embedding_type": "alibi"}, True),
        ({"architectures": ["BertForSequenceClassification"]}, False),
        ({"position_embedding_type": "absolute"}, False),
        ({}, False),
        ({"architectures": None}, False),
    ],
)
def test_jina_bert_is_told_from_bert_by_its_config(
    values: dict[str, Any], is_jina: bool, tmp_path: Path
) -> None:
    config = FamilyConfig(tmp_path / "config.json", {"model_type": "bert", **values})
    assert family_of(config, tmp_path) is (JINA_BERT if is_jina else BERT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feed_forward_type": "swiglu"}, "feed_forward_type 'swiglu'; expected original or one"),
        ({"position_embedding_type": "relative_key"}, "is 'relative_key'; only ALiBi"),
        ({"num_attention_heads": 0}, "num_attention_heads 0; expected a number from 1"),
        ({"use_qk_norm": True}, "norms of queries and keys .* cannot be converted"),
        ({"feed_forward_type": "original"}, "of 96 columns; expected 48 with feed_forward_"),
        ({"feed_forward_type": None}, "expected 48 with feed_forward_type 'original'"),
        ({"num_hidden_layers": 3}, r"weights are missing, such as encoder\.layer\.2"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    check_refusal(make(tmp_path / "checkpoint"), message, **changes)


def test_norms_of_queries_and_keys_are_refused_by_their_weights(tmp_path: Path) -> None:
    """As jina-bert-v2-qk-post-norm has them; its configs do not say so."""
    folder = make(tmp_path / "checkpoint")
    drawn = Drawn()
    drawn.arrays = {
        name: value.astype(np.float32) for name, value in Weights(folder).arrays.items()
    }
    for part in "qk":
        drawn.norm(f"bert.encoder.layer.0.attention.self.layer_norm_{part}", 32)
    drawn.save(folder, json.loads((folder / "config.json").read_text()))
    check_refusal(folder, "qk-post-norm")


@pytest.mark.real_shapes
@pytest.mark.timeout(1_800)
def test_the_real_shape_gives_the_logits_of_a_plain_forward_pass(tmp_path: Path) -> None:
    """jina-reranker-v1-turbo-en with a small vocabulary, 200 pairs of up to 2,000 tokens."""
    folder = make(tmp_path / "checkpoint", REAL | {"max_position_embeddings": 2_000})
    examples = mixed_pairs(200)
    expected = reference_logits(folder, forward, examples, 2_000)
    for runtime in ("openvino", "onnxruntime"):
        actual = graph_logits(folder, examples, tmp_path, runtime)
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 1_000 * TOLERANCE
