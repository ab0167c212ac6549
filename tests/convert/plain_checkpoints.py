"""Tiny checkpoints with random weights on disk, written without torch: files as authors save them.

A family's weights are drawn under canonical names and saved under its own. These names are written
out here a second time, so that a wrong one in the library fails a test.
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

DIM, HEADS, LAYERS, WIDE, POSITIONS = 32, 4, 2, 48, 64
DENSE = 20
WORDS = [f"{first}{second}" for first in "bdfgklmnpr" for second in "aeiouyzw"]
VOCABULARY = len(WORDS) + 4
SPREAD, TRAINED = 0.5, 0.15
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
ROBERTAS = ("roberta", "xlm-roberta", "camembert")
FAMILIES = ("bert", "electra", "distilbert", *ROBERTAS)
PLAIN_FAMILIES = (*FAMILIES, "modernbert")
TYPES = "token_type_ids"
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
CLS = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
NO_PROMPTS: dict[str, Any] = {"__version__": {"sentence_transformers": "2.2.2"}}

Arrays = dict[str, NDArray[np.float32]]

_CLASSES = {
    "bert": "Bert",
    "electra": "Electra",
    "distilbert": "DistilBert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "modernbert": "ModernBert",
}
_PREFIXES = {"modernbert": "model.", **dict.fromkeys(ROBERTAS, "roberta.")}
_CLASSIFIER = {"head.dense.": "classifier.dense.", "head.projection.": "classifier.out_proj."}
_HEADS = {
    "bert": {"head.dense.": "bert.pooler.dense.", "head.projection.": "classifier."},
    "distilbert": {"head.dense.": "pre_classifier.", "head.projection.": "classifier."},
    "modernbert": {"head.projection.": "classifier."},
}
_NAMES = {
    "distilbert": (
        ("encoder.layer.", "transformer.layer."),
        ("attention.self.query", "attention.q_lin"),
        ("attention.self.key", "attention.k_lin"),
        ("attention.self.value", "attention.v_lin"),
        ("attention.output.dense", "attention.out_lin"),
        ("attention.output.LayerNorm", "sa_layer_norm"),
        ("intermediate.dense", "ffn.lin1"),
        ("output.dense", "ffn.lin2"),
        ("output.LayerNorm", "output_layer_norm"),
    ),
    "modernbert": (
        ("embeddings.word_embeddings", "embeddings.tok_embeddings"),
        ("embeddings.LayerNorm", "embeddings.norm"),
        ("encoder.LayerNorm", "final_norm"),
        ("attention.input.LayerNorm", "attn_norm"),
        ("attention.self", "attn.Wqkv"),
        ("attention.output.dense", "attn.Wo"),
        ("intermediate.LayerNorm", "mlp_norm"),
        ("intermediate.dense", "mlp.Wi"),
        ("output.dense", "mlp.Wo"),
        ("encoder.layer.", "layers."),
    ),
}


def write_checkpoint(
    folder: Path, family: str = "bert", labels: int = 1, *, spread: float = SPREAD, **changes: Any
) -> Path:
    """Write a sequence classifier: config, safetensors, tokenizer and its settings.

    `spread` is the deviation of its weights: with `TRAINED`, int8 is as close as for trained ones.
    `changes` are those of ``config.json``; None takes an entry out.
    """
    names = {str(number): f"LABEL_{number}" for number in range(labels)}
    config = plain_config(family) | {"id2label": names} | changes
    config = {key: value for key, value in config.items() if value is not None}
    weights = random_weights(config, labels, spread)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    named = {real_name(family, name): value for name, value in weights.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(folder, family)
    return folder


def write_bi_encoder(
    folder: Path,
    family: str = "bert",
    *,
    pooling: Mapping[str, Any] = MEAN,
    prompts: Mapping[str, Any] = NO_PROMPTS,
    modules: Sequence[str] = ("Transformer", "Pooling", "Normalize"),
    max_seq_length: int = 48,
    spread: float = SPREAD,
) -> Path:
    """Write a sentence-transformers folder, as its versions before 5 do.

    Of dense layers, the first makes vectors of `DENSE` numbers, by its default activation.
    """
    config = plain_config(family) | {"architectures": [f"{_CLASSES[family]}Model"]}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    named = {
        real_name(family, name).removeprefix(_PREFIXES.get(family, f"{family}.")): value
        for name, value in random_weights(config, 1, spread).items()
        if not name.startswith("head.") or (family == "bert" and name.startswith("head.dense"))
    }
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(folder, family)
    rows = []
    for index, name in enumerate(modules):
        path = f"{index}_{name}" if index else ""
        (folder / path).mkdir(exist_ok=True)
        kind = f"sentence_transformers.models.{name}"
        rows.append({"idx": index, "name": str(index), "path": path, "type": kind})
        if name == "Dense":
            write_dense(folder / path, DIM if "Dense" not in modules[:index] else DENSE)
        if name == "Pooling":
            write_json(folder / path / "config.json", {"word_embedding_dimension": DIM, **pooling})
    write_json(folder / "modules.json", rows)
    write_json(folder / "config_sentence_transformers.json", prompts)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length})
    return folder


def write_dense(folder: Path, width: int, **changes: Any) -> None:
    """Write a dense layer of a sentence-transformers folder: `width` to `DENSE` numbers."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(width)
    weights = {
        "linear.weight": rng.normal(0, width**-0.5, (DENSE, width)).astype(np.float32),
        "linear.bias": rng.normal(0, 0.2, DENSE).astype(np.float32),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "in_features": width,
        "out_features": DENSE,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    write_json(folder / "config.json", config | changes)


def plain_config(family: str) -> dict[str, Any]:
    """The entries of ``config.json`` that say what a classifier of this size is."""
    roberta = family in ROBERTAS
    config: dict[str, Any] = {
        "model_type": family,
        "architectures": [f"{_CLASSES[family]}ForSequenceClassification"],
        "vocab_size": VOCABULARY,
        "pad_token_id": 1 if roberta else 0,
        "max_position_embeddings": POSITIONS + 2 if roberta else POSITIONS,
    }
    if family == "distilbert":
        sizes = {"dim": DIM, "hidden_dim": WIDE, "n_layers": LAYERS, "n_heads": HEADS}
        return config | sizes | {"activation": "gelu"}
    config |= {
        "hidden_size": DIM,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }
    if family == "modernbert":
        names = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
        return config | names | {"local_attention": 16, "global_attn_every_n_layers": 2}
    types = 1 if roberta else 2
    config |= {"type_vocab_size": types, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    return config | ({"embedding_size": DIM // 2} if family == "electra" else {})


class _Drawn:
    """Random weights by canonical name."""

    def __init__(self, *, biases: bool, spread: float) -> None:
        self.weights: Arrays = {}
        self._spread = spread
        self._biases = biases
        self._rng = np.random.default_rng(11)

    def dense(self, name: str, out: int, into: int, bias: bool | None = None) -> None:
        self.table(name, out, into)
        if self._biases if bias is None else bias:
            self.weights[f"{name}.bias"] = self._normal(0, self._spread, out)

    def table(self, name: str, rows: int, columns: int) -> None:
        self.weights[f"{name}.weight"] = self._normal(0, self._spread, rows, columns)

    def norm(self, name: str, size: int = DIM) -> None:
        self.weights[f"{name}.weight"] = self._normal(1, 0.2, size)
        if self._biases:
            self.weights[f"{name}.bias"] = self._normal(0, self._spread, size)

    def _normal(self, mean: float, spread: float, *sizes: int) -> NDArray[np.float32]:
        return self._rng.normal(mean, spread, sizes).astype(np.float32)


def random_weights(config: Mapping[str, Any], labels: int, spread: float = SPREAD) -> Arrays:
    """Weights under canonical names, far enough apart to tell logits apart.

    ModernBERT's queries, keys and values are one array, ``encoder.layer.N.attention.self``.
    """
    modern = config["model_type"] == "modernbert"
    drawn = _Drawn(biases=not modern, spread=spread)
    narrow = config.get("embedding_size", DIM)
    drawn.table("embeddings.word_embeddings", VOCABULARY, narrow)
    if not modern:
        positions = config["max_position_embeddings"]
        drawn.table("embeddings.position_embeddings", positions, narrow)
    if "type_vocab_size" in config:
        drawn.table("embeddings.token_type_embeddings", config["type_vocab_size"], narrow)
    drawn.norm("embeddings.LayerNorm", narrow)
    if narrow != DIM:
        drawn.dense("embeddings_project", DIM, narrow)
    layer = _modern_layer if modern else _bert_layer
    for index in range(config.get("num_hidden_layers") or config["n_layers"]):
        layer(drawn, index)
    if modern:
        drawn.norm("encoder.LayerNorm")
        drawn.norm("head.norm")
    drawn.dense("head.dense", DIM, DIM)
    drawn.dense("head.projection", labels, DIM, bias=True)
    return drawn.weights


def _bert_layer(drawn: _Drawn, index: int) -> None:
    name = f"encoder.layer.{index}"
    for part in ("query", "key", "value"):
        drawn.dense(f"{name}.attention.self.{part}", DIM, DIM)
    drawn.dense(f"{name}.attention.output.dense", DIM, DIM)
    drawn.norm(f"{name}.attention.output.LayerNorm")
    drawn.dense(f"{name}.intermediate.dense", WIDE, DIM)
    drawn.dense(f"{name}.output.dense", DIM, WIDE)
    drawn.norm(f"{name}.output.LayerNorm")


def _modern_layer(drawn: _Drawn, index: int) -> None:
    name = f"encoder.layer.{index}"
    if index:
        drawn.norm(f"{name}.attention.input.LayerNorm")
    drawn.dense(f"{name}.attention.self", 3 * DIM, DIM)
    drawn.dense(f"{name}.attention.output.dense", DIM, DIM)
    drawn.norm(f"{name}.intermediate.LayerNorm")
    drawn.dense(f"{name}.intermediate.dense", 2 * WIDE, DIM)
    drawn.dense(f"{name}.output.dense", DIM, WIDE)


def real_name(family: str, name: str) -> str:
    """A weight's name in the files of a family."""
    if name.startswith("head."):
        for ours, theirs in _HEADS.get(family, _CLASSIFIER).items():
            name = name.replace(ours, theirs)
        return name
    for ours, theirs in _NAMES.get(family, ()):
        name = name.replace(ours, theirs)
    return _PREFIXES.get(family, f"{family}.") + name


def write_tokenizer(folder: Path, family: str) -> None:
    """Write ``tokenizer.json`` and its settings."""
    word_tokenizer(family).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_settings(family))


def word_tokenizer(family: str) -> Tokenizer:
    """Whole words and the family's own special tokens."""
    roberta = family in ROBERTAS
    specials = ROBERTA_SPECIALS if roberta else BERT_SPECIALS
    vocabulary = {word: index for index, word in enumerate(specials + WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>" if roberta else "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if roberta:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def tokenizer_settings(family: str) -> dict[str, Any]:
    """The entries of ``tokenizer_config.json``."""
    if family in ROBERTAS:
        names = {"unk": "<unk>", "cls": "<s>", "sep": "</s>", "pad": "<pad>"}
    else:
        names = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]"}
    inputs = ["input_ids", "attention_mask"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": [*inputs, TYPES] if family in ("bert", "electra") else inputs,
        "model_max_length": POSITIONS,
    } | {f"{name}_token": token for name, token in names.items()}


def write_json(file: Path, value: Any) -> None:
    """As it is."""
    file.write_text(json.dumps(value))


def edit_json(file: Path, **changes: Any) -> None:
    """Overwrite some of a JSON object; None takes an entry out."""
    values = json.loads(file.read_text()) | changes
    write_json(file, {key: value for key, value in values.items() if value is not None})


def pairs(
    count: int, seed: int = 5, lengths: Sequence[int] = (1, 5, 12, 30, 48, 90)
) -> list[tuple[str, str]]:
    """Queries of 1 to 6 words with texts of these lengths; some do not fit whole in 64 tokens."""
    rng = random.Random(seed)
    return [
        (" ".join(rng.choices(WORDS, k=rng.randint(1, 6))), " ".join(rng.choices(WORDS, k=length)))
        for length in (rng.choice(lengths) for _ in range(count))
    ]
