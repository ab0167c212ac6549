"""A folder of sentence-transformers' modules is read as saved; what would change scores is refused.

The folders are a stored cross-encoder of modules, made by sentence-transformers, and tiny ones
written here. `test_fixtures` holds the stored one to its logits.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from convert.agreement import graph_logits
from convert.make_fixtures import FOLDER
from convert.plain_checkpoints import (
    edit_json,
    pairs,
    write_bi_encoder,
    write_checkpoint,
    write_json,
)
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.convert import convert_folder
from resift.convert.modules import is_bi_encoder
from resift.errors import ModelError
from resift.rerank.artifact import load_artifact

PAIRS = pairs(12)
SETTINGS = "config_sentence_transformers.json"
DENSE, NORM, LAST = (f"{name}/config.json" for name in ("2_Dense", "3_LayerNorm", "4_Dense"))

Logits = NDArray[np.float64]
Fault = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The stored cross-encoder of modules, to be changed."""
    return Path(shutil.copytree(FOLDER / "modernbert-modules", tmp_path / "checkpoint"))


def edit(file: str, **changes: Any) -> Fault:
    """Other values in a file; None takes an entry out."""
    return lambda folder: edit_json(folder / file, **changes)


def keep(*numbers: int) -> Fault:
    """Only some of the modules, in this order."""

    def fault(folder: Path) -> None:
        rows = json.loads((folder / "modules.json").read_text())
        write_json(folder / "modules.json", [rows[number] for number in numbers])

    return fault


def at(path: str) -> Fault:
    """The dense layer in another folder."""

    def fault(folder: Path) -> None:
        rows = json.loads((folder / "modules.json").read_text())
        rows[2]["path"] = path
        write_json(folder / "modules.json", rows)

    return fault


def narrow(file: str, name: str) -> Fault:
    """A weight with a column less."""

    def fault(folder: Path) -> None:
        weights = load_file(folder / file)
        save_file(weights | {name: np.ascontiguousarray(weights[name][..., :-1])}, folder / file)

    return fault


def weightless(folder: Path) -> None:
    save_file({"scale": np.ones(2, np.float32)}, folder / "4_Dense" / "model.safetensors")


RISING = ["torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid", "Tanh"]
PLACES: list[tuple[str, str]] = [
    (SETTINGS, "activation_fn"),
    ("config.json", "sbert_ce_default_activation_function"),
    ("config.json", "sentence_transformers"),
]


def activated(file: str, name: str, activation: str) -> Fault:
    """An activation of scores where this version or an older one saves it."""
    nested = name == "sentence_transformers"

    def change(folder: Path) -> None:
        edit_json(folder / SETTINGS, activation_fn=None)
        edit_json(folder / file, **{name: {"activation_fn": activation} if nested else activation})

    return change


@pytest.mark.parametrize("activation", RISING)
@pytest.mark.parametrize(("file", "name"), PLACES)
def test_an_activation_that_keeps_the_order_leaves_the_logits(
    file: str, name: str, activation: str, folder: Path, tmp_path: Path
) -> None:
    expected = graph_logits(folder, PAIRS, tmp_path)
    activated(file, name, activation)(folder)
    np.testing.assert_array_equal(graph_logits(folder, PAIRS, tmp_path), expected)


@pytest.mark.parametrize("activation", ["torch.nn.ReLU", "torch.nn.Softmax", "my.module.Scale"])
@pytest.mark.parametrize(("file", "name"), PLACES)
def test_an_activation_that_changes_the_order_is_refused(
    file: str, name: str, activation: str, folder: Path
) -> None:
    activated(file, name, activation)(folder)
    with pytest.raises(ModelError) as caught:
        read_cross_encoder(folder)
    short = activation.rpartition(".")[2].lower()
    assert str(caught.value) == (
        f"{folder}: its scores are activated by {short}, which does not keep the order of its 1 "
        "logits; expected one of identity, sigmoid, tanh, or softmax for two labels"
    )


@pytest.mark.parametrize(("labels", "label"), [(2, None), (3, 1)])
def test_softmax_keeps_the_order_of_two_labels_only(
    labels: int, label: int | None, tmp_path: Path
) -> None:
    softmax = "torch.nn.modules.activation.Softmax"
    checkpoint = write_checkpoint(
        tmp_path / "checkpoint", labels=labels, sbert_ce_default_activation_function=softmax
    )
    if labels == 2:
        assert len(read_cross_encoder(checkpoint, label).weights["head.projection.weight"]) == 1
        return
    with pytest.raises(ModelError, match=r"activated by softmax, .* the order of its 3 logits"):
        read_cross_encoder(checkpoint, label)


def test_a_dense_layer_without_an_activation_has_sentence_transformers_default(
    folder: Path, tmp_path: Path
) -> None:
    edit(DENSE, activation_function="torch.nn.modules.activation.Tanh")(folder)
    expected = graph_logits(folder, PAIRS, tmp_path)
    edit(DENSE, activation_function=None)(folder)
    np.testing.assert_array_equal(graph_logits(folder, PAIRS, tmp_path), expected)
    edit(DENSE, activation_function="torch.nn.modules.linear.Identity")(folder)
    assert np.abs(graph_logits(folder, PAIRS, tmp_path) - expected).max() > 0.1


def test_the_prompt_is_part_of_what_is_read(folder: Path, tmp_path: Path) -> None:
    assert read_cross_encoder(folder).query_prompt == "ba be "
    edit(SETTINGS, default_prompt_name=None)(folder)
    assert read_cross_encoder(folder).query_prompt == ""


def test_the_default_prompt_and_modules_are_in_the_artifact(folder: Path, tmp_path: Path) -> None:
    assert not is_bi_encoder(folder)
    convert_folder(folder, tmp_path / "out", name="owner/name", int8=False)
    manifest = load_artifact(tmp_path / "out").manifest
    assert (manifest.kind, manifest.base_model) == ("cross_encoder", "owner/name")
    assert (manifest.query_prompt, manifest.max_tokens) == ("ba be ", 64)


FAULTS: dict[str, tuple[Fault, str]] = {
    "none": (keep(), r"modules\.json: has no modules; expected a list of them with type and path"),
    "no transformer": (keep(1, 2, 3, 4), "0 modules of the kind Transformer; expected one"),
    "no pooling": (keep(0, 2, 3, 4), r"modules Dense, LayerNorm and Dense cannot be converted; ex"),
    "another order": (keep(0, 1, 3, 2, 4), "modules Pooling, LayerNorm, Dense and Dense cannot be"),
    "a file elsewhere": (
        at("../elsewhere"),
        r"a module is at \.\./elsewhere; expected a path insi",
    ),
    "no such folder": (at("5_Dense"), "not readable as JSON"),
    "pooling": (
        edit("1_Pooling/config.json", pooling_mode="max"),
        "pools by max; only mean or cls can be converted",
    ),
    "activation": (
        edit(DENSE, activation_function="torch.nn.modules.activation.Softplus"),
        r"2_Dense: activation softplus; expected identity or one of gelu",
    ),
    "last activation": (
        edit(LAST, activation_function="torch.nn.modules.activation.ReLU"),
        "4_Dense: its scores are activated by relu, which does not keep the order",
    ),
    "residual": (edit(DENSE, use_residual=True), "2_Dense: cannot be converted; expected a dense"),
    "input": (
        edit(DENSE, module_input_name="token_embeddings"),
        "2_Dense: cannot be converted; expected a dense layer that reads sentence_embedding",
    ),
    "no weights": (weightless, r"4_Dense: its weights have no linear\.weight; expected a dense"),
    "narrow dense": (
        narrow("2_Dense/model.safetensors", "linear.weight"),
        r"such as head\.dense\.weight of size \(16, 15\)",
    ),
    "narrow norm": (
        narrow("3_LayerNorm/model.safetensors", "norm.weight"),
        r"such as head\.norm\.weight of size \(15,\)",
    ),
    "narrow last": (
        narrow("4_Dense/model.safetensors", "linear.weight"),
        r"such as head\.projection\.weight of size \(1, 15\)",
    ),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS)
def test_modules_that_cannot_be_converted_are_refused(
    fault: Fault, message: str, folder: Path, tmp_path: Path
) -> None:
    fault(folder)
    with pytest.raises(ModelError, match=message) as caught:
        convert_folder(folder, tmp_path / "out", name=str(folder), int8=False)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_classifier_may_have_modules(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    expected = graph_logits(checkpoint, PAIRS, tmp_path)
    inner = checkpoint / "0_Transformer"
    inner.mkdir()
    for file in list(checkpoint.glob("*.*")):
        file.rename(inner / file.name)
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    row = {"idx": 0, "name": "0", "path": inner.name, "type": kind}
    write_json(checkpoint / "modules.json", [row])
    assert not is_bi_encoder(checkpoint)
    np.testing.assert_array_equal(graph_logits(checkpoint, PAIRS, tmp_path), expected)


def test_a_bi_encoder_is_no_reranker(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    assert is_bi_encoder(checkpoint)
    with pytest.raises(ModelError, match=r"bert \(BertModel\) is not a reranker; .*RESIFT_EMBEDD"):
        read_cross_encoder(checkpoint)
