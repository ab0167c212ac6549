"""An export is a model that loads, verifies, and gives nearly what its float32 weights give."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from resift import Candidate, Reranker
from resift.convert import late_interaction
from resift.convert.exits import LEVELS
from resift.convert.late_interaction import Float32Model, read_shape, read_weights, write_float32
from resift.convert.quantise import QUANTISER
from resift.rerank.artifact import Manifest, load_artifact, sha256
from resift.rerank.loading import load_model
from resift.settings import Settings
from resift.training.export import score_list
from resift.training.mining import NONE, Lists, Mined
from split_artifacts import FILES, LATE, SHAPE, WORDS, split_weights, write_tokenizer
from training.lists import take

pytest.importorskip("torch")
pytestmark = pytest.mark.torch  # the train extra brings it

from resift.training.export import (  # noqa: E402
    REFERENCE,
    dev_scores,
    export,
)

QUERIES, TRAINED, DEPTH = 36, 24, 8
NAMES = {*FILES, "tokenizer.json", "manifest.json"}
WEIGHTS, OTHERS = split_weights(seed=7), split_weights(seed=8)


def model_of(weights: dict[str, NDArray[np.float32]], tokenizer: Path) -> Float32Model:
    return Float32Model("made", weights, SHAPE, tokenizer, "random", "apache-2.0")


def made_source(name: str, seed: int) -> Mined:
    """Queries of three words; each one's answer holds two of them, other texts one or none."""
    rng = np.random.default_rng(seed)
    queries = [list(rng.choice(WORDS, 3, replace=False)) for _ in range(QUERIES)]
    texts = [" ".join(rng.permutation([*entry[:2], *rng.choice(WORDS, 9)])) for entry in queries]
    texts += [" ".join(rng.permutation([entry[2], *rng.choice(WORDS, 12)])) for entry in queries]
    others = [np.delete(np.arange(2 * QUERIES), index) for index in range(QUERIES)]
    documents = np.stack(
        [np.r_[index, rng.permutation(entry)[1:DEPTH]] for index, entry in enumerate(others)]
    )
    documents[::5, DEPTH - 2 :] = NONE  # short lists
    relevant = documents == np.arange(QUERIES)[:, None]
    shape = documents.shape
    lexical = np.array([[len(set(queries[q]) & set(texts[d].split())) for d in entry]
                        for q, entry in enumerate(documents)], np.float32)  # fmt: skip
    lists = Lists(
        np.arange(QUERIES),
        documents,
        relevant,
        np.zeros((*shape, 3), np.float32),
        np.full(shape, np.nan, np.float32),
        lexical,
    )
    train, dev = take(lists, np.arange(TRAINED)), take(lists, np.arange(TRAINED, QUERIES))
    return Mined(name, tuple(texts), tuple(" ".join(entry) for entry in queries), train, dev)


SOURCES = [made_source("one", seed=1), made_source("other", seed=2)]
DEV_LISTS = sum(len(source.dev.queries) for source in SOURCES)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "words.json")


@pytest.fixture(scope="session")
def folder(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model, in a folder that was not there before."""
    out = tmp_path_factory.mktemp("models") / "new" / "made"
    returned = export(model_of(WEIGHTS, tokenizer), SOURCES, out)
    assert returned == load_artifact(out).manifest
    return out


@pytest.fixture(scope="session")
def manifest(folder: Path) -> Manifest:
    return load_artifact(folder).manifest


@pytest.fixture(scope="session")
def float32(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("float32") / "made"
    write_float32(model_of(WEIGHTS, tokenizer), out)
    return out


def logits(folder: Path, runtime: str | None = None) -> tuple[NDArray[np.float32], ...]:
    """First and last logits of every text of the first source, for three of its queries."""
    model = load_model(load_artifact(folder), runtime)
    entry = SOURCES[0]
    result = [score_list(model, query, entry.texts) for query in entry.query_texts[:3]]
    return tuple(np.concatenate([getattr(o, n) for o in result]) for n in ("early", "final"))


def test_the_folder_holds_a_model_that_gives_its_references(
    folder: Path, manifest: Manifest, runtime: str
) -> None:
    """Not `verify`: random weights are too far from float32 in int8 for that."""
    assert {file.name for file in folder.iterdir()} == NAMES
    reranker = Reranker(folder, settings=Settings(runtime=runtime))
    assert (reranker.name, len(manifest.reference)) == ("made", len(REFERENCE))
    for pair in manifest.reference:
        logit = float(reranker.score(pair.query, [pair.text])[0])
        assert abs(logit - pair.logit) <= manifest.tolerance


def test_every_file_is_hashed(folder: Path, manifest: Manifest) -> None:
    assert set(manifest.files) == NAMES - {"manifest.json"}
    for name, hashed in manifest.files.items():
        assert sha256(folder / name) == hashed


def test_the_manifest_says_what_it_is_and_how_it_was_made(manifest: Manifest) -> None:
    assert (manifest.name, manifest.base_model, manifest.licence) == (
        "made",
        "random",
        "apache-2.0",
    )
    assert manifest.kind == "late_interaction" and manifest.stages == FILES
    assert manifest.quantisation.startswith(f"static int8 ({QUANTISER})")
    assert set(manifest.made_with) >= {"onnx", "torch"}
    assert manifest.late_interaction == LATE
    # The tokenizer knows no word of the fixed pairs: they are of the held-out lists.
    texts = {text for source in SOURCES for text in source.texts}
    assert {pair.text for pair in manifest.reference} <= texts
    assert all(np.isfinite([pair.logit, pair.logit_fp32]).all() for pair in manifest.reference)


def test_the_manifest_has_the_fitted_numbers(manifest: Manifest) -> None:
    (result,) = manifest.exits
    assert result.levels == LEVELS and list(result.gains) == sorted(result.gains)
    assert result.gains[0] < result.gains[-1] and result.pairs > 100
    assert manifest.calibration is not None
    held_out = sum(int((source.dev.documents != NONE).sum()) for source in SOURCES)
    assert manifest.calibration.pairs == held_out
    assert 0 <= manifest.fusion_weight <= 1.5


def test_bounds_are_those_of_the_int8_model_on_queries_trained_on(
    folder: Path, manifest: Manifest
) -> None:
    model = load_model(load_artifact(folder))
    gains = []
    for source in SOURCES:
        for row, query in enumerate(source.train.queries):
            entry = source.train.documents[row]
            texts = [source.texts[index] for index in entry[entry != NONE]]
            result = score_list(model, source.query_texts[int(query)], texts)
            gains.append(result.final - result.early)
    expected = np.quantile(np.concatenate(gains).astype(np.float64), LEVELS)
    np.testing.assert_allclose(manifest.exits[0].gains, expected, atol=1e-3)


def test_int8_logits_are_near_float32s(folder: Path, float32: Path, runtime: str) -> None:
    for which, rounded, exact in zip(
        ("first", "last"), logits(folder, runtime), logits(float32, runtime), strict=True
    ):
        difference = np.abs(rounded - exact)
        spread = float(np.ptp(exact))
        print(f"{which}: {difference.mean():.3f}, at most {difference.max():.3f} of {spread:.2f}")
        assert difference.max() < 0.15 * spread
        assert difference.mean() < 0.03 * spread
        assert np.corrcoef(rounded, exact)[0, 1] > 0.98


def test_reference_logits_are_int8s_beside_float32s(
    manifest: Manifest, folder: Path, float32: Path
) -> None:
    for entry in manifest.reference:
        for made, retained in ((folder, entry.logit), (float32, entry.logit_fp32)):
            assert Reranker(made).score(entry.query, [entry.text])[0] == pytest.approx(
                retained, abs=1e-3
            )


def test_held_out_lists_without_a_relevant_document_are_not_scored(folder: Path) -> None:
    source = SOURCES[0]
    unanswered = replace(source.dev, relevant=source.dev.relevant.copy())
    unanswered.relevant[3] = False
    model = load_model(load_artifact(folder))
    result = dev_scores(model, replace(source, dev=unanswered))
    assert len(result) == len(source.dev.queries) - 1
    for entry in result:
        sizes = {
            len(getattr(entry, name)) for name in ("early", "final", "first_stage", "relevant")
        }
        assert sizes <= {DEPTH, DEPTH - 2} and len(sizes) == 1
        assert entry.source == "one" and entry.relevant.sum() == 1


def test_scores_of_an_export_are_probabilities(folder: Path) -> None:
    source = SOURCES[1]
    query = source.query_texts[TRAINED]
    candidates = [Candidate(str(n), text, score=float(n)) for n, text in enumerate(source.texts)]
    for weight in (None, 0.0):
        scores = [hit.score for hit in Reranker(folder).rank(query, candidates, None,
                                                            fusion_weight=weight)]  # fmt: skip
        assert all(score is not None and 0 < score < 1 for score in scores)


def test_an_export_can_be_trained_on(folder: Path) -> None:
    weights = read_weights([folder / name for name in FILES])
    assert set(weights) == set(WEIGHTS)
    assert read_shape(folder / FILES[0]).layers == SHAPE.layers


def test_float32_is_written_without_what_is_fitted(float32: Path) -> None:
    manifest = load_artifact(float32).manifest
    assert {file.name for file in float32.iterdir()} == NAMES
    assert manifest.quantisation == "none (float32)"
    assert (manifest.exits, manifest.calibration, manifest.reference) == ((), None, ())
    result = read_weights([float32 / name for name in FILES])
    for name, value in result.items():
        np.testing.assert_array_equal(value, WEIGHTS[name])


def test_a_second_export_replaces_the_first(
    folder: Path, manifest: Manifest, tokenizer: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(folder, tmp_path / "made"))
    (out / "NOTICE").write_text("stays")
    export(replace(model_of(OTHERS, tokenizer), name="second"), SOURCES[:1], out)
    assert {file.name for file in out.iterdir()} == NAMES | {"NOTICE"}
    result = load_artifact(out).manifest
    assert result.name == "second" and result.fingerprint != manifest.fingerprint
    assert result.calibration is not None and manifest.calibration is not None
    assert result.calibration.pairs < manifest.calibration.pairs
    reranker = Reranker(out)
    assert reranker.verify().max_difference <= result.tolerance


def test_an_export_that_fails_leaves_the_first_as_it_was(
    folder: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("half way")

    out = Path(shutil.copytree(folder, tmp_path / "made"))
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    monkeypatch.setattr(late_interaction, "quantise", fail)
    with pytest.raises(RuntimeError, match="half way"):
        export(model_of(OTHERS, tokenizer), SOURCES, out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
