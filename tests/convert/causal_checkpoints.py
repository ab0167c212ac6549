"""Tiny checkpoints of decoders with random weights, as authors save them, written without torch.

Names and sizes of weights are written out here a second time, so that a wrong one in the library
fails a test.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from convert.plain_checkpoints import write_json

DIM, LAYERS, HEADS, KEY_HEADS, SIZE, WIDE = 32, 3, 4, 2, 16, 48
FAMILIES = ("qwen3", "qwen2", "gemma")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THINK = ["<think>", "</think>"]
WORDS = ["yes", "no", "Yes", "1", "0"]
TEXT = [
    "yes no Yes 1 0 Given a web search query, retrieve relevant passages that answer the query",
    "Judge whether the Document meets the requirements based on the Query and the Instruct",
    "You are a search relevance expert who evaluates how well documents match search queries.",
    "the cat sat on the mat and the dogs ran over the hill to the river in the morning light",
] * 4
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = """\
{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") \
| first | default("Find it") -%}
{%- set query_text = messages | selectattr("role", "eq", "query") | map(attribute="content") \
| first -%}
<|im_start|>system
Judge.<|im_end|>
<|im_start|>user
<Instruct>: {{ instruction }}
<Query>: {{ query_text }}
<Document>: {{ (messages | selectattr("role", "eq", "document") | first).content }}<|im_end|>
<|im_start|>assistant
<think>

</think>


"""

Arrays = dict[str, NDArray[np.float32]]


def write_causal(folder: Path, family: str = "qwen3", *, tied: bool = True, **changes: Any) -> Path:
    """Write a causal model: config, safetensors, tokenizer and its settings.

    `changes` are those of ``config.json``; None takes an entry out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"model_max_length": 512})
    config = causal_config(family, tokenizer.get_vocab_size(), tied=tied) | changes
    config = {key: value for key, value in config.items() if value is not None}
    write_json(folder / "config.json", config)
    weights = random_weights(family, tokenizer.get_vocab_size(), tied=tied)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_logit_score(
    folder: Path, relevant: object, irrelevant: object, template: str | None = CHAT_TEMPLATE
) -> None:
    """Write sentence-transformers' files beside a causal model, as its versions from 5.4 do."""
    kinds = {
        "": "sentence_transformers.base.modules.transformer.Transformer",
        "1_LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
    }
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": kind}
        for index, (path, kind) in enumerate(kinds.items())
    ]
    write_json(folder / "modules.json", modules)
    (folder / "1_LogitScore").mkdir()
    settings = {"true_token_id": relevant, "false_token_id": irrelevant}
    write_json(folder / "1_LogitScore" / "config.json", settings)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)


def causal_config(family: str, vocabulary: int, *, tied: bool = True) -> dict[str, Any]:
    """The entries of ``config.json``."""
    name = family.capitalize()
    config: dict[str, Any] = {
        "model_type": family,
        "architectures": [f"{name}ForCausalLM"],
        "vocab_size": vocabulary,
        "hidden_size": DIM,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
    }
    if family == "gemma":
        return config | {"head_dim": SIZE, "hidden_activation": "gelu_pytorch_tanh"}
    config |= {"hidden_act": "silu", "use_sliding_window": False}
    return config | ({"head_dim": SIZE} if family == "qwen3" else {})


def head_size(family: str) -> int:
    """The size of a head: Qwen2's follows from the width."""
    return DIM // HEADS if family == "qwen2" else SIZE


def random_weights(family: str, vocabulary: int, *, tied: bool = True) -> Arrays:
    """Weights under the names of files, far enough apart to tell logits apart."""
    rng = np.random.default_rng(3)
    weights: Arrays = {}

    def draw(name: str, *sizes: int, mean: float = 0, deviation: float | None = None) -> None:
        deviation = sizes[-1] ** -0.5 if deviation is None else deviation
        weights[f"model.{name}"] = rng.normal(mean, deviation, sizes).astype(np.float32)

    size, centre = head_size(family), 0.0 if family == "gemma" else 1.0
    draw("embed_tokens.weight", vocabulary, DIM, deviation=1)
    for layer in (f"layers.{index}." for index in range(LAYERS)):
        for name in ("input_layernorm", "post_attention_layernorm"):
            draw(f"{layer}{name}.weight", DIM, mean=centre, deviation=0.2)
        for name, heads in (("q", HEADS), ("k", KEY_HEADS), ("v", KEY_HEADS)):
            draw(f"{layer}self_attn.{name}_proj.weight", heads * size, DIM)
            if family == "qwen2":
                draw(f"{layer}self_attn.{name}_proj.bias", heads * size, deviation=0.3)
        if family == "qwen3":
            for name in ("q_norm", "k_norm"):
                draw(f"{layer}self_attn.{name}.weight", size, mean=1, deviation=0.2)
        draw(f"{layer}self_attn.o_proj.weight", DIM, HEADS * size)
        draw(f"{layer}mlp.gate_proj.weight", WIDE, DIM)
        draw(f"{layer}mlp.up_proj.weight", WIDE, DIM)
        draw(f"{layer}mlp.down_proj.weight", DIM, WIDE)
    draw("norm.weight", DIM, mean=centre, deviation=0.2)
    if not tied:
        draw("lm_head.weight", vocabulary, DIM, deviation=1)
        weights["lm_head.weight"] = weights.pop("model.lm_head.weight")
    return weights


def byte_tokenizer() -> Tokenizer:
    """Byte pairs as Qwen's: no unknown token, spaces belong to the words after them."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = BpeTrainer(
        vocab_size=520,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXT, *WORDS * 50], trainer)
    tokenizer.add_tokens(THINK)
    return tokenizer
