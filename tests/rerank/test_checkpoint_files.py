"""Of a repository's files those are chosen that a conversion reads, and no pickle and no code."""

import pytest

from resift.errors import ModelError
from resift.rerank.checkpoint_files import check_files, needed_files

REPOSITORY = [
    ".gitattributes",
    "README.md",
    "config.json",
    "modeling.py",
    "model.safetensors",
    "onnx/config.json",
    "onnx/model.onnx",
    "openvino/openvino_model.bin",
    "pytorch_model.bin",
    "special_tokens_map.json",
    "tf_model.h5",
    "tokenizer.json",
    "tokenizer_config.json",
    "training_args.bin",
    "vocab.txt",
]
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"


def test_a_usual_repository() -> None:
    assert needed_files(REPOSITORY) == [
        "config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ]


def test_modules_of_sentence_transformers_come_along() -> None:
    modules = [
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "2_Dense/pytorch_model.bin",
        "3_LayerNorm/config.json",
        "3_LayerNorm/model.safetensors",
        "checkpoint-100/model.safetensors",
        "1_Pooling/deeper/config.json",
    ]
    needed = set(needed_files([*REPOSITORY, *modules])) - set(needed_files(REPOSITORY))
    assert needed == {
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_LayerNorm/config.json",
        "3_LayerNorm/model.safetensors",
    }


def test_weights_come_last_so_that_a_refusal_costs_no_download() -> None:
    needed = needed_files(["model.safetensors", "2_Dense/model.safetensors", "a", *REPOSITORY])
    assert [name.endswith(".safetensors") for name in needed] == [False] * 4 + [True] * 2


def test_shards_belong_to_their_index_and_yield_to_one_file() -> None:
    assert needed_files([*SHARDS, INDEX]) == [INDEX, *SHARDS]
    assert needed_files(SHARDS) == []
    assert needed_files([*SHARDS, INDEX, "model.safetensors"]) == ["model.safetensors"]
    assert needed_files(["model.fp16.safetensors", "consolidated.safetensors"]) == []


def test_a_vocabulary_replaces_a_missing_tokenizer_only() -> None:
    names = ["vocab.json", "merges.txt", "added_tokens.json"]
    assert needed_files(names) == sorted(names)
    assert needed_files([*names, "tokenizer.json"]) == ["tokenizer.json"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["README.md"], "has no config.json"),
        (["config.json", "tokenizer.json"], "has no model.safetensors; expected"),
        (
            ["config.json", "tokenizer.json", "pytorch_model.bin"],
            "its weights are only in pytorch_model.bin, a pickle",
        ),
        (
            ["config.json", "tokenizer.json", "pytorch_model-00001-of-00002.bin"],
            "its weights are only in pytorch_model-00001-of-00002.bin",
        ),
        (["config.json", "model.safetensors"], "has no tokenizer"),
        (["config.json", "model.safetensors", "spiece.model"], "has no tokenizer"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_a_remedy(names: list[str], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_files(names, "owner/name")
    assert str(caught.value).startswith(f"owner/name: {message}")
    assert "\n" not in str(caught.value)


def test_what_can_be_converted_passes() -> None:
    check_files(REPOSITORY, "owner/name")
    check_files(["config.json", "vocab.txt", *SHARDS, INDEX], "owner/name")
