"""A causal reranker's checkpoint becomes an artifact without torch, checked against float32.

What cannot be converted is refused in a line that says why. `test_causal_agreement` holds the
graphs to transformers.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from causal_artifacts import NO, YES
from convert.causal_checkpoints import (
    CHAT_TEMPLATE,
    FAMILIES,
    byte_tokenizer,
    write_causal,
    write_logit_score,
)
from convert.plain_checkpoints import edit_json, write_json
from resift import Reranker
from resift.convert import causal, check
from resift.convert.causal_checkpoint import read_causal
from resift.convert.causal_graph import HEAD
from resift.convert.chat_template import prompt_texts
from resift.convert.convert import convert_folder
from resift.convert.hub import check_use
from resift.convert.modules import is_bi_encoder, is_causal
from resift.convert.output import Conversion
from resift.errors import InputError, ModelError
from resift.rerank.artifact import load_artifact, read_manifest
from resift.rerank.checkpoint_files import needed_files
from resift.settings import Settings

NAME = "OWNER/NAME"
QUERY = "where did the cat sit?"
TEXTS = ["the dogs ran over the hill", "the cat sat on the mat", "no river " * 300]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint with sentence-transformers' files."""
    folder = write_causal(tmp_path / "checkpoint")
    write_logit_score(folder, YES, NO)
    return folder


@pytest.fixture(autouse=True)
def few_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lists suffice to see that they are scored."""
    monkeypatch.setattr(causal, "CHECKED_LISTS", 2)


def convert(folder: Path, out: Path, **options: Any) -> Conversion:
    return convert_folder(folder, out, name=NAME, **options)


def close_enough(monkeypatch: pytest.MonkeyPatch, spearman: float = 0.9) -> None:
    """Tiny random models lose more by rounding than trained ones."""
    monkeypatch.setattr(check, "MIN_SPEARMAN", spearman)
    monkeypatch.setattr(check, "MIN_WITHIN_QUERY", spearman)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_becomes_an_artifact_that_ranks(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_enough(monkeypatch)
    folder, out = write_causal(tmp_path / "checkpoint", family), tmp_path / "out"
    conversion = convert(folder, out, revision="a" * 40)
    manifest = load_artifact(out).manifest
    assert manifest.kind == "causal"
    assert manifest.revision == "a" * 40
    assert manifest.report == conversion.report
    assert manifest.report is not None
    assert manifest.report.is_int8
    assert manifest.report.pairs == causal.CHECKED_LISTS * 20
    assert manifest.quantisation.startswith("int8 (resift causal")
    reranker = Reranker(out)
    reranker.verify()
    logits = reranker.score(QUERY, TEXTS)
    exact = tmp_path / "float32"
    assert convert(folder, exact, int8=False).report is None
    np.testing.assert_allclose(Reranker(exact).score(QUERY, TEXTS), logits, atol=0.6, rtol=0)
    assert not np.allclose(Reranker(exact).score(QUERY, TEXTS), logits, atol=1e-3)


def test_a_checkpoint_folder_works_wherever_a_name_does(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_enough(monkeypatch)
    reranker = Reranker(checkpoint, settings=Settings(cache_dir=str(tmp_path / "cache")))
    ranking = reranker.rank(QUERY, TEXTS)
    assert ranking.receipt.scored == len(TEXTS)
    assert [hit.status for hit in sorted(ranking, key=lambda hit: hit.index)] == ["ok", "ok", "cut"]


def test_int8_weights_follow_int8_and_float32_follows_them(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closeness = iter([False, True, False, False, True])
    monkeypatch.setattr(causal, "is_close", lambda agreement: next(closeness))
    convert(checkpoint, tmp_path / "mixed")
    assert "float32 behind gates" in read_manifest(tmp_path / "mixed").quantisation
    convert(checkpoint, tmp_path / "weights")
    assert read_manifest(tmp_path / "weights").quantisation.startswith("int8 weights")
    monkeypatch.setattr(causal, "is_close", lambda agreement: False)
    conversion = convert(checkpoint, tmp_path / "none")
    manifest = read_manifest(tmp_path / "none")
    assert manifest.quantisation == "none: float32, as int8 is not close enough to it"
    assert conversion.report is not None
    assert not conversion.report.is_int8
    Reranker(tmp_path / "none").verify()


def test_prompt_and_answer_come_from_the_checkpoint(checkpoint: Path) -> None:
    tokenizer = byte_tokenizer()
    source = read_causal(checkpoint)
    prompt = source.prompt
    expected = "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>"
    assert list(prompt.prefix) == tokenizer.encode(expected).ids
    assert prompt.before_query == "user\n<Instruct>: Find it\n<Query>: "
    assert prompt.after_query == "\n<Document>:"
    assert prompt.middle == ()
    assert prompt.before_document == " "
    suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert list(prompt.suffix) == tokenizer.encode(suffix).ids
    words = load_file(checkpoint / "model.safetensors")["model.embed_tokens.weight"]
    np.testing.assert_array_equal(source.weights[HEAD], words[YES] - words[NO])


def test_a_default_prompt_is_the_instruction(checkpoint: Path) -> None:
    settings = {"prompts": {"own": "Find what helps"}, "default_prompt_name": "own"}
    write_json(checkpoint / "config_sentence_transformers.json", settings)
    assert read_causal(checkpoint).prompt.before_query.startswith("user\n<Instruct>: Find what")


def test_a_template_in_the_tokenizers_settings_is_read(checkpoint: Path) -> None:
    expected = read_causal(checkpoint).prompt
    (checkpoint / "chat_template.jinja").unlink()
    edit_json(checkpoint / "tokenizer_config.json", chat_template=CHAT_TEMPLATE)
    assert read_causal(checkpoint).prompt == expected


def test_one_token_may_answer(checkpoint: Path) -> None:
    edit_json(checkpoint / "1_LogitScore" / "config.json", false_token_id=None)
    words = load_file(checkpoint / "model.safetensors")["model.embed_tokens.weight"]
    np.testing.assert_array_equal(read_causal(checkpoint).weights[HEAD], words[YES])


def test_a_checkpoint_without_a_prompt_has_the_published_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_causal(tmp_path / "checkpoint")
    edit_json(folder / "tokenizer_config.json", chat_template="{{ messages[0]['content'] }}")
    with caplog.at_level(logging.WARNING, "resift"):
        prompt = read_causal(folder).prompt
    assert "Given a web search query" in prompt.before_query
    assert "using that of Qwen/Qwen3-Reranker" in caplog.text


def test_a_template_that_cannot_be_read_is_the_published_one_only_for_its_answers(
    checkpoint: Path,
) -> None:
    loop = "{% for m in messages %}{{ m['content'] }}{% endfor %} 'query' 'document'"
    (checkpoint / "chat_template.jinja").write_text(loop)
    assert "Given a web search query" in read_causal(checkpoint).prompt.before_query
    edit_json(checkpoint / "1_LogitScore" / "config.json", true_token_id=7, false_token_id=None)
    with pytest.raises(ModelError, match="chat template"):
        read_causal(checkpoint)


def test_templates_that_do_more_are_not_read() -> None:
    query, document = (
        f"{{{{ (messages | selectattr('role', 'eq', '{role}') | first).content }}}}"
        for role in ("query", "document")
    )
    assert prompt_texts(f"a {query} b {document} c") is not None
    for template in (
        f"{document} {query}",
        f"{query} {query} {document}",
        f"{query}",
        f"{{% if x %}}{query}{{% endif %}} {document}",
        f"{query | 1 if False else query} {{{{ x }}}} {document}",
        f"{{% set x = y %}}{query} {document}",
        f"{{% include 'x' %}}{query} {document}",
    ):
        assert prompt_texts(template) is None, template


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 4}, "weights are missing, such as layers.3"),
        ({"num_hidden_layers": 2}, "weights that qwen3 has not, such as layers.2"),
        ({"hidden_size": 48}, "do not fit its config"),
        ({"vocab_size": 9999}, "do not fit its config"),
        ({"num_key_value_heads": 3}, "a multiple of the keys"),
        ({"head_dim": 15}, "even size"),
        ({"model_type": "mistral"}, "not a causal model that resift can convert"),
        ({"model_type": "qwen2", "head_dim": None, "hidden_size": 64}, "missing"),
        ({"use_sliding_window": True}, "full attention"),
        ({"attention_bias": True}, "biases"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "rotary positions"),
        ({"rope_parameters": "yarn"}, "expected an object"),
        ({"hidden_act": "swiglu"}, "activation"),
        ({"max_position_embeddings": 80}, "a pair needs at least"),
        ({"rms_norm_eps": "small"}, "expected a number"),
    ],
)
def test_a_config_that_cannot_be_converted_is_refused(
    changes: dict[str, object], message: str, checkpoint: Path
) -> None:
    edit_json(checkpoint / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        read_causal(checkpoint)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"true_token_id": None}, "true_token_id"),
        ({"true_token_id": "yes"}, "true_token_id"),
        ({"false_token_id": -1}, "false_token_id"),
        ({"true_token_id": 10**6}, "vocabulary"),
    ],
)
def test_answers_that_are_no_tokens_are_refused(
    settings: dict[str, object], message: str, checkpoint: Path
) -> None:
    file = checkpoint / "1_LogitScore" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(ModelError, match=message):
        read_causal(checkpoint)


def test_weights_that_are_not_finite_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = np.nan
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight contains NaN"):
        convert(checkpoint, tmp_path / "out")


def test_options_that_a_causal_reranker_does_not_have_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    options: list[dict[str, Any]] = [
        {"exits": [1]},
        {"label": "yes"},
        {"prompts": ("query: ", None)},
    ]
    for option in options:
        with pytest.raises(InputError, match="leave --"):
            convert(checkpoint, tmp_path / "out", **option)


def test_a_decoder_is_a_reranker_unless_its_modules_make_vectors(checkpoint: Path) -> None:
    assert is_causal(checkpoint)
    assert not is_bi_encoder(checkpoint)
    check_use(checkpoint, NAME, "reranker")
    with pytest.raises(ModelError, match="a reranker, which gives scores"):
        check_use(checkpoint, NAME, "embedder")
    modules = json.loads((checkpoint / "modules.json").read_text())
    modules[1] |= {"type": "sentence_transformers.models.Pooling"}
    write_json(checkpoint / "modules.json", modules)
    assert not is_causal(checkpoint)
    assert is_bi_encoder(checkpoint)


def test_other_modules_are_refused(checkpoint: Path) -> None:
    modules = json.loads((checkpoint / "modules.json").read_text())
    write_json(checkpoint / "modules.json", [modules[0], modules[1], modules[1]])
    with pytest.raises(ModelError, match="expected Transformer and LogitScore"):
        read_causal(checkpoint)


def test_the_files_that_say_how_to_score_are_fetched(checkpoint: Path) -> None:
    names = [str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file()]
    assert set(needed_files([*names, "README.md", "modeling.py"])) == set(names)
