"""What cannot be converted is refused in one line that names it, and nothing is left behind.

Each fault is made in a tiny checkpoint that is whole otherwise.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from convert.plain_checkpoints import DIM, ROBERTAS, edit_json, write_checkpoint, write_json
from resift.convert.convert import convert_folder
from resift.errors import InputError, ModelError, ModelNotFound, ResiftError

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
LAYER = "bert.encoder.layer.1"

Fault = Callable[[Path], object]


def config(**changes: Any) -> Fault:
    """A fault of ``config.json``."""
    return lambda folder: edit_json(folder / "config.json", **changes)


def settings(file: str, **values: Any) -> Fault:
    """A fault of a file of settings that is not there otherwise."""
    return lambda folder: write_json(folder / file, values)


def text(file: str, content: str) -> Fault:
    """A file of other content."""
    return lambda folder: (folder / file).write_text(content)


def without(*files: str) -> Fault:
    """A lost file."""

    def fault(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return fault


def lost(*parts: str) -> Fault:
    """Weights that are not there; `parts` are of their names."""

    def fault(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        rest = {name: weights[name] for name in weights if not any(part in name for part in parts)}
        assert len(rest) < len(weights)
        save_file(rest, folder / WEIGHTS)

    return fault


def changed(name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Fault:
    """A weight of other values or another size."""

    def fault(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        save_file(weights | {name: np.ascontiguousarray(change(weights[name]))}, folder / WEIGHTS)

    return fault


def with_nan(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    weight = weight.copy()
    weight.flat[3] = np.nan
    return weight


def pickle_only(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(load_file(folder / WEIGHTS)))
    (folder / WEIGHTS).unlink()


def cut_short(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def index(weight_map: Any) -> Fault:
    """Shards by an index instead of one file."""

    def fault(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder.with_name("elsewhere.safetensors"))
        write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": weight_map})

    return fault


def words(**changes: int) -> Fault:
    """A tokenizer with other words."""

    def fault(folder: Path) -> None:
        values = json.loads((folder / TOKENIZER).read_text())
        values["model"]["vocab"] |= changes
        write_json(folder / TOKENIZER, values)

    return fault


def few_words(folder: Path) -> None:
    """The tokenizer of a smaller model."""
    values = json.loads((folder / TOKENIZER).read_text())
    vocabulary = values["model"]["vocab"]
    values["model"]["vocab"] = {word: vocabulary[word] for word in list(vocabulary)[:40]}
    write_json(folder / TOKENIZER, values)


def mixed_types(folder: Path) -> None:
    """A tokenizer whose second text has a type that no model knows."""
    values = json.loads((folder / TOKENIZER).read_text())
    pair = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 1}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ]
    specials = {
        name: {"id": name, "ids": [number], "tokens": [name]}
        for number, name in ((2, "[CLS]"), (3, "[SEP]"))
    }
    values["post_processor"] = {
        "type": "TemplateProcessing", "single": pair[:3], "pair": pair, "special_tokens": specials,
    }  # fmt: skip
    write_json(folder / TOKENIZER, values)


def no_unknown_token(folder: Path) -> None:
    values = json.loads((folder / TOKENIZER).read_text())
    del values["model"]["vocab"]["[UNK]"]
    values["added_tokens"] = [row for row in values["added_tokens"] if row["content"] != "[UNK]"]
    write_json(folder / TOKENIZER, values)


def only_a_sentencepiece_model(folder: Path) -> None:
    (folder / TOKENIZER).unlink()
    (folder / "spiece.model").write_bytes(b"no protobuf")


FAULTS: dict[str, tuple[Fault, str]] = {
    "unknown type": (
        config(model_type="nosuch"),
        r"nosuch \(BertFor.*\) is not a model that resift can convert; expected one of albert, ",
    ),
    "decoder": (
        config(model_type="gpt2", architectures=["GPT2ForSequenceClassification"]),
        r"gpt2 \(GPT2For.*\) is not a model that resift can convert",
    ),
    "no type": (config(model_type=None), "None .* is not a model that resift can convert"),
    "masked language model": (
        config(architectures=["BertForMaskedLM"]),
        r"bert \(BertForMaskedLM\) is not a reranker; expected a sequence classification model",
    ),
    "no architecture": (
        config(architectures=None),
        r"bert \(no architecture\) is not a reranker.*name it as RESIFT_EMBEDDER",
    ),
    "unknown activation": (
        config(hidden_act="mish"),
        "activation mish; expected one of gelu, gelu_new",
    ),
    "activation is a list": (config(hidden_act=["gelu"]), r"activation \['gelu'\]; expected one"),
    "relative positions": (
        config(position_embedding_type="relative_key"),
        "position_embedding_type is 'relative_key'; only absolute positions can be converted",
    ),
    "broken config": (text("config.json", "{"), r"config\.json: not readable as JSON"),
    "config is a list": (text("config.json", "[]"), r"config\.json: expected a JSON object"),
    "no size": (
        config(num_hidden_layers=None),
        r"config\.json: num_hidden_layers is missing; expected the model's own config",
    ),
    "odd size": (
        config(num_attention_heads="four"),
        r"config\.json: num_attention_heads 'four'; expected a whole number from 0",
    ),
    "odd epsilon": (
        config(layer_norm_eps="small"),
        r"config\.json: layer_norm_eps 'small'; expected a number",
    ),
    "pickle only": (
        pickle_only,
        "no safetensors weights, only pytorch_model.bin, which can run code when it is read; use",
    ),
    "no weights": (without(WEIGHTS), "no safetensors weights; use a revision that has model.safe"),
    "cut short": (cut_short, r"model\.safetensors: not a readable safetensors file .*fetch it ag"),
    "a pointer": (text(WEIGHTS, "version https://git-lfs"), "not a readable safetensors file"),
    "lost shard": (
        index({"a": "model-1.safetensors"}),
        r"model-1\.safetensors': missing in .*, though model\.safetensors\.index\.json names it",
    ),
    "shard elsewhere": (
        index({"a": "../elsewhere.safetensors"}),
        r"elsewhere\.safetensors': missing in .*, though",
    ),
    "shards are no texts": (index({"a": ["x"]}), "expected a weight_map with the file of each"),
    "name of a shard is too long": (index({"a": "a" * 5_000}), "missing in .*, though model.safe"),
    "no token of unknown words": (
        no_unknown_token,
        r"tokenizer\.json: not a readable tokenizer \(.*UNK",
    ),
    "fewer layers than weights": (
        config(num_hidden_layers=1),
        "config.json names 1 layers, and its weights have more, such as encoder.layer.1",
    ),
    "reads one way": (config(is_decoder=True), "is_decoder is True; only encoders"),
    "prompt longer than half a row": (
        settings(
            "config_sentence_transformers.json",
            prompts={"query": "ba be bi bo " * 20},
            default_prompt_name="query",
        ),
        "its default prompt has over 32 tokens, half of what the model reads",
    ),
    "empty index": (index({}), "expected a weight_map with the file of each weight"),
    "odd index": (index(["a"]), "expected a weight_map with the file of each weight"),
    "not a number": (
        changed("classifier.weight", with_nan),
        r"1 weights contain NaN or infinity, such as head\.projection\.weight; expected finite",
    ),
    "infinity": (
        changed(f"{LAYER}.output.dense.bias", lambda weight: weight * np.float32(np.inf)),
        r"1 weights contain NaN or infinity, such as encoder\.layer\.1\.output\.dense\.bias",
    ),
    "no head": (
        lost("classifier"),
        "has no head that scores a pair; expected a reranker. To search by vectors, name an",
    ),
    "half a head": (
        lost("pooler"),
        r"head\.dense\.weight is missing in its head; expected a trained model with a whole head",
    ),
    "no embeddings": (
        lost("word_embeddings"),
        "its weights have no word embeddings under the names of bert; expected a trained model",
    ),
    "no positions": (
        lost("position_embeddings"),
        r"1 weights are missing, such as embeddings\.position_embeddings\.weight; expected a tr",
    ),
    "too few layers": (
        config(num_hidden_layers=3),
        r"\d+ weights are missing, such as encoder\.layer\.2\.",
    ),
    "no layers": (config(num_hidden_layers=0), "0 columns of attention in 0 layers do not make 4"),
    "no heads": (config(num_attention_heads=0), "32 columns of attention in 2 layers do not mak"),
    "odd heads": (config(num_attention_heads=5), "do not make 5 heads of equal size; expected th"),
    "lost norm": (
        lost(f"{LAYER}.output.LayerNorm"),
        r"2 weights are missing, such as encoder\.layer\.1\.output\.LayerNorm\.bias",
    ),
    "lost norms": (
        lost("output.LayerNorm"),
        r"4 weights are missing, such as encoder\.layer\.0\.attention\.output\.LayerNorm\.weight",
    ),
    "lost bias": (
        lost(f"{LAYER}.intermediate.dense.bias"),
        r"1 weights are missing, such as encoder\.layer\.1\.intermediate\.dense\.bias",
    ),
    "narrow layer": (
        changed(f"{LAYER}.intermediate.dense.weight", lambda weight: weight[:, :-1]),
        r"1 weights do not fit the others, such as encoder\.layer\.1\.intermediate\.dense\.weight "
        r"of size \(48, 31\); expected a model whose config describes its weights",
    ),
    "flat layer": (
        changed(f"{LAYER}.attention.self.key.weight", lambda weight: weight.reshape(-1)),
        r"such as encoder\.layer\.1\.attention\.self\.key\.weight of size \(1024,\)",
    ),
    "narrow table": (
        changed("bert.embeddings.word_embeddings.weight", lambda weight: weight[:, :-1]),
        r"such as embeddings\.word_embeddings\.weight of size \(84, 31\)",
    ),
    "short bias": (
        changed(f"{LAYER}.output.dense.bias", lambda weight: weight[:-1]),
        r"such as encoder\.layer\.1\.output\.dense\.bias of size \(31,\)",
    ),
    "narrow norm": (
        changed("bert.embeddings.LayerNorm.weight", lambda weight: weight[:-1]),
        r"2 weights do not fit the others, such as embeddings\.LayerNorm\.weight of size \(31,\)",
    ),
    "wide head": (
        changed("classifier.weight", lambda weight: np.repeat(weight, 2, axis=1)),
        rf"such as head\.projection\.weight of size \(1, {2 * DIM}\)",
    ),
    "few positions": (
        config(max_position_embeddings=128),
        "its table of positions has 64 rows; expected 128, as its config says",
    ),
    "no tokenizer": (
        without(TOKENIZER),
        r"contains no tokenizer\.json; use a revision that has one, or save its tokenizer again",
    ),
    "only a sentencepiece model": (
        only_a_sentencepiece_model,
        r"contains no tokenizer\.json, only the SentencePiece model spiece\.model; use",
    ),
    "broken tokenizer": (
        text(TOKENIZER, "{}"),
        r"tokenizer\.json: not a readable tokenizer .*; expected the tokenizer that the model was",
    ),
    "tokenizer larger than the table": (
        words(unheard=84),
        "gives ids up to 84, its embedding table has 84 rows; use the tokenizer that the model",
    ),
    "tokenizer of a smaller model": (few_words, "knows 40 tokens, its embedding table 84; expec"),
    "mixed types": (
        mixed_types,
        r"gives a pair the types \[0, 1, 0, 1\]; expected 0 for the first",
    ),
    "broken tokenizer settings": (text("tokenizer_config.json", "["), "not readable as JSON"),
    "unknown default prompt": (
        settings("config_sentence_transformers.json", prompts={"a": "b"}, default_prompt_name="c"),
        "default_prompt_name 'c' is none of its prompts; expected one of a",
    ),
    "prompts are a list": (
        settings("config_sentence_transformers.json", prompts=["b"]),
        r"prompts \['b'\]; expected texts by name",
    ),
    "odd limit": (
        settings("sentence_bert_config.json", max_seq_length="many"),
        "max_seq_length 'many'; expected a whole number from 1",
    ),
    "low limit": (
        settings("sentence_bert_config.json", max_seq_length=63),
        "reads 63 tokens; a pair needs at least 64",
    ),
}


def refusal(checkpoint: Path, **options: Any) -> ResiftError:
    """The error of a conversion: it is one line that names the folder, and left nothing behind."""
    out = checkpoint.with_name("out")
    with pytest.raises(ResiftError) as caught:
        convert_folder(checkpoint, out, name=str(checkpoint), **{"int8": False, **options})
    assert "\n" not in str(caught.value) and str(checkpoint) in str(caught.value)
    assert not out.exists()
    return caught.value


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_converted_is_refused_in_one_line(
    fault: Fault, message: str, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    fault(checkpoint)
    error = refusal(checkpoint)
    assert type(error) is ModelError
    with pytest.raises(ModelError, match=message):
        raise error


MODERN: dict[str, tuple[Fault, str]] = {
    "pooling": (config(classifier_pooling="max"), "classifier_pooling 'max'; expected cls or mean"),
    "kinds": (
        config(layer_types=["full_attention", "chunked_attention"]),
        "expected full_attention or sliding_attention for each layer",
    ),
    "too few kinds": (config(layer_types=["full_attention"]), "expected full_attention or slid"),
    "kinds are a number": (config(layer_types=2), "layer_types 2; expected full_attention or sli"),
    "rotation": (
        config(rope_parameters={"full_attention": {"rope_type": "yarn", "rope_theta": 1e4}}),
        "rope_type is 'yarn'; only plain rotary positions can be converted",
    ),
    "rotation is a text": (config(rope_parameters="yarn"), "rope_type is 'yarn'; only plain"),
    "another width": (config(hidden_size=64), r"config\.json: hidden_size 64; expected 32, as its"),
    "another window": (config(local_attention=1), "local_attention 1; expected a whole number fr"),
    "no heads": (config(num_attention_heads=0), "num_attention_heads 0; expected a whole number f"),
    "no step": (config(global_attn_every_n_layers=0), "global_attn_every_n_layers 0; expected a"),
    "no final norm": (lost("final_norm"), r"missing, such as encoder\.LayerNorm\.weight"),
    "no head norm": (lost("head.norm"), r"head\.norm\.weight is missing in its head"),
    "queries alone": (
        changed("model.layers.1.attn.Wqkv.weight", lambda weight: weight[:32]),
        r"3 weights are missing, such as encoder\.layer\.1\.attention\.self\.key\.weight",
    ),
}


@pytest.mark.parametrize(("fault", "message"), MODERN.values(), ids=MODERN)
def test_what_a_modernbert_cannot_be_is_refused(fault: Fault, message: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "modernbert")
    fault(checkpoint)
    error = refusal(checkpoint)
    assert type(error) is ModelError
    with pytest.raises(ModelError, match=message):
        raise error


@pytest.mark.parametrize("family", ["bert", *ROBERTAS])
def test_too_few_positions_for_a_pair_are_refused(family: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", family, max_position_embeddings=50)
    limit = 48 if family in ROBERTAS else 50
    error = refusal(checkpoint)
    assert isinstance(error, ModelError)
    assert str(error) == f"{checkpoint}: reads {limit} tokens; a pair needs at least 64"


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    changed("classifier.weight", lambda weight: weight * np.float32(3e38))(checkpoint)
    assert "its logits are not finite in float32" in str(refusal(checkpoint))


def test_a_folder_that_holds_something_is_not_written_into(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already; name a new folder"):
        convert_folder(tmp_path / "none", out, name="none")
    assert [file.name for file in out.iterdir()] == ["mine.txt"]


def test_a_folder_without_a_checkpoint_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    error = refusal(tmp_path / "empty")
    assert isinstance(error, ModelNotFound)
    assert "no config.json there" in str(error)
