"""NewModel's float32 graph gives the logits of a plain forward pass, and those of transformers.

Checkpoints have the weight names and the config of gte-multilingual-reranker-base, and a Unigram
tokenizer like XLM-RoBERTa's. Each setting that changes numbers has a case.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from convert.agreement import graph_logits, transformers_logits
from convert.checkpoints import WORDS
from convert.families.forward import (
    ACTIVATIONS,
    PAIRS,
    SMALL,
    TOKENS,
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
from resift.convert.checkpoint import read_cross_encoder

REAL = {
    "architectures": ["NewForSequenceClassification"],
    "attention_probs_dropout_prob": 0.0,
    "auto_map": {
        "AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig",
        "AutoModelForSequenceClassification": (
            "Alibaba-NLP/new-impl--modeling.NewForSequenceClassification"
        ),
    },
    "classifier_dropout": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "id2label": {"0": "LABEL_0"},
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "label2id": {"LABEL_0": 0},
    "layer_norm_eps": 1e-12,
    "layer_norm_type": "layer_norm",
    "logn_attention_clip1": False,
    "logn_attention_scale": False,
    "max_position_embeddings": 8192,
    "model_type": "new",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pack_qkv": True,
    "pad_token_id": 1,
    "position_embedding_type": "rope",
    "rope_scaling": {"factor": 8.0, "type": "ntk"},
    "rope_theta": 20000,
    "torch_dtype": "float16",
    "type_vocab_size": 1,
    "unpad_inputs": False,
    "use_memory_efficient_attention": False,
}


def make(folder: Path, base: Config = REAL | SMALL, spread: float = 1.0, **changes: Any) -> Path:
    """Write a checkpoint; None takes a setting out."""
    merged = {**base, **changes, "vocab_size": len(WORDS) + 21}
    config = {name: value for name, value in merged.items() if value is not None}
    drawn = Drawn(spread=spread)
    dim, wide, prefix = config["hidden_size"], config["intermediate_size"], config["model_type"]
    drawn.table(f"{prefix}.embeddings.word_embeddings", config["vocab_size"], dim)
    if config["type_vocab_size"]:
        drawn.table(f"{prefix}.embeddings.token_type_embeddings", config["type_vocab_size"], dim)
    if config.get("position_embedding_type") == "absolute":
        positions = config["max_position_embeddings"]
        drawn.table(f"{prefix}.embeddings.position_embeddings", positions, dim)
    drawn.norm(f"{prefix}.embeddings.LayerNorm", dim)
    for index in range(config["num_hidden_layers"]):
        name = f"{prefix}.encoder.layer.{index}"
        if config.get("pack_qkv", True):
            drawn.linear(f"{name}.attention.qkv_proj", 3 * dim, dim)
        else:
            for part in "qkv":
                drawn.linear(f"{name}.attention.{part}_proj", dim, dim)
        drawn.linear(f"{name}.attention.o_proj", dim, dim)
        drawn.linear(f"{name}.mlp.up_gate_proj", 2 * wide, dim, bias=False)
        drawn.linear(f"{name}.mlp.down_proj", dim, wide)
        drawn.norm(f"{name}.attn_ln", dim)
        drawn.norm(f"{name}.mlp_ln", dim)
    drawn.linear(f"{prefix}.pooler.dense", dim, dim)
    drawn.linear("classifier", len(config["id2label"]), dim)
    drawn.save(folder, config)
    write_tokenizer(folder, config["max_position_embeddings"], config["type_vocab_size"] > 1)
    return folder


def write_tokenizer(folder: Path, limit: int, types: bool) -> None:
    """A Unigram tokenizer with XLM-RoBERTa's special tokens; pieces are words and letters.

    With `types`, the second text has type 1.
    """
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -9.0)]
    pieces += [(f"▁{word}", -4.0) for word in WORDS]
    pieces += [(letter, -8.0) for letter in "bdfgklmnpraeiouy"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1" if types else "<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": limit,
        "model_input_names": names,
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def forward(weights: Weights, config: Config, ids: Ids, types: Ids) -> float:
    """NewForSequenceClassification's logit for a sequence; the second less the first of two."""
    x = weights.embed("new.embeddings", ids, types)
    for index in range(config["num_hidden_layers"]):
        name = f"new.encoder.layer.{index}"
        mixed = attention(weights, config, f"{name}.attention", x)
        x = weights.norm(f"{name}.attn_ln", x + mixed)
        up, gate = np.split(weights.linear(f"{name}.mlp.up_gate_proj", x), 2, axis=1)
        active = ACTIVATIONS[str(config["hidden_act"])](gate)
        x = weights.norm(f"{name}.mlp_ln", x + weights.linear(f"{name}.mlp.down_proj", active * up))
    pooled = np.tanh(weights.linear("new.pooler.dense", x[:1]))
    return weights.logit("classifier", pooled)


def attention(weights: Weights, config: Config, name: str, x: Floats) -> Floats:
    """Queries and keys turned by their positions, if positions are rotary."""
    if f"{name}.qkv_proj.weight" in weights.arrays:
        parts = np.split(weights.linear(f"{name}.qkv_proj", x), 3, axis=1)
    else:
        parts = [weights.linear(f"{name}.{part}_proj", x) for part in "qkv"]
    heads = config["num_attention_heads"]
    query, key, value = (by_heads(part, heads) for part in parts)
    if config.get("position_embedding_type", "rope") == "rope":
        query, key = turned(query, config), turned(key, config)
    return weights.linear(f"{name}.o_proj", attend(query, key, value))


def turned(x: Floats, config: Config) -> Floats:
    """Each pair of columns ``(i, i + size / 2)`` as a complex number, turned by its angle."""
    size = x.shape[-1]
    pairs_of_columns = x[..., : size // 2] + 1j * x[..., size // 2 :]
    angles = np.outer(np.arange(x.shape[1]), [angle(config, n, size) for n in range(size // 2)])
    result = pairs_of_columns * np.exp(1j * angles)
    return np.concatenate([result.real, result.imag], axis=-1)


def angle(config: Config, n: int, size: int) -> float:
    """The formulas (6), (10), (12) and (13) of https://kexue.fm/archives/9706."""
    scaling = config.get("rope_scaling")
    theta = float(config.get("rope_theta", 10_000))
    if scaling is None:
        return float(theta ** (-2 * n / size))
    factor, mixed_b = scaling["factor"], scaling.get("mixed_b")
    if mixed_b is None:
        return float((theta * factor) ** (-2 * n / size) / factor ** (2 / size))
    a = math.log(factor) / (size / 2) ** mixed_b
    return float(theta ** (-2 * n / size) / math.exp(a * (n + 1) ** mixed_b))


CASES: dict[str, dict[str, Any]] = {
    "as published": {},
    "no scaling": {"rope_scaling": None},
    "default theta": {"rope_scaling": None, "rope_theta": None},
    "mixed scaling": {"rope_scaling": {"factor": 4.0, "type": "ntk", "mixed_b": 0.625}},
    "absolute positions": {"position_embedding_type": "absolute", "rope_scaling": None},
    "queries, keys and values apart": {"pack_qkv": False},
    "no token types": {"type_vocab_size": 0},
    "two token types": {"type_vocab_size": 2},
    "relu": {"hidden_act": "relu"},
    "silu": {"hidden_act": "silu"},
    "two labels": {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
    "default position type": {"position_embedding_type": None},
    "five heads of six": {"hidden_size": 30, "num_attention_heads": 5},
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_a_plain_forward_pass(
    case: str, batch: int, runtime: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "checkpoint", **CASES[case])
    check_agreement(folder, forward, tmp_path, runtime, batch)


def test_each_setting_that_is_read_changes_logits(tmp_path: Path) -> None:
    """Otherwise agreement would not show that the setting is read."""
    published = reference_logits(make(tmp_path / "0"), forward)
    for case in ("no scaling", "mixed scaling", "relu", "silu"):
        other = reference_logits(make(tmp_path / case, **CASES[case]), forward)
        assert np.abs(other - published).max() > 10 * TOLERANCE, case


def as_gte(folder: Path, **changes: Any) -> Path:
    """The same weights as transformers' own model of the architecture."""
    out = folder.with_name("gte")
    out.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        os.link(folder / name, out / name)
    config = json.loads((folder / "config.json").read_text())
    for name in ("auto_map", "rope_scaling", "rope_theta", "position_embedding_type"):
        config.pop(name, None)
    names = {"model_type": "gte", "architectures": ["GteForSequenceClassification"]}
    (out / "config.json").write_text(json.dumps(config | names | changes))
    return out


def spread_angles(theta: float, factor: float, size: int) -> dict[str, Any]:
    """Fixed NTK scaling in settings that transformers has: another base, and linear scaling."""
    return {
        "rope_type": "linear",
        "rope_theta": theta * factor,
        "factor": factor ** (2 / size),
    }


@pytest.mark.torch
def test_new_model_is_transformers_gte_under_another_name(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = make(tmp_path / "checkpoint")
    gte = as_gte(folder, rope_parameters=spread_angles(20_000, 8, 8))
    expected = transformers_logits(gte, PAIRS, TOKENS)
    actual = graph_logits(folder, PAIRS, tmp_path, runtime, 4)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)


GTE_CASES: dict[str, dict[str, Any]] = {
    "linear": {"rope_parameters": spread_angles(20_000, 8, 8)},
    "default": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "nothing said": {},
}


@pytest.mark.torch
@pytest.mark.parametrize("case", GTE_CASES)
def test_gte_as_transformers_saves_it_gives_the_logits_of_transformers(
    case: str, runtime: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    source = as_gte(make(tmp_path / "checkpoint"), **GTE_CASES[case])
    auto: Any = transformers.AutoModelForSequenceClassification
    auto.from_pretrained(source).save_pretrained(tmp_path / "saved")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        os.link(source / name, tmp_path / "saved" / name)
    expected = transformers_logits(tmp_path / "saved", PAIRS, TOKENS)
    actual = graph_logits(tmp_path / "saved", PAIRS, tmp_path, runtime, 4)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE


@pytest.mark.torch
def test_gte_in_the_names_of_its_modules_is_read_too(tmp_path: Path) -> None:
    """A model that is saved without the names of the older files."""
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import save_file

    source = as_gte(make(tmp_path / "checkpoint"))
    auto: Any = transformers.AutoModelForSequenceClassification
    state = auto.from_pretrained(source).state_dict()
    (source / "model.safetensors").unlink()
    save_file(state, source / "model.safetensors")
    assert "gte.layers.0.self_attn.q_proj.weight" in state
    expected = transformers_logits(source, PAIRS, TOKENS)
    actual = graph_logits(source, PAIRS, tmp_path, "openvino")
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_norm_type": "rms_norm"}, "layer_norm_type is 'rms_norm'; only layer_norm can"),
        ({"logn_attention_scale": True}, "logn_attention_scale is True; attention scaled by"),
        ({"position_embedding_type": "alibi"}, "'alibi'; expected rope or absolute"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "of the type 'yarn'; expected default"),
        ({"rope_scaling": {"type": "ntk"}}, "factor is missing"),
        ({"rope_scaling": {"type": "ntk", "factor": 0}}, "factor 0; expected 1 up"),
        ({"rope_scaling": {"type": "ntk", "factor": "8"}}, "factor '8'; expected a number"),
        ({"rope_scaling": {"type": "ntk", "factor": 2, "mixed_b": "x"}}, "mixed_b 'x'; expected"),
        ({"rope_scaling": [8]}, r"rope_scaling \[8\]; expected an object"),
        ({"hidden_act": "mish"}, "activation mish; expected one of gelu"),
        ({"num_hidden_layers": 3}, r"weights are missing, such as encoder\.layer\.2"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    check_refusal(make(tmp_path / "checkpoint"), message, **changes)


def test_the_limit_is_that_of_positions_and_tokenizer(tmp_path: Path) -> None:
    folder = make(tmp_path / "checkpoint", max_position_embeddings=100)
    assert read_cross_encoder(folder).max_tokens == 96
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 80
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read_cross_encoder(folder).max_tokens == 80


@pytest.mark.real_shapes
@pytest.mark.timeout(1_800)
@pytest.mark.torch
def test_the_real_shape_gives_the_logits_of_transformers(tmp_path: Path) -> None:
    """gte-multilingual-reranker-base with a small vocabulary, 200 pairs of up to 2,000 tokens."""
    pytest.importorskip("transformers")
    folder = make(tmp_path / "checkpoint", REAL)
    gte = as_gte(folder, rope_parameters=spread_angles(20_000, 8, 64))
    examples = mixed_pairs(200)
    expected = transformers_logits(gte, examples, 8_192)
    for runtime in ("openvino", "onnxruntime"):
        actual = graph_logits(folder, examples, tmp_path, runtime)
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 1_000 * TOLERANCE
