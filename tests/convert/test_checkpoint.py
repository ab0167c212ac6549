"""What a checkpoint's files mean is what its logits show; the reference is BERT in plain numpy.

Checkpoints are tiny and written here, without torch. `test_fixtures` and `test_agreement` hold
every architecture to transformers, `test_refusals` has what cannot be converted.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from convert.agreement import graph_logits
from convert.plain_checkpoints import (
    HEADS,
    PLAIN_FAMILIES,
    POSITIONS,
    edit_json,
    pairs,
    write_checkpoint,
    write_json,
)
from convert.reference import Bert
from resift import Reranker
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.convert import convert_folder
from resift.errors import InputError, ModelError
from resift.rerank.artifact import load_artifact

TOLERANCE = 1e-4
PAIRS = pairs(24)
WEIGHTS, TOKENIZER, SETTINGS = "model.safetensors", "tokenizer.json", "tokenizer_config.json"
PROMPTS = "config_sentence_transformers.json"

Floats = NDArray[np.float64]


def reference_labels(
    folder: Path, prompt: str = "", typed: bool = True, activation: str = "gelu"
) -> Floats:
    """The labels' logits of a BERT checkpoint for `PAIRS`, ``(n, labels)``."""
    head = {"pooler.dense": "head.dense", "classifier": "head.projection"}
    weights = {}
    for name, value in load_file(folder / WEIGHTS).items():
        part, _, kind = name.removeprefix("bert.").rpartition(".")
        weights[f"{head.get(part, part)}.{kind}"] = value
    model = Bert(weights, HEADS, activation, "tanh")
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.enable_truncation(POSITIONS, strategy="only_second")
    rows = [tokenizer.encode(prompt + query, text) for query, text in PAIRS]
    return np.stack(
        [model.labels(np.array(row.ids), np.array(row.type_ids) * int(typed)) for row in rows]
    )


def reference(folder: Path, **options: Any) -> Floats:
    """The only label's logits, ``(n,)``."""
    return reference_labels(folder, **options)[:, 0]


def assert_logits(folder: Path, expected: Floats, tmp_path: Path, **options: Any) -> None:
    """The float32 graph gives `expected`, which tells pairs apart."""
    logits = graph_logits(folder, PAIRS, tmp_path, **options)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 1000 * TOLERANCE


def converted(checkpoint: Path) -> Path:
    """The float32 artifact beside it."""
    out = checkpoint.with_name("out")
    convert_folder(checkpoint, out, name=str(checkpoint), int8=False)
    return out


@pytest.mark.parametrize("family", PLAIN_FAMILIES)
def test_an_artifact_gives_the_graphs_logits(family: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", family)
    expected = graph_logits(checkpoint, PAIRS, tmp_path)
    reranker = Reranker(converted(checkpoint))
    logits = [reranker.score(query, [text])[0] for query, text in PAIRS]
    np.testing.assert_allclose(logits, expected, atol=1e-3, rtol=0)
    assert reranker.verify().pairs == 8


def test_a_checkpoint_gives_the_logits_of_its_definition(runtime: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    assert_logits(checkpoint, reference(checkpoint), tmp_path, runtime=runtime, batch=4)


NAMED = [
    (("LABEL_0", "LABEL_1"), 1),
    (("irrelevant", "relevant"), 1),
    (("relevant", "irrelevant"), 0),
    (("Relevant", "Not relevant"), 0),
    (("yes", "no"), 0),
    (("False", "True"), 1),
    (("LABEL_1", "LABEL_0"), 0),
    (("1", "0"), 0),
    (("something", "relevant"), 1),
    (("non-relevant", "something"), 1),
]


@pytest.mark.parametrize(("names", "relevant"), NAMED, ids=["-".join(names) for names, _ in NAMED])
def test_names_of_two_labels_decide_which_one_means_relevance(
    names: tuple[str, str], relevant: int, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=2, id2label=numbered(names))
    labels = reference_labels(checkpoint)
    assert_logits(checkpoint, labels[:, relevant] - labels[:, 1 - relevant], tmp_path)


SEVERAL: list[tuple[tuple[str, ...], str | int | None, int]] = [
    (("contradiction", "entailment", "neutral"), None, 1),
    (("bad", "good", "relevant", "best"), None, 2),
    (("contradiction", "entailment", "neutral"), "neutral", 2),
    (("contradiction", "entailment", "neutral"), 0, 0),
    (("contradiction", "entailment", "neutral"), "2", 2),
    (("2", "1", "0"), "2", 0),
    (("LABEL_0", "LABEL_1", "LABEL_2"), 1, 1),
]


@pytest.mark.parametrize(("names", "label", "relevant"), SEVERAL)
def test_of_several_labels_the_relevant_ones_logit_is_read(
    names: tuple[str, ...], label: str | int | None, relevant: int, tmp_path: Path
) -> None:
    count = len(names)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=count, id2label=numbered(names))
    expected = reference_labels(checkpoint)[:, relevant]
    assert_logits(checkpoint, expected, tmp_path, label=label)


def test_the_callers_label_goes_before_names(tmp_path: Path) -> None:
    names = numbered(("relevant", "irrelevant"))
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=2, id2label=names)
    labels = reference_labels(checkpoint)
    assert_logits(checkpoint, labels[:, 1] - labels[:, 0], tmp_path, label="irrelevant")


AMBIGUOUS = [
    ("contradiction", "neutral"),
    ("yes", "relevant"),
    ("a", "b"),
    ("LABEL_0", "b"),
    ("LABEL_0", "LABEL_1", "LABEL_2"),
    ("yes", "relevant", "no"),
    ("no", "other", "another"),
]


@pytest.mark.parametrize("names", AMBIGUOUS)
def test_ambiguous_names_of_labels_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    count = len(names)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=count, id2label=numbered(names))
    with pytest.raises(ModelError) as caught:
        read_cross_encoder(checkpoint)
    listed = ", ".join(map(repr, names))
    assert str(caught.value) == (
        f"{checkpoint}: labels {listed} do not decide which one means relevance; name it: label=… "
        "in Python, --label … on the command line"
    )


@pytest.mark.parametrize("label", ["maybe", 2, -1, "2", True])
def test_a_label_that_the_model_does_not_have_is_refused(label: str | int, tmp_path: Path) -> None:
    names = numbered(("good", "bad"))
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=2, id2label=names)
    with pytest.raises(InputError) as caught:
        read_cross_encoder(checkpoint, label)
    assert str(caught.value) == (
        f"label={label!r}: {checkpoint} has the labels good, bad; name one of them, or its number "
        "from 0 to 1"
    )


def test_messages_have_the_name_that_the_user_gave(tmp_path: Path) -> None:
    snapshot = write_checkpoint(tmp_path / "snapshots" / ("a" * 40), labels=3)
    for label, kind in ((None, ModelError), ("foo", InputError)):
        with pytest.raises(kind, match="owner/name") as caught:
            convert_folder(snapshot, tmp_path / "out", name="owner/name", label=label)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ModelError, match=re.escape(f"{snapshot}: labels")):
        converted(snapshot)


@pytest.mark.parametrize("is_stored", [False, True])
def test_temporary_files_are_where_the_system_has_them_or_the_store(
    is_stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    system, part, folders = tmp_path / "system", tmp_path / "part", list[Path]()
    system.mkdir()
    part.mkdir()

    def killed(*arguments: Any) -> None:
        folders.append(arguments[-1].parent)
        raise KeyboardInterrupt

    monkeypatch.setattr(tempfile, "tempdir", str(system))
    monkeypatch.setattr("resift.convert.convert.open_export", killed)
    with pytest.raises(KeyboardInterrupt):
        convert_folder(checkpoint, tmp_path / "out", name="name", work=part if is_stored else None)
    assert folders == [part if is_stored else system]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "system", "part"}


def test_one_label_may_be_called_anything(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", id2label={"0": "irrelevant"})
    assert_logits(checkpoint, reference(checkpoint), tmp_path)


@pytest.mark.parametrize("id2label", [["a", "b"], {"first": "a"}, "a"])
def test_labels_without_numbers_are_refused(id2label: Any, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", labels=2, id2label=id2label)
    with pytest.raises(ModelError, match=r"id2label .* expected names of labels by number"):
        read_cross_encoder(checkpoint)


def test_types_are_those_that_the_checkpoints_tokenizer_gives(runtime: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    edit_json(checkpoint / SETTINGS, model_input_names=["input_ids", "attention_mask"])
    untyped = reference(checkpoint, typed=False)
    assert_logits(checkpoint, untyped, tmp_path, runtime=runtime)
    assert np.abs(untyped - reference(checkpoint)).max() > 1000 * TOLERANCE


def test_the_default_prompt_stands_before_the_query(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    plain = reference(checkpoint)
    prompts = {"ask": "ba be ", "other": "bo "}
    write_json(checkpoint / PROMPTS, {"prompts": prompts, "default_prompt_name": "ask"})
    expected = reference(checkpoint, prompt="ba be ")
    assert_logits(checkpoint, expected, tmp_path)
    assert np.abs(expected - plain).max() > 1000 * TOLERANCE
    reranker = Reranker(converted(checkpoint))
    logits = [reranker.score(query, [text])[0] for query, text in PAIRS]
    np.testing.assert_allclose(logits, expected, atol=1e-3, rtol=0)
    assert reranker.verify().pairs


def test_prompts_without_a_default_are_not_read(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    write_json(checkpoint / PROMPTS, {"prompts": {"query": "ba "}, "default_prompt_name": None})
    assert_logits(checkpoint, reference(checkpoint), tmp_path)


def test_a_prompt_changes_the_fingerprint(tmp_path: Path) -> None:
    fingerprints = set()
    for name in ("", "ask"):
        checkpoint = write_checkpoint(tmp_path / f"with{name}" / "checkpoint")
        if name:
            settings = {"prompts": {name: "ba "}, "default_prompt_name": name}
            write_json(checkpoint / PROMPTS, settings)
        fingerprints.add(load_artifact(converted(checkpoint)).manifest.fingerprint)
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("gelu", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("relu", "relu"),
        ("silu", "silu"),
        ("swish", "silu"),
        ("tanh", "tanh"),
    ],
)
def test_each_known_activation_is_the_one_that_runs(
    name: str, activation: str, runtime: str, tmp_path: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", hidden_act=name)
    expected = reference(checkpoint, activation=activation)
    assert_logits(checkpoint, expected, tmp_path, runtime=runtime)


@pytest.mark.parametrize(
    ("family", "positions", "tokenizer", "module", "limit"),
    [
        ("bert", 80, 64, None, 64),
        ("bert", 64, 64, None, 64),
        ("bert", 95, 10**30, None, 80),
        ("bert", 95, None, None, 80),
        ("bert", 128, 10**30, 80, 80),
        ("bert", 128, 100, 500, 96),
        ("roberta", 66, 512, None, 64),
        ("roberta", 81, 512, None, 64),
        ("modernbert", 8192, 10**30, None, 4992),  # what its attention may take
        ("modernbert", 8192, 1000, None, 992),
    ],
)
def test_the_limit_is_what_positions_tokenizer_and_folder_allow_in_whole_steps(
    family: str, positions: int, tokenizer: int | None, module: int | None, limit: int,
    tmp_path: Path,
) -> None:  # fmt: skip
    checkpoint = write_checkpoint(
        tmp_path / "checkpoint", family, max_position_embeddings=positions
    )
    edit_json(checkpoint / SETTINGS, model_max_length=tokenizer)
    if module is not None:
        write_json(checkpoint / "sentence_bert_config.json", {"max_seq_length": module})
    assert read_cross_encoder(checkpoint).max_tokens == limit


def test_a_row_as_long_as_the_limit_is_read(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", max_position_embeddings=95)
    edit_json(checkpoint / SETTINGS, model_max_length=None)
    out = converted(checkpoint)
    assert load_artifact(out).manifest.max_tokens == 80
    assert np.isfinite(Reranker(out).score("ba", ["be " * 500])).all()


def older_names(folder: Path) -> None:
    """Norms under the names that TensorFlow gave them."""
    older = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = load_file(folder / WEIGHTS)
    for newer_name, older_name in older.items():
        weights = {name.replace(newer_name, older_name): weights[name] for name in weights}
    save_file(weights, folder / WEIGHTS)


def position_ids(folder: Path) -> None:
    """Old versions saved this buffer too."""
    weights = load_file(folder / WEIGHTS)
    weights["bert.embeddings.position_ids"] = np.arange(POSITIONS)[None]
    save_file(weights, folder / WEIGHTS)


def shards(folder: Path) -> None:
    weights, files = load_file(folder / WEIGHTS), ["a.safetensors", "b.safetensors"]
    names = [sorted(weights)[part::2] for part in (0, 1)]
    for file, part in zip(files, names, strict=True):
        save_file({name: weights[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in zip(files, names, strict=True) for name in part}
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": weight_map})
    (folder / WEIGHTS).unlink()


def links(folder: Path) -> None:
    """As in the hub's cache: every file is a link to a blob."""
    blobs = folder.with_name("blobs")
    blobs.mkdir()
    for file in list(folder.iterdir()):
        file.rename(blobs / file.stem)
        file.symlink_to(Path("..") / "blobs" / file.stem)


def truncated_and_padded(folder: Path) -> None:
    """What a saved tokenizer says of truncation and padding is not meant for pairs."""
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=32)
    tokenizer.save(str(folder / TOKENIZER))


@pytest.mark.parametrize("change", [older_names, position_ids, shards, links, truncated_and_padded])
def test_a_form_of_files_changes_no_logit(change: Callable[[Path], None], tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    expected = reference(checkpoint)
    change(checkpoint)
    assert_logits(checkpoint, expected, tmp_path)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_weights_of_other_precisions_are_read_as_float32(kind: Any, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    narrow = {name: value.astype(kind) for name, value in load_file(checkpoint / WEIGHTS).items()}
    same = {name: value.astype(np.float32) for name, value in narrow.items()}
    save_file(same, checkpoint / WEIGHTS)
    expected = reference(checkpoint)
    save_file(narrow, checkpoint / WEIGHTS)
    assert_logits(checkpoint, expected, tmp_path)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    names = {"AutoModelForSequenceClassification": "code.Model", "AutoTokenizer": "code.Model"}
    checkpoint = write_checkpoint(tmp_path / "checkpoint", auto_map=names)
    (checkpoint / "code.py").write_text(f"open({str(trace)!r}, 'w').close()\nModel = None\n")
    converted(checkpoint)
    assert not trace.exists()


def test_a_tokenizer_without_settings_is_read(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    (checkpoint / SETTINGS).unlink()
    assert_logits(checkpoint, reference(checkpoint), tmp_path)


def numbered(names: tuple[str, ...]) -> dict[str, str]:
    """``id2label`` as it is saved."""
    return {str(number): name for number, name in enumerate(names)}
