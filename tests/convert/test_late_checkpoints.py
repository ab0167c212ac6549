"""A late-interaction checkpoint of each format gives the scores that its authors' code gives.

Checkpoints are tiny and random. BERT's scores are held to plain numpy, those of all formats and
families to sentence-transformers, and PyLate's to PyLate, where they are.
"""

import json
import random
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from convert.hub_models import NAME, output
from convert.late_checkpoints import (
    DOCUMENT_LENGTH,
    ENCODER,
    QUERY_LENGTH,
    STANFORD,
    TOKENS,
    WIDTH,
    late_tokenizer,
    write_multi_vector_encoder,
    write_pylate,
    write_stanford,
)
from convert.loopback_hub import serve
from convert.plain_checkpoints import (
    HEADS,
    TRAINED,
    WORDS,
    edit_json,
    pairs,
    write_bi_encoder,
    write_checkpoint,
    write_json,
)
from convert.reference import Bert
from resift import Reranker
from resift.convert.convert import convert_folder
from resift.convert.hub import check_use
from resift.convert.late_settings import late_format
from resift.convert.output import Conversion
from resift.errors import InputError, ModelError
from resift.rerank.artifact import load_artifact
from resift.rerank.checkpoint_files import needed_files
from resift.rerank.runtimes import open_session
from resift.settings import Settings

TOLERANCE = 1e-3  # with documents' vectors in float16
EXACT = 1e-4
Floats = NDArray[np.float64]
Write = Callable[..., Path]


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice([*WORDS, ",", ".", "!"]) for _ in range(words))


RNG = random.Random(4)
QUERIES = [*(sentence(RNG, words) for words in (1, 3, 5, 8)), f"{WORDS[4]} , {WORDS[9]} !"]
TEXTS = [sentence(RNG, words) for words in (1, 2, 5, 9, 20, 30, 37, 60)]
TWO_LAYERS: Sequence[Mapping[str, Any]] = (
    {"use_residual": True},
    {
        "in_features": WIDTH,
        "use_residual": True,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.GELU",
    },
)
CASES: Sequence[tuple[Write, Mapping[str, Any]]] = [
    (write_stanford, {}),
    (write_stanford, {"attend_to_mask_tokens": True}),
    (write_stanford, {"mask_punctuation": False}),
    (write_pylate, {}),
    (write_pylate, {"do_query_expansion": False}),
    (write_pylate, {"attend_to_expansion_tokens": True}),
    (write_pylate, {"skiplist_words": []}),
    (write_pylate, {"dense": TWO_LAYERS}),
    (write_pylate, {"prompts": {"query": "ba ", "document": "[D] bi "}}),
    (write_multi_vector_encoder, {}),
    (write_multi_vector_encoder, {"similarity_fn_name": "meanmaxsim"}),
    (write_multi_vector_encoder, {"mask": {"skiplist_tasks": ["query", "document"]}}),
    (write_multi_vector_encoder, {"encoder": {"document_length": 20}}),
    (write_multi_vector_encoder, {"prompts": {"query": "ba "}}),
]
NAMES = [f"{make.__name__[6:]}-{'-'.join(changes) or 'as it is'}" for make, changes in CASES]


def converted(checkpoint: Path) -> Path:
    """The float32 artifact beside it."""
    out = checkpoint.with_name("out")
    convert_folder(checkpoint, out, name=str(checkpoint), int8=False)
    return out


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token vectors stay float32 between the graphs; they are stored in float16."""
    monkeypatch.setattr("resift.rerank.models.stored", lambda states: states)


def logits(artifact: Path, runtime: str | None = None) -> Floats:
    reranker = Reranker(artifact, settings=Settings(runtime=runtime))
    return np.stack([reranker.score(query, TEXTS) for query in QUERIES]).astype(np.float64)


def assert_agrees(actual: Floats, expected: Floats, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=0)
    assert np.ptp(expected, axis=1).min() > 5 * TOLERANCE  # texts are told apart


def by_sentence_transformers(folder: Path) -> Floats:
    package = pytest.importorskip("sentence_transformers")
    model = package.MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    queries, documents = model.encode_query(QUERIES), model.encode_document(TEXTS)
    scores: Floats = model.similarity(queries, documents).numpy().astype(np.float64)
    return scores


class MaskedBert(Bert):
    """BERT whose last tokens are read and not attended to."""

    attended = 0

    def _attention(self, name: str, x: Floats) -> Floats:
        parts = [self._dense(f"{name}.attention.self.{p}", x) for p in ("query", "key", "value")]
        mixed = []
        for query, key, value in zip(*(np.split(p, HEADS, axis=1) for p in parts), strict=True):
            weights = np.exp(query @ key[: self.attended].T / np.sqrt(query.shape[1]))
            mixed.append(weights / weights.sum(axis=1, keepdims=True) @ value[: self.attended])
        return self._dense(f"{name}.attention.output.dense", np.concatenate(mixed, axis=1))


def by_definition(folder: Path) -> Floats:
    """MaxSim of a Stanford ColBERT in numpy: markers, expansion, no punctuation in documents."""
    weights = {name.removeprefix("bert."): x for name, x in load_file(_weights(folder)).items()}
    model, tokenizer = MaskedBert(weights, HEADS, "gelu", "tanh"), late_tokenizer()
    number = {token: number for number, token in enumerate(TOKENS)}
    skipped = [number[sign] for sign in string.punctuation]

    def vectors(text: str, marker: str, length: int, expanded: bool) -> tuple[Floats, list[int]]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids[: length - 3]
        ids = [2, number[marker], *ids, 3]
        model.attended = len(ids)
        ids += [number["[MASK]"]] * (length - len(ids)) * expanded
        states = model.states(np.array(ids), np.zeros(len(ids), np.int64))
        states = states @ weights["linear.weight"].T
        return states / np.linalg.norm(states, axis=1, keepdims=True), ids

    scores = np.zeros((len(QUERIES), len(TEXTS)))
    for row, query in enumerate(QUERIES):
        query_vectors, _ = vectors(query, "[unused0]", QUERY_LENGTH, True)
        for column, text in enumerate(TEXTS):
            states, ids = vectors(text, "[unused1]", DOCUMENT_LENGTH, False)
            scores[row, column] = (query_vectors @ states[~np.isin(ids, skipped)].T).max(1).sum()
    return scores


def _weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def test_a_stanford_colbert_gives_the_scores_of_its_definition(
    runtime: str, tmp_path: Path
) -> None:
    checkpoint = write_stanford(tmp_path / "checkpoint")
    assert_agrees(logits(converted(checkpoint), runtime), by_definition(checkpoint))


@pytest.mark.torch
@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize(("write", "changes"), CASES, ids=NAMES)
def test_each_format_keeps_sentence_transformers_scores(
    write: Write, changes: Mapping[str, Any], tmp_path: Path
) -> None:
    checkpoint = write(tmp_path / "checkpoint", **changes)
    assert_agrees(logits(converted(checkpoint)), by_sentence_transformers(checkpoint), EXACT)


@pytest.mark.torch
@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("family", ["distilbert", "roberta", "modernbert"])
def test_each_family_keeps_sentence_transformers_scores(family: str, tmp_path: Path) -> None:
    checkpoint = write_pylate(tmp_path / "checkpoint", family)
    assert_agrees(logits(converted(checkpoint)), by_sentence_transformers(checkpoint), EXACT)


@pytest.mark.torch
@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("attends", [False, True])
def test_expansion_beyond_the_reach_of_near_attention(attends: bool, tmp_path: Path) -> None:
    """ModernBERT's windows reach 8 tokens here; expansion behind them sees no token of a query."""
    checkpoint = write_pylate(
        tmp_path / "checkpoint",
        "modernbert",
        query_length=30,
        attend_to_expansion_tokens=attends,
    )
    assert_agrees(logits(converted(checkpoint)), by_sentence_transformers(checkpoint), EXACT)


@pytest.mark.torch
@pytest.mark.usefixtures("unrounded")
def test_a_model_that_sentence_transformers_makes_and_saves(tmp_path: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.base.modules")
    late = pytest.importorskip("sentence_transformers.multi_vector_encoder.modules")
    torch = pytest.importorskip("torch")
    start = write_pylate(tmp_path / "start")
    torch.manual_seed(3)
    model = package.MultiVectorEncoder(
        modules=[
            modules.Transformer(
                str(start),
                document_length=DOCUMENT_LENGTH,
                query_expansion={"strategy": "fixed", "length": QUERY_LENGTH},
            ),
            modules.Dense(32, 16, activation_function=None, module_input_name="token_embeddings"),
            late.MultiVectorMask(skiplist_words=[",", "."]),
            modules.Normalize(module_input_name="token_embeddings"),
        ],
        prompts={"query": "[Q] ", "document": "[D] "},
        device="cpu",
    )
    checkpoint = tmp_path / "checkpoint"
    model.save_pretrained(str(checkpoint))
    assert late_format(checkpoint) == "sentence-transformers"
    assert_agrees(logits(converted(checkpoint)), by_sentence_transformers(checkpoint), EXACT)


@pytest.mark.parametrize(
    ("write", "changes"), [case for case in CASES[:9] if "mask_punctuation" not in case[1]]
)
def test_pylate_gives_the_same_scores(
    write: Write, changes: Mapping[str, Any], tmp_path: Path
) -> None:
    """PyLate masks punctuation whatever Stanford's metadata say, and adds no prompt by itself."""
    models = pytest.importorskip("pylate.models")
    if "prompts" in changes:
        return
    checkpoint = write(tmp_path / "checkpoint", **changes)
    model = models.ColBERT(str(checkpoint), device="cpu", local_files_only=True)
    queries = model.encode(QUERIES, is_query=True)
    documents = model.encode(TEXTS, is_query=False)
    scores = [[float((q @ d.T).max(1).sum()) for d in documents] for q in queries]
    assert_agrees(logits(converted(checkpoint)), np.array(scores))


def test_a_float32_graph_gives_unit_vectors(tmp_path: Path) -> None:
    out = converted(write_pylate(tmp_path / "checkpoint", dense=TWO_LAYERS))
    encoder = open_session(out / "encoder.onnx")
    feeds = {name: np.array([[2, 5, 6, 3]]) for name in encoder.inputs}
    feeds["attention_mask"] = np.ones((1, 4), np.int64)
    if "token_type_ids" in feeds:
        feeds["token_type_ids"] = np.zeros((1, 4), np.int64)
    vectors = encoder.run(feeds)["states"]
    assert vectors.shape == (1, 4, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=2), 1, atol=1e-5)


def quantised(checkpoint: Path) -> tuple[Conversion, Path]:
    """The int8 artifact beside it, with ranges read off pairs of its own words."""
    file, out = checkpoint.with_name("pairs.jsonl"), checkpoint.with_name("out")
    file.write_text("".join(json.dumps({"query": q, "text": t}) + "\n" for q, t in pairs(60)))
    return convert_folder(checkpoint, out, name=str(checkpoint), texts=file), out


@pytest.mark.parametrize("write", [write_stanford, write_pylate, write_multi_vector_encoder])
def test_int8_is_checked_against_float32(write: Write, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint", spread=TRAINED)
    conversion, out = quantised(checkpoint)
    manifest = load_artifact(out).manifest
    report = manifest.report
    assert report is not None and report.is_int8 and report == conversion.report
    assert report.spearman is not None and report.spearman >= 0.995
    assert (manifest.kind, manifest.max_tokens) == ("multi_vector", DOCUMENT_LENGTH)
    assert manifest.quantisation.startswith("static int8")
    reranker = Reranker(out)
    assert reranker.verify().max_difference <= manifest.tolerance
    exact = Reranker(converted(write(tmp_path / "other" / "checkpoint", spread=TRAINED)))
    for query in QUERIES:
        difference = reranker.score(query, TEXTS) - exact.score(query, TEXTS)
        assert np.abs(difference).max() < 0.1 * QUERY_LENGTH


def test_scores_do_not_saturate_and_are_about_shares_of_pairs(tmp_path: Path) -> None:
    out = converted(write_pylate(tmp_path / "checkpoint"))
    hits = [hit for query in QUERIES for hit in Reranker(out).rank(query, TEXTS)]
    scores, values = (np.array([getattr(hit, name) for hit in hits]) for name in ("score", "logit"))
    assert (scores > 0.005).all() and (scores < 0.995).all() and np.ptp(scores) > 0.2
    assert (np.argsort(scores) == np.argsort(values)).all()
    assert values.max() > QUERY_LENGTH / 2  # a sum over the query's tokens
    assert Reranker(out).rank(QUERIES[0], TEXTS).receipt.calibration == "none"


def test_the_length_of_documents_is_exact(tmp_path: Path) -> None:
    """Here no multiple of what rows are padded to."""
    out = converted(write_stanford(tmp_path / "checkpoint", doc_maxlen=37))
    reranker = Reranker(out)
    assert reranker.max_tokens == 37 and reranker.room(QUERIES[0]) == 34
    (hit,) = reranker.rank(QUERIES[0], [" ".join(WORDS[:40])])
    assert hit.tokens_dropped == 6


def test_a_stanford_checkpoint_without_metadata_has_the_authors_defaults(tmp_path: Path) -> None:
    checkpoint = write_stanford(tmp_path / "checkpoint")
    (checkpoint / "artifact.metadata").unlink()
    manifest = load_artifact(converted(checkpoint)).manifest
    vectors, tokenizer = manifest.multi_vector, late_tokenizer()
    assert vectors is not None and vectors.query_length == 32
    assert vectors.query_marker == (tokenizer.token_to_id("[unused0]"),)
    assert len(vectors.document_skiplist) == len(string.punctuation)
    assert manifest.max_tokens == 64  # of 220, its encoder has 64 positions


def test_a_reranker_opens_a_checkpoint_folder(tmp_path: Path) -> None:
    checkpoint = write_pylate(tmp_path / "checkpoint", spread=TRAINED)
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    result = Reranker(checkpoint, settings=settings).rank(QUERIES[1], TEXTS, top_n=3)
    assert len(result) == 3 and result.receipt.scored == len(TEXTS)


def test_a_hub_name_is_fetched_with_its_metadata_and_converted(tmp_path: Path) -> None:
    repository = write_stanford(tmp_path / "repository", spread=TRAINED, doc_maxlen=37)
    code = (
        "import sys; from resift import Reranker; reranker = Reranker(sys.argv[1]); "
        f"print(reranker.max_tokens, len(reranker.rank({QUERIES[1]!r}, {TEXTS!r})))"
    )
    with serve(repository, NAME) as hub:
        printed, err = output(code, NAME, environment=hub.environment(tmp_path))
    assert printed.split() == ["37", str(len(TEXTS))]
    assert f"{NAME}: int8 against float32: Spearman 0.99" in err


def test_what_is_fetched_includes_the_metadata() -> None:
    names = ["config.json", "tokenizer.json", "artifact.metadata", "model.safetensors", "README.md"]
    assert set(needed_files(names)) == set(names[:4])


def test_formats_are_told_from_other_models(tmp_path: Path) -> None:
    folders = {
        "stanford": write_stanford(tmp_path / "a"),
        "pylate": write_pylate(tmp_path / "b"),
        "sentence-transformers": write_multi_vector_encoder(tmp_path / "c"),
        None: write_bi_encoder(tmp_path / "d"),
    }
    assert {late_format(folder): folder for folder in folders.values()} == folders
    assert late_format(write_checkpoint(tmp_path / "e")) is None
    assert late_format(tmp_path / "nothing") is None


@pytest.mark.parametrize("write", [write_stanford, write_pylate, write_multi_vector_encoder])
def test_it_is_a_reranker_and_no_embedder(write: Write, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "checkpoint")
    check_use(checkpoint, "name", "reranker")
    with pytest.raises(ModelError, match="name: a reranker, which gives scores; expected an emb"):
        check_use(checkpoint, "name", "embedder")
    for options, error, problem in [
        ({"is_embedder": True}, ModelError, "a vector for each token; expected an embedder"),
        ({"exits": [1]}, InputError, "which has no exits; leave --exits out"),
        ({"label": "relevant"}, InputError, "which has no labels; leave --label out"),
        ({"prompts": ("a", None)}, InputError, "whose prompt is its own"),
    ]:
        with pytest.raises(error, match=problem) as caught:
            convert_folder(checkpoint, tmp_path / "out", name="name", **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def expanded(**changes: Any) -> dict[str, Any]:
    """The encoder's settings, with an expansion."""
    return {"encoder": {**ENCODER, "query_expansion": {"strategy": "min", **changes}}}


@pytest.mark.parametrize(
    ("write", "changes", "problem"),
    [
        (write_stanford, {"similarity": "jaccard"}, "compares by 'jaccard'"),
        (write_stanford, {"query_maxlen": 0}, "query_maxlen 0; expected a whole number"),
        (write_stanford, {"query_maxlen": 65}, "queries of 65; expected 16 to 64"),
        (write_stanford, {"doc_maxlen": 8}, "documents of 8 tokens"),
        (write_stanford, {"mask_punctuation": "yes"}, "'yes'; expected true or false"),
        (write_pylate, {"similarity_fn_name": "XTR"}, "compares by 'XTR'"),
        (write_pylate, {"skiplist_words": "."}, "expected a list of texts"),
        (write_pylate, {"dense": [{"out_features": 20}, {}]}, "does not fit states of 20"),
        (write_multi_vector_encoder, {"mask": {"keep_only_token_ids": [4]}}, "parts of images"),
        (write_multi_vector_encoder, expanded(length="x"), "length 'x'; expected a whole number"),
        (write_multi_vector_encoder, expanded(length=9, token="[NO]"), r"no token \[NO\] to exp"),
    ],
)
def test_unknown_settings_are_refused(
    write: Write, changes: Mapping[str, Any], problem: str, tmp_path: Path
) -> None:
    checkpoint = write(tmp_path / "checkpoint", **changes)
    with pytest.raises(ModelError, match=problem) as caught:
        convert_folder(checkpoint, tmp_path / "out", name="name")
    assert "\n" not in str(caught.value)


def test_modules_that_compute_otherwise_are_refused(tmp_path: Path) -> None:
    checkpoint = write_multi_vector_encoder(tmp_path / "checkpoint")
    modules = json.loads((checkpoint / "modules.json").read_text())
    pooling = {"idx": 4, "name": "4", "path": "4_Pooling", "type": "x.HierarchicalTokenPooling"}
    (checkpoint / "4_Pooling").mkdir()
    for factor, is_idle in ((1.0, True), (2.0, False)):
        write_json(checkpoint / "4_Pooling" / "config.json", {"pool_factor": factor})
        write_json(checkpoint / "modules.json", [*modules, pooling])
        if is_idle:
            convert_folder(checkpoint, tmp_path / "out", name="name", int8=False)
        else:
            with pytest.raises(ModelError, match="HierarchicalTokenPooling cannot be converted"):
                convert_folder(checkpoint, tmp_path / "other", name="name", int8=False)
    write_json(checkpoint / "modules.json", modules[:-1])
    with pytest.raises(ModelError, match="expected Transformer, Dense, Normalize"):
        convert_folder(checkpoint, tmp_path / "other", name="name", int8=False)


def test_a_stanford_checkpoint_without_its_projection_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    edit_json(checkpoint / "config.json", architectures=["HF_ColBERT"])
    write_json(checkpoint / "artifact.metadata", STANFORD)
    with pytest.raises(ModelError, match=r"no linear.weight; expected a whole ColBERT"):
        convert_folder(checkpoint, tmp_path / "out", name="name")
