"""Term matching is the learned-sparse score by its definition, and adds to the logit of its pair.

A document's term states are part of its token states: fresh and precomputed ones give one logit.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from artifacts import DIM
from resift import Reranker
from resift.convert.terms import BIAS_STEPS, query_term_graph
from resift.errors import ArtifactError
from resift.rerank.artifact import (
    MANIFEST,
    QUERY_TERM_GRAPH,
    TERM_FILES,
    TERM_TABLE,
    load_artifact,
    sha256,
    write_manifest,
)
from resift.rerank.loading import load_model
from resift.rerank.models import LateInteractionModel
from resift.rerank.runtimes import open_session
from resift.rerank.terms import TERMS, QueryTerms, TermEncoder, TermTable, pack, unpack
from resift.rerank.tokenization import pad
from resift.settings import Settings
from resift.types import Candidate, Document
from split_artifacts import LATE, WORDS, make_split_artifact, term_weights

WEIGHT = 2.0
PRECISION = 1e-4
QUERY = " ".join(WORDS[5:9])
RNG = np.random.default_rng(4)
TEXTS = [" ".join(RNG.choice([*WORDS, *(QUERY.split() * 10)], n)) for n in RNG.integers(1, 40, 30)]

Floats = NDArray[np.float32]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_split_artifact(
        tmp_path_factory.mktemp("terms") / "model", late=replace(LATE, terms=WEIGHT)
    )


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights without term matching."""
    return make_split_artifact(tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture
def model(runtime: str, folder: Path) -> LateInteractionModel:
    return cast(LateInteractionModel, load_model(load_artifact(folder), runtime))


def by_definition(model: LateInteractionModel, query: str, text: str) -> float:
    """What the paper writes, over the whole vocabulary, restricted to the strongest terms."""
    weights = term_weights()
    table, scales = pack(weights["embeddings.word_embeddings.weight"])
    vectors = unpack(table) * scales.astype(np.float32)[:, None]
    biases = np.rint(weights["cls.predictions.bias"] * BIAS_STEPS) / BIAS_STEPS
    encoder = model._terms
    assert encoder is not None
    sparse = []
    for row in model._tokens.single([query, text]):
        states = encoder.exact(encoder.states(pad([row]))[0][: len(row.ids)])
        logits = states @ vectors.T + biases
        sparse.append(np.log1p(np.maximum(logits, 0)).max(axis=0))
    of_query, of_text = sparse
    strongest = np.argsort(-of_query, kind="stable")[:TERMS]
    return float(of_query[strongest] @ of_text[strongest] / of_query[strongest].sum())


def test_logits_are_those_without_terms_and_the_weighted_feature(
    runtime: str, folder: Path, plain: Path, model: LateInteractionModel
) -> None:
    with_terms, without = (
        Reranker(path, settings=Settings(runtime=runtime)).score(QUERY, TEXTS)
        for path in (folder, plain)
    )
    expected = [WEIGHT * by_definition(model, QUERY, text) for text in TEXTS]
    assert np.allclose(np.subtract(with_terms, without), expected, atol=2e-2)  # float16 states
    assert np.std(expected) > 0.1
    assert np.allclose(model.term_parts(QUERY, TEXTS), expected, atol=2e-3)


def test_precomputed_states_give_the_same_logits(runtime: str, folder: Path) -> None:
    reranker = Reranker(folder, settings=Settings(runtime=runtime))
    documents = [Document(str(number), text) for number, text in enumerate(TEXTS)]
    precomputed = [
        Candidate(document.id, document.text, precomputed=states)
        for document, states in zip(documents, reranker.precompute(documents), strict=True)
    ]
    fresh, stored = (reranker.rank(QUERY, each, exact=True) for each in (documents, precomputed))
    assert [hit.logit for hit in stored] == [hit.logit for hit in fresh]
    assert stored.receipt.precomputed == len(TEXTS)


def test_queries_of_one_batch_keep_their_terms(runtime: str, folder: Path) -> None:
    reranker = Reranker(folder, settings=Settings(runtime=runtime))
    queries = [QUERY, " ".join(WORDS[40:43]), " ".join(WORDS[60:70])]
    together = reranker.rank_many(queries, [TEXTS] * len(queries), exact=True)
    for query, ranking in zip(queries, together, strict=True):
        alone = reranker.rank(query, TEXTS, exact=True)
        logits = {hit.id: hit.logit for hit in alone}
        assert {hit.id: hit.logit for hit in ranking} == pytest.approx(logits, abs=PRECISION)


@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_packing_loses_at_most_a_step(seed: int, rows: int, pairs: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 2 * pairs)).astype(np.float32)
    vectors[0] = 0
    packed, scales = pack(vectors)
    steps = scales.astype(np.float32)[:, None]
    rounded = unpack(packed) * steps
    assert packed.shape == (rows, pairs) and (rounded[0] == 0).all()
    inside = np.abs(vectors) <= 7 * steps
    assert (
        np.abs(rounded - vectors)[inside] <= 0.5001 * np.broadcast_to(steps, inside.shape)[inside]
    ).all()


def query_terms(
    folder: Path, runtime: str, vectors: Floats, biases: Floats, states: Floats
) -> QueryTerms:
    """The strongest terms in a table, for a query's float32 states."""
    onnx.save(query_term_graph(vectors.shape[1]), str(folder / QUERY_TERM_GRAPH))
    session = open_session(folder / QUERY_TERM_GRAPH, runtime)
    encoder = TermEncoder(session, session, TermTable(vectors, biases, None))
    return encoder._terms(states)


@pytest.mark.parametrize("tokens", [2, 5, 16, 17])
def test_the_strongest_terms_are_those_of_the_whole_vocabulary(
    tmp_path: Path, runtime: str, tokens: int
) -> None:
    rng = np.random.default_rng(tokens)
    vectors, biases = (rng.normal(size=size).astype(np.float32) for size in ((90, 6), 90))
    states = rng.normal(size=(tokens, 6)).astype(np.float32)
    terms = query_terms(tmp_path, runtime, vectors, biases, states)
    weights = np.log1p(np.maximum((states @ vectors.T).max(axis=0) + biases, 0))
    best = np.argsort(-weights, kind="stable")[:TERMS]
    assert np.array_equal(terms.vectors, vectors[best])
    assert np.array_equal(terms.biases, biases[best])
    assert np.allclose(terms.shares, weights[best] / weights[best].sum(), atol=1e-6)


def test_a_query_that_activates_no_term_adds_nothing(tmp_path: Path, runtime: str) -> None:
    vectors, biases = np.zeros((40, 4), np.float32), np.full(40, -1, np.float32)
    terms = query_terms(tmp_path, runtime, vectors, biases, np.ones((3, 4), np.float32))
    assert (terms.shares == 0).all() and terms.feature(np.ones((2, 4), np.float32)) == 0


def test_a_graph_that_gives_no_terms_is_refused(folder: Path) -> None:
    states, _, table = load_artifact(folder).terms
    with pytest.raises(ArtifactError, match="reads attention_mask, input_ids"):
        TermEncoder.open([states, states, table])
    with pytest.raises(ArtifactError, match="reads states, table_biases"):
        TermEncoder.open([load_artifact(folder).terms[1]] * 2 + [table])


def test_graphs_of_another_width_are_refused(folder: Path, tmp_path: Path) -> None:
    states, query_terms, table = load_artifact(folder).terms
    onnx.save(query_term_graph(DIM // 2), str(tmp_path / QUERY_TERM_GRAPH))
    with pytest.raises(ArtifactError, match=rf"vectors are \(24, 16\), expected \(24, {DIM}\)"):
        TermEncoder.open([states, tmp_path / QUERY_TERM_GRAPH, table])
    with np.load(table) as stored:
        arrays = dict(stored)
    narrow = {"columns": arrays["columns"][: DIM // 4], "steps": arrays["steps"][: DIM // 2]}
    np.savez(tmp_path / TERM_TABLE, **arrays | narrow)
    with pytest.raises(ArtifactError, match=r"states are \(any, any, 32\), expected \(16\)"):
        TermEncoder.open([states, query_terms, tmp_path / TERM_TABLE])


@pytest.mark.parametrize("name", TERM_FILES)
def test_a_model_whose_term_files_are_lost_is_refused(
    folder: Path, tmp_path: Path, name: str
) -> None:
    copy = make_split_artifact(tmp_path / "copy", late=replace(LATE, terms=WEIGHT))
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: missing"):
        load_artifact(copy)


def test_a_manifest_without_the_hash_of_a_term_file_is_refused(tmp_path: Path) -> None:
    copy = make_split_artifact(tmp_path / "copy", late=replace(LATE, terms=WEIGHT))
    manifest = load_artifact(copy).manifest
    files = {name: value for name, value in manifest.files.items() if name != TERM_TABLE}
    write_manifest(copy, replace(manifest, files=files))
    with pytest.raises(ArtifactError, match=TERM_TABLE):
        load_artifact(copy)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a table"])
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / TERM_TABLE
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match="not a table of terms"):
        TermTable.read(file)


@pytest.mark.parametrize(
    "name, change",
    [
        ("columns", lambda array: array.astype(np.uint16)),
        ("columns", lambda array: array[:, :9]),
        ("columns", lambda array: array[0]),
        ("scales", lambda array: array[:-1]),
        ("scales", lambda array: array * np.float16("nan")),
        ("biases", lambda array: array.astype(str)),
        ("biases", None),
        ("steps", lambda array: array[:, None]),
        ("steps", lambda array: array * np.inf),
    ],
)
def test_a_table_of_wrong_arrays_is_refused(
    folder: Path, tmp_path: Path, name: str, change: Callable[[Any], Any] | None
) -> None:
    with np.load(folder / TERM_TABLE) as stored:
        arrays = dict(stored)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name])
    np.savez(tmp_path / TERM_TABLE, **arrays)
    with pytest.raises(ArtifactError, match=f"{TERM_TABLE}: [a-z]+ .*; copy the model again"):
        TermTable.read(tmp_path / TERM_TABLE)


def test_a_table_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    copy = make_split_artifact(tmp_path / "copy", late=replace(LATE, terms=WEIGHT))
    with np.load(copy / TERM_TABLE) as stored:
        arrays = dict(stored)
    fewer = {name: arrays[name][..., :50] for name in ("columns", "scales", "biases")}
    np.savez(copy / TERM_TABLE, **arrays | fewer)
    rehashed(copy)
    with pytest.raises(ArtifactError, match="a table of 50 terms, its tokenizer has"):
        Reranker(copy)


@pytest.mark.parametrize("has_terms", [True, False])
def test_a_graph_that_reads_no_terms_but_has_a_weight_is_refused(
    folder: Path, plain: Path, tmp_path: Path, has_terms: bool
) -> None:
    copy = shutil.copytree(folder if has_terms else plain, tmp_path / "copy")
    shutil.copy((plain if has_terms else folder) / "late.onnx", copy)
    rehashed(copy)
    with pytest.raises(ArtifactError, match=r"late.onnx: reads .*terms, and the manifest gives"):
        Reranker(copy)


def rehashed(folder: Path) -> None:
    """Let the manifest say what the files are."""
    values = json.loads((folder / MANIFEST).read_text())
    values["files"] = {name: sha256(folder / name) for name in values["files"]}
    (folder / MANIFEST).write_text(json.dumps(values))


def test_manifests_without_terms_are_what_they_were(plain: Path) -> None:
    text = (plain / "manifest.json").read_text()
    assert '"terms"' not in text
    assert DIM == 32  # the states' width below counts on it
    assert load_model(load_artifact(plain)).state_bytes == 2 * 2 * DIM
