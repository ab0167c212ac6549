"""A converted checkpoint gives what transformers gives for it; what cannot be converted is refused.

Checkpoints are tiny and random, one a family, with tokenizers of their own; the reference is the
torch model fed by its own tokenizer in padded batches.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from resift.training.checkpoint import convert_checkpoint

from convert.checkpoints import FAMILIES, POSITIONS, ROBERTAS, make_checkpoint, pairs, write_json
from convert.loopback_hub import COMMIT, serve
from resift import Reranker
from resift.errors import InputError, ModelError, ModelNotFound, ResiftError
from resift.rerank.artifact import load_artifact
from resift.settings import Settings

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

TOLERANCE = 1e-3
PAIRS = pairs(48)


def reference_logits(folder: Path, batch: int = 16, prompt: str = "") -> NDArray[np.float64]:
    """What the checkpoint itself says of `PAIRS`: its tokenizer, its model, padded batches."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    labels = []
    for start in range(0, len(PAIRS), batch):
        queries, texts = zip(*PAIRS[start : start + batch], strict=True)
        feeds = tokenizer(
            [prompt + query for query in queries],
            list(texts),
            padding=True,
            truncation="only_second",
            max_length=POSITIONS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            labels.append(model(**feeds).logits.double().numpy())
    logits = np.concatenate(labels)
    result: NDArray[np.float64] = logits[:, 0] if logits.shape[1] == 1 else logits
    return result


def own_logits(folder: Path, runtime: str) -> NDArray[np.float64]:
    """What the artifact says of them."""
    reranker = Reranker(folder, settings=Settings(runtime=runtime))
    return np.array([reranker.score(query, [text])[0] for query, text in PAIRS], np.float64)


def converted(checkpoint: Path) -> Path:
    """The float32 artifact beside it."""
    out = checkpoint.with_name("out")
    convert_checkpoint(str(checkpoint), out, int8=False)
    return out


def edit_config(folder: Path, **changes: Any) -> None:
    """Overwrite some of ``config.json``; None takes an entry out."""
    edit_json(folder / "config.json", **changes)


def edit_json(file: Path, **changes: Any) -> None:
    """Overwrite some of a JSON object; None takes an entry out."""
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_keeps_its_logits(family: str, runtime: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family)
    expected = reference_logits(checkpoint)
    actual = own_logits(converted(checkpoint), runtime)
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_two_labels_become_the_second_less_the_first(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, labels=2)
    labels = reference_logits(checkpoint)
    actual = own_logits(converted(checkpoint), "openvino")
    np.testing.assert_allclose(actual, labels[:, 1] - labels[:, 0], atol=TOLERANCE, rtol=0)
    assert np.ptp(actual) > 100 * TOLERANCE


NAMED = [
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
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert", labels=2)
    edit_config(checkpoint, id2label=dict(enumerate(names)), label2id=None)
    labels = reference_logits(checkpoint)
    actual = own_logits(converted(checkpoint), "openvino")
    expected = labels[:, relevant] - labels[:, 1 - relevant]
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "names", [("contradiction", "neutral"), ("yes", "relevant"), ("a", "b"), ("LABEL_0", "b")]
)
def test_ambiguous_names_of_labels_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert", labels=2)
    edit_config(checkpoint, id2label=dict(enumerate(names)), label2id=None)
    error = refusal(str(checkpoint), tmp_path / "out")
    assert isinstance(error, ModelError)
    assert "do not decide which one means relevance; name them" in str(error)


def test_one_label_may_be_called_anything(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert")
    edit_config(checkpoint, id2label={0: "score"}, label2id=None)
    actual = own_logits(converted(checkpoint), "openvino")
    np.testing.assert_allclose(actual, reference_logits(checkpoint), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_types_are_those_that_the_checkpoints_tokenizer_gives(
    family: str, runtime: str, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family)
    typed = reference_logits(checkpoint)
    edit_json(
        checkpoint / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"]
    )
    untyped = reference_logits(checkpoint)
    actual = own_logits(converted(checkpoint), runtime)
    np.testing.assert_allclose(actual, untyped, atol=TOLERANCE, rtol=0)
    assert np.abs(untyped - typed).max() > 10 * TOLERANCE


def test_the_prompt_of_a_sentence_transformers_folder_stands_before_the_query(
    tmp_path: Path,
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert")
    settings = {"prompts": {"ask": "ba be ", "other": "bo "}, "default_prompt_name": "ask"}
    write_json(checkpoint / "config_sentence_transformers.json", settings)
    out = converted(checkpoint)
    expected = reference_logits(checkpoint, prompt="ba be ")
    np.testing.assert_allclose(own_logits(out, "openvino"), expected, atol=TOLERANCE, rtol=0)
    assert np.abs(expected - reference_logits(checkpoint)).max() > 10 * TOLERANCE
    assert Reranker(out).verify().pairs


def test_prompts_without_a_default_are_not_read(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert")
    settings = {"prompts": {"query": "ba "}, "default_prompt_name": None}
    write_json(checkpoint / "config_sentence_transformers.json", settings)
    actual = own_logits(converted(checkpoint), "openvino")
    np.testing.assert_allclose(actual, reference_logits(checkpoint), atol=TOLERANCE, rtol=0)


def test_a_prompt_changes_the_logits(tmp_path: Path) -> None:
    fingerprints = set()
    for name in ("", "ask"):
        checkpoint = make_checkpoint(tmp_path / f"checkpoint{name}", "bert")
        if name:
            settings = {"prompts": {name: "ba "}, "default_prompt_name": name}
            write_json(checkpoint / "config_sentence_transformers.json", settings)
        out = tmp_path / f"out{name}"
        convert_checkpoint(str(checkpoint), out, int8=False)
        fingerprints.add(load_artifact(out).manifest.fingerprint)
    assert len(fingerprints) == 2


def test_a_cross_encoders_own_limit_is_kept(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert", max_position_embeddings=128)
    edit_json(checkpoint / "tokenizer_config.json", model_max_length=10**30)
    write_json(checkpoint / "sentence_bert_config.json", {"max_seq_length": 80})
    assert load_artifact(converted(checkpoint)).manifest.max_tokens == 80


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_each_known_activation_is_the_one_that_runs(
    activation: str, family: str, tmp_path: Path
) -> None:
    changes: Any = {"activation" if family == "distilbert" else "hidden_act": activation}
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, **changes)
    actual = own_logits(converted(checkpoint), "openvino")
    np.testing.assert_allclose(actual, reference_logits(checkpoint), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("family", "positions", "limit"),
    [("bert", 80, 64), ("bert", 64, 64), ("roberta", 66, 64), ("roberta", 81, 64)],
)
def test_the_limit_is_what_positions_and_tokenizer_allow_in_whole_steps(
    family: str, positions: int, limit: int, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, max_position_embeddings=positions)
    assert load_artifact(converted(checkpoint)).manifest.max_tokens == limit


def test_positions_that_are_no_whole_step_are_cut_to_one(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert", max_position_embeddings=95)
    edit = json.loads((checkpoint / "tokenizer_config.json").read_text())
    edit["model_max_length"] = 10**30  # what a tokenizer without a limit says
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(edit))
    out = converted(checkpoint)
    assert load_artifact(out).manifest.max_tokens == 80
    logits = Reranker(out).score("ba", ["be " * 500])  # the whole table is read, and no more
    assert np.isfinite(logits).all()


def unknown_type(folder: Path) -> None:
    edit_config(folder, model_type="nosuch")


def decoder(folder: Path) -> None:
    edit_config(folder, model_type="gpt2", architectures=["GPT2ForSequenceClassification"])


def masked_language_model(folder: Path) -> None:
    edit_config(folder, architectures=["BertForMaskedLM"])


def no_architecture(folder: Path) -> None:
    edit_config(folder, architectures=None)


def unknown_activation(folder: Path) -> None:
    edit_config(folder, hidden_act="silu")


def relative_positions(folder: Path) -> None:
    edit_config(folder, position_embedding_type="relative_key")


def pickle_only(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def no_head(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    retained = {name: value for name, value in weights.items() if "classifier" not in name}
    save_file(retained, folder / "model.safetensors", metadata={"format": "pt"})


def too_few_layers(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=3)


def another_width(folder: Path) -> None:
    edit_config(folder, intermediate_size=40)


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def not_a_number(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0, 3] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def tokenizer_larger_than_the_table(folder: Path) -> None:
    file = folder / "tokenizer.json"
    values = json.loads(file.read_text())
    values["model"]["vocab"]["unheard"] = 84
    file.write_text(json.dumps(values))


def only_a_sentencepiece_model(folder: Path) -> None:
    no_tokenizer(folder)
    (folder / "spiece.model").write_bytes(b"no protobuf")


def unknown_default_prompt(folder: Path) -> None:
    settings = {"prompts": {"a": "b"}, "default_prompt_name": "c"}
    write_json(folder / "config_sentence_transformers.json", settings)


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def odd_limit(folder: Path) -> None:
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": "many"})


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (unknown_type, "nosuch"),
    (decoder, "gpt2.*is not a cross-encoder"),
    (masked_language_model, "BertForMaskedLM.*expected a sequence classification model"),
    (no_architecture, "no architecture"),
    (unknown_activation, "activation silu; expected one of gelu"),
    (relative_positions, "relative_key positions"),
    (pickle_only, "no safetensors weights, only pytorch_model.bin, which can run code"),
    (no_weights, "no safetensors weights; use a revision"),
    (not_a_number, r"1 weights contain NaN or infinity, such as head\.projection\.weight"),
    (tokenizer_larger_than_the_table, "ids up to 84, its embedding table has 84 rows"),
    (only_a_sentencepiece_model, "pip install sentencepiece protobuf"),
    (unknown_default_prompt, "default_prompt_name 'c' is none of its prompts"),
    (odd_limit, "max_seq_length 'many'; expected a whole number"),
    (cut_short, "not a readable safetensors checkpoint"),
    (no_head, r"2 weights are missing.*classifier\.bias"),
    (too_few_layers, r"weights are missing.*encoder\.layer\.2"),
    (another_width, r"6 weights are missing or do not have the size.*dense"),
    (no_tokenizer, "contains no tokenizer"),
    (broken_config, r"config\.json"),
]


def refusal(checkpoint: str, out: Path, **options: Any) -> ResiftError:
    """The error of a conversion, having checked that it is one line and left nothing behind."""
    with pytest.raises(ResiftError) as caught:
        convert_checkpoint(checkpoint, out, int8=False, **options)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return caught.value


@pytest.mark.parametrize(("fault", "messages"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_what_cannot_be_converted_is_refused_in_one_line(
    fault: Callable[[Path], None], messages: str, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert")
    fault(checkpoint)
    error = refusal(str(checkpoint), tmp_path / "out")
    assert type(error) is ModelError
    assert str(error).startswith(str(checkpoint))
    with pytest.raises(ModelError, match=messages):
        raise error


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_three_labels_are_refused(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, labels=3)
    error = refusal(str(checkpoint), tmp_path / "out")
    assert str(error) == (
        f"{checkpoint}: a head of 3 labels; a reranker has one logit or two labels"
    )


@pytest.mark.parametrize("family", ["bert", *ROBERTAS])
def test_too_few_positions_for_a_pair_are_refused(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, max_position_embeddings=50)
    limit = 48 if family in ROBERTAS else 50
    error = refusal(str(checkpoint), tmp_path / "out")
    assert isinstance(error, ModelError)
    assert str(error) == f"{checkpoint}: reads {limit} tokens; a pair needs at least 64"


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert")
    trace = tmp_path / "was-run"
    (checkpoint / "own.py").write_text(f"open({str(trace)!r}, 'w').close()\nModel = None\n")
    edit_config(checkpoint, auto_map={"AutoModelForSequenceClassification": "own.Model"})
    converted(checkpoint)
    assert not trace.exists()


def test_a_folder_that_holds_something_is_not_written_into(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already; name a new folder"):
        convert_checkpoint(str(tmp_path / "none"), out)
    assert [file.name for file in out.iterdir()] == ["mine.txt"]


def test_a_folder_without_a_checkpoint_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    error = refusal(str(tmp_path / "empty"), tmp_path / "out")
    assert isinstance(error, ModelNotFound)
    assert "no config.json there" in str(error)


def test_a_hub_id_without_a_commit_is_refused_before_any_download(tmp_path: Path) -> None:
    error = refusal("owner/name", tmp_path / "out")
    assert isinstance(error, InputError)
    assert "--revision" in str(error)


@pytest.mark.parametrize("name", ["no-such-folder", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_not_found(name: str, tmp_path: Path) -> None:
    error = refusal(name, tmp_path / "out", revision=COMMIT)
    assert isinstance(error, ModelNotFound)
    assert str(error) == f"{name}: neither a folder nor a hub id like owner/name"


CONVERT = """
import sys
from pathlib import Path
from resift.errors import ResiftError
from resift.training.checkpoint import convert_checkpoint
name, out, revision = sys.argv[1:]
try:
    convert_checkpoint(name, Path(out), revision, int8=False)
except ResiftError as error:
    print(f"{type(error).__name__}|{error}")
else:
    print("converted")
"""


def convert_from_hub(url: str, name: str, revision: str, folder: Path) -> str:
    """The last line of a process of its own: the hub's client reads its address at import."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    environ = {key: value for key, value in os.environ.items() if key.lower() not in proxies}
    environ |= {"HF_ENDPOINT": url, "HF_HOME": str(folder / "cache"), "NO_PROXY": "127.0.0.1"}
    arguments = [sys.executable, "-c", CONVERT, name, str(folder / "out"), revision]
    done = subprocess.run(
        arguments, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def test_a_hub_checkpoint_is_downloaded_at_its_commit_and_converted(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert")
    (checkpoint / "pytorch_model.bin").write_bytes(b"a pickle")
    (checkpoint / "own.py").write_text("raise SystemExit")
    with serve(checkpoint, "owner/name") as hub:
        assert convert_from_hub(hub.url, "owner/name", COMMIT, tmp_path) == "converted"
    assert set(hub.fetched) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert load_artifact(tmp_path / "out").manifest.base_model == "owner/name"
    actual = own_logits(tmp_path / "out", "openvino")
    np.testing.assert_allclose(actual, reference_logits(checkpoint), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("name", "revision"),
    [("owner/other", COMMIT), ("owner/name", "f" * 40)],
    ids=["name", "commit"],
)
def test_what_the_hub_does_not_have_is_not_found_in_one_line(
    name: str, revision: str, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "bert")
    with serve(checkpoint, "owner/name") as hub:
        messages = convert_from_hub(hub.url, name, revision, tmp_path)
    assert messages.startswith(f"ModelNotFound|{name} at {revision}: cannot be downloaded (")
    assert messages.endswith("check the name, the commit and the network")
    assert "404" in messages
    assert "\n" not in messages
    assert not (tmp_path / "out").exists()
