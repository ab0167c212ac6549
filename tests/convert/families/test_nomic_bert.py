"""NomicBERT's float32 graph gives the logits of a plain forward pass, and transformers' vectors.

Checkpoints have the weight names and the config of nomic-embed-text-v1.5. Each setting that changes
numbers has a case.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.checkpoints import WORDS
from convert.families.forward import (
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
    gelu,
    reference_logits,
    silu,
)
from convert.plain_checkpoints import pairs, write_tokenizer
from resift.convert.checkpoint import read_cross_encoder, read_encoder

REAL: dict[str, Any] = {
    "activation_function": "swiglu",
    "architectures": ["NomicBertModel"],
    "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
    "causal": False,
    "fused_bias_fc": True,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "model_type": "nomic_bert",
    "n_embd": 768,
    "n_head": 12,
    "n_inner": 3072,
    "n_layer": 12,
    "n_positions": 8192,
    "parallel_block": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "type_vocab_size": 2,
    "use_rms_norm": False,
    "vocab_size": 30528,
}
SMALL = {
    "max_trained_positions": TOKENS,
    "n_embd": 32,
    "n_head": 4,
    "n_inner": 48,
    "n_layer": 2,
    "vocab_size": len(WORDS) + 8,  # more than there are words, as in the real one
}


def make(folder: Path, *, labels: int = 1, **changes: Any) -> Path:
    """Write a checkpoint; without `labels` it has no head. None takes a setting out."""
    merged = {**REAL, **SMALL, **changes}
    config = {name: value for name, value in merged.items() if value is not None}
    drawn = Drawn()
    dim, wide = SMALL["n_embd"], SMALL["n_inner"]
    prefix = "bert." if labels else ""
    drawn.table(f"{prefix}embeddings.word_embeddings", config["vocab_size"], dim)
    drawn.table(f"{prefix}embeddings.token_type_embeddings", 2, dim)
    drawn.norm(f"{prefix}emb_ln", dim)
    for index in range(SMALL["n_layer"]):
        name = f"{prefix}encoder.layers.{index}"
        drawn.linear(f"{name}.attn.Wqkv", 3 * dim, dim, bias=bool(config.get("qkv_proj_bias")))
        drawn.linear(f"{name}.attn.out_proj", dim, dim, bias=bool(config.get("qkv_proj_bias")))
        parts = ("fc11", "fc12") if config["activation_function"] in GATED else ("fc1",)
        for part in parts:
            drawn.linear(f"{name}.mlp.{part}", wide, dim, bias=bool(config.get("mlp_fc1_bias")))
        drawn.linear(f"{name}.mlp.fc2", dim, wide, bias=bool(config.get("mlp_fc2_bias")))
        drawn.norm(f"{name}.norm1", dim)
        drawn.norm(f"{name}.norm2", dim)
    if labels:
        config |= {"architectures": ["NomicBertForSequenceClassification"]}
        drawn.linear("bert.pooler.dense", dim, dim)
        drawn.linear("classifier", labels, dim)
    drawn.save(folder, config)
    write_tokenizer(folder, "bert")
    return folder


GATED = {"swiglu": silu, "geglu": gelu}


def forward(weights: Weights, config: Config, ids: Ids, types: Ids) -> float:
    """The logit of a sequence by the published description of the model."""
    x = weights.arrays["bert.embeddings.word_embeddings.weight"][ids]
    x = x + weights.arrays["bert.embeddings.token_type_embeddings.weight"][types]
    x = weights.norm("bert.emb_ln", x)
    for index in range(config["n_layer"]):
        name = f"bert.encoder.layers.{index}"
        parts = np.split(weights.linear(f"{name}.attn.Wqkv", x), 3, axis=1)
        query, key, value = (by_heads(part, config["n_head"]) for part in parts)
        theta = rope_theta(config)
        mixed = attend(turned(query, theta), turned(key, theta), value)
        x = weights.norm(f"{name}.norm1", x + weights.linear(f"{name}.attn.out_proj", mixed))
        x = weights.norm(f"{name}.norm2", x + feed_forward(weights, config, f"{name}.mlp", x))
    pooled = np.tanh(weights.linear("bert.pooler.dense", x[:1]))
    return weights.logit("classifier", pooled)


def feed_forward(weights: Weights, config: Config, name: str, x: Floats) -> Floats:
    kind = config["activation_function"]
    if kind in GATED:
        wide = GATED[kind](weights.linear(f"{name}.fc12", x)) * weights.linear(f"{name}.fc11", x)
    else:
        wide = gelu(weights.linear(f"{name}.fc1", x))
    return weights.linear(f"{name}.fc2", wide)


def rope_theta(config: Config) -> float:
    newer = config.get("rope_parameters", {}).get("rope_theta")
    return float(newer or config.get("rotary_emb_base", 1000))


def turned(x: Floats, theta: float) -> Floats:
    """Each pair of columns ``(i, i + size / 2)`` as a complex number, turned by its angle."""
    size = x.shape[-1]
    pairs_of_columns = x[..., : size // 2] + 1j * x[..., size // 2 :]
    turns = np.outer(np.arange(x.shape[1]), theta ** (-2 * np.arange(size // 2) / size))
    result = pairs_of_columns * np.exp(1j * turns)
    return np.concatenate([result.real, result.imag], axis=-1)


NEWER = {
    "max_position_embeddings": TOKENS,
    "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"},
    "rotary_emb_base": 1000,
}
CASES: dict[str, dict[str, Any]] = {
    "as published": {},
    "another theta": {"rotary_emb_base": 10_000},
    "default theta": {"rotary_emb_base": None},
    "newer names too": NEWER,
    "geglu": {"activation_function": "geglu"},
    "gelu without a gate": {"activation_function": "gelu"},
    "biases": {"qkv_proj_bias": True, "mlp_fc1_bias": True, "mlp_fc2_bias": True},
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_a_plain_forward_pass(
    case: str, batch: int, runtime: str, tmp_path: Path
) -> None:
    check_agreement(make(tmp_path / "checkpoint", **CASES[case]), forward, tmp_path, runtime, batch)


def test_each_setting_that_is_read_changes_logits(tmp_path: Path) -> None:
    """Otherwise agreement would not show that the setting is read."""
    published = reference_logits(make(tmp_path / "0"), forward)
    for case in ("another theta", "newer names too", "geglu"):
        other = reference_logits(make(tmp_path / case, **CASES[case]), forward)
        assert np.abs(other - published).max() > 10 * TOLERANCE, case


def test_texts_are_cut_to_the_trained_length(tmp_path: Path) -> None:
    """Beyond it, the angles of a text would depend on the longest text of its batch."""
    folder = make(tmp_path / "checkpoint", max_trained_positions=48)
    assert read_encoder(folder).max_tokens == 48
    scaled = make(tmp_path / "scaled", rotary_scaling_factor=2)
    assert read_cross_encoder(scaled).max_tokens == TOKENS


def test_an_encoder_without_a_head_and_prefix_is_read(tmp_path: Path) -> None:
    with_head = read_encoder(make(tmp_path / "1"))
    without = read_encoder(make(tmp_path / "0", labels=0))
    names = {name for name in with_head.weights if not name.startswith("head.")}
    assert names == set(without.weights) and "encoder.layer.1.intermediate.gate.weight" in names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"moe_every_n_layers": 2, "num_experts": 8}, "a mixture of experts, which cannot be"),
        ({"prenorm": True}, "prenorm is True; only NomicBERT as nomic-embed-text-v1.5"),
        ({"causal": True}, "causal is True; only NomicBERT as"),
        ({"rotary_emb_fraction": 0.5}, r"rotary_emb_fraction is 0\.5; only"),
        ({"rotary_emb_interleaved": True}, "rotary_emb_interleaved is True; only"),
        ({"use_rms_norm": True}, "use_rms_norm is True; only"),
        ({"num_heads_kv": 2}, "num_heads_kv is 2; only"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'; only plain rotary"),
        ({"rope_parameters": 5}, "rope_parameters 5; expected an object"),
        ({"activation_function": "glu"}, "activation glu; expected one of gelu"),
        ({"n_layer": 3}, r"weights are missing, such as encoder\.layer\.2"),
        ({"n_head": 5}, "do not make 5 heads"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    check_refusal(make(tmp_path / "checkpoint"), message, **changes)


@pytest.mark.torch
def test_token_states_are_those_of_transformers(runtime: str, tmp_path: Path) -> None:
    """Of files as they are published, and as transformers saves them again."""
    import onnx

    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from resift.convert.stages import encoder_graph
    from resift.rerank.runtimes import open_session
    from resift.rerank.tokenization import Tokens, load_tokenizer, pad

    folder = make(tmp_path / "checkpoint", labels=0)
    config = json.loads((folder / "config.json").read_text())
    named = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": TOKENS,
        "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},
    }
    config.pop("auto_map")
    (folder / "config.json").write_text(json.dumps(config | named))
    model = transformers.NomicBertModel.from_pretrained(folder, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path / "saved")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "saved" / name).write_bytes((folder / name).read_bytes())
    tokens = Tokens(load_tokenizer(folder / "tokenizer.json"), TOKENS)
    feeds = pad(tokens.single([text for _, text in pairs(8)]))
    inputs = {name: torch.tensor(values) for name, values in feeds.items()}
    with torch.inference_mode():
        expected = model(**inputs).last_hidden_state.numpy()
    present = feeds["attention_mask"].astype(bool)
    for source in (folder, tmp_path / "saved"):
        read = read_encoder(source)
        onnx.save(encoder_graph(read.weights, read.shape), str(tmp_path / "encoder.onnx"))
        session = open_session(tmp_path / "encoder.onnx", runtime)
        actual = session.run({name: feeds[name] for name in session.inputs}, ["states"])["states"]
        np.testing.assert_allclose(actual[present], expected[present], atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE
