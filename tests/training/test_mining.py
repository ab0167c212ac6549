"""Mined lists are what two first stages find, marked by the source and measured by the encoder.

The encoder is a fake: a vector a word, exact in float16. BM25's reference is its formula.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.rerank.late_interaction import features, query_states
from resift.rerank.models import Encoder
from resift.training import mining
from resift.training.base import Embed
from resift.training.mining import NONE, Bm25, Lists, Mined, load, mine, save
from resift.training.pairs import TrainingSource
from resift.training.recipe import MiningSpec, SourceSpec
from training.lists import take

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")

DIM = 8
DEV = 6
DEPTH = 4  # of each first stage in a list to measure on, here
TOPICS = ("bucket", "table", "queue", "stream", "cluster", "volume", "gateway", "ledger")
DEEDS = ("remove", "copy", "encrypt", "restore", "monitor", "rename", "share", "audit")
SPEC = SourceSpec("made", "MIT", queries=100, dev=DEV)
MINING = MiningSpec(lexical=4, dense=4, random=2)

Floats = NDArray[np.float32]


class FakeEncoder:
    """Token states by word, between those of two special tokens."""

    def states(self, texts: Sequence[str]) -> Iterator[Floats]:
        for text in texts:
            yield np.stack([vector(word) for word in ("[CLS]", *text.lower().split(), "[SEP]")])


def vector(word: str) -> Floats:
    rng = np.random.default_rng(zlib.crc32(word.encode()))
    return rng.normal(size=DIM).astype(np.float16).astype(np.float32)


def embed(texts: Sequence[str]) -> Floats:
    """Another model's vectors."""
    return np.stack([vector(f"teacher {text}")[:5] for text in texts])


def states(text: str) -> Floats:
    return next(FakeEncoder().states([text]))


def made_source() -> TrainingSource:
    """A query a topic and deed; its answer shares its words or, for every third, none of them."""
    texts: list[str] = []
    queries: list[str] = []
    positives: list[tuple[int, ...]] = []
    negatives: list[tuple[int, ...]] = []
    for topic in TOPICS:
        for deed in DEEDS:
            index = len(texts)
            hidden = index % 3 == 0
            texts.append(
                f"Press key {index + 10} twice, lamp {index + 10} blinks"
                if hidden
                else f"Pages {index + 10} help engineers {deed} {topic} safely"
            )
            if (index + len(topic)) % 2:
                queries.append(f"{deed} {topic}")
                positives.append((index, index + 1) if index % 5 == 0 else (index,))
                negatives.append(((index + 7) % 64,) if index % 4 else ())
    dev = frozenset(range(DEV))
    return TrainingSource(
        "made", tuple(texts), tuple(queries), tuple(positives), tuple(negatives), dev
    )


SOURCE = made_source()


def mined(
    source: TrainingSource = SOURCE,
    spec: SourceSpec = SPEC,
    size: MiningSpec = MINING,
    teacher: Embed | None = embed,
    seed: int = 3,
) -> Mined:
    return mine(source, spec, size, cast(Encoder, FakeEncoder()), teacher, seed)


@pytest.fixture(autouse=True)
def _short_dev_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "DEV_DEPTH", DEPTH)


@pytest.fixture(scope="module")
def made() -> Mined:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mining, "DEV_DEPTH", DEPTH)
        return mined()


def rows_of(lists: Lists) -> Iterator[tuple[int, int, list[int]]]:
    """(row, query, documents) of each list."""
    for row, (query, documents) in enumerate(zip(lists.queries, lists.documents, strict=True)):
        yield row, int(query), [int(entry) for entry in documents if entry != NONE]


def cosines(query: str) -> Floats:
    """Of the query's mean state with each text's."""
    entry = states(query).mean(axis=0)
    means = np.stack([states(text).mean(axis=0) for text in SOURCE.texts])
    result: Floats = means @ entry / np.linalg.norm(means, axis=1) / np.linalg.norm(entry)
    return result


def best(scores: Floats, depth: int) -> set[int]:
    return set(np.argsort(-scores, kind="stable")[:depth].tolist())


def bm25(texts: Sequence[str], query: str, k1: float = 0.9, b: float = 0.4) -> list[float]:
    """Robertson's formula as Lucene has it, over stems, in plain Python."""
    from Stemmer import Stemmer

    def stems(text: str) -> list[str]:
        result: list[str] = Stemmer("english").stemWords(text.lower().replace(",", "").split())
        return result

    documents = [Counter(stems(text)) for text in texts]
    mean = sum(entry.total() for entry in documents) / len(documents)
    scores = []
    for entry in documents:
        score = 0.0
        for stem in stems(query):
            having = sum(stem in other for other in documents)
            rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            long = k1 * (1 - b + b * entry.total() / mean)
            score += rarity * entry[stem] / (entry[stem] + long)
        scores.append(score)
    return scores


@pytest.mark.parametrize(
    "query", ["encrypt buckets", "pages pages engineers", "copied zebra", "key 19 lamps", "zebra"]
)
def test_bm25_is_its_formula_over_stems(query: str) -> None:
    result = Bm25(SOURCE.texts).scores(query)
    np.testing.assert_allclose(result, bm25(SOURCE.texts, query), atol=1e-5)
    assert result.shape == (len(SOURCE.texts),)
    assert (result.max() > 0) == (query != "zebra")


def test_bm25_does_not_count_words_that_every_text_has() -> None:
    lexical = Bm25(SOURCE.texts)
    assert not lexical.scores("the and of").any()
    with_them, without = lexical.scores("Copy the BUCKET, and how?"), lexical.scores("copy bucket")
    np.testing.assert_array_equal(with_them, without)


def test_every_query_has_one_list_and_dev_queries_are_apart(made: Mined) -> None:
    assert set(made.dev.queries.tolist()) == SOURCE.dev
    assert sorted([*made.train.queries, *made.dev.queries]) == list(range(len(SOURCE.queries)))
    assert (made.name, made.texts, made.query_texts) == ("made", SOURCE.texts, SOURCE.queries)


def test_lists_have_no_document_twice_and_end_where_they_end(made: Mined) -> None:
    for lists in (made.train, made.dev):
        for row, _, documents in rows_of(lists):
            assert len(documents) == len(set(documents)) > 0
            assert np.all(lists.documents[row, : len(documents)] != NONE)
            rest = slice(len(documents), None)
            assert not lists.relevant[row, rest].any() and not lists.lexical[row, rest].any()
            assert not lists.untrained[row, rest].any() and np.isnan(lists.teacher[row, rest]).all()
    assert (made.train.documents == NONE).any()  # lists of unlike length are among them


def test_relevant_is_what_the_source_says(made: Mined) -> None:
    for lists in (made.train, made.dev):
        for row, query, documents in rows_of(lists):
            expected = [entry in SOURCE.positives[query] for entry in documents]
            assert lists.relevant[row, : len(documents)].tolist() == expected


def test_training_lists_have_positives_then_the_files_negatives(made: Mined) -> None:
    for row, query, documents in rows_of(made.train):
        positives, named = list(SOURCE.positives[query]), list(SOURCE.negatives[query])
        assert documents[: len(positives)] == positives
        assert not made.train.relevant[row, len(positives) :].any()
        wrong = [entry for entry in named if entry not in positives]
        assert documents[len(positives) : len(positives) + len(wrong)] == wrong


def test_training_lists_have_the_best_of_each_retriever_and_few_others(
    made: Mined,
) -> None:
    lexical = Bm25(SOURCE.texts)
    for _, query, documents in rows_of(made.train):
        words, meaning = lexical.scores(SOURCE.queries[query]), cosines(SOURCE.queries[query])
        assert best(words, MINING.lexical // 2) <= set(documents)
        assert best(meaning, MINING.dense // 2) <= set(documents)
        near = best(words, 2 * MINING.lexical) | best(meaning, 2 * MINING.dense)
        entry = {*SOURCE.positives[query], *SOURCE.negatives[query]}
        assert len(set(documents) - near - entry) <= MINING.random
        assert len(set(documents) - entry) <= MINING.lexical + MINING.dense + MINING.random


def test_training_lists_have_random_texts(made: Mined) -> None:
    lexical = Bm25(SOURCE.texts)
    far = 0
    for _, query, documents in rows_of(made.train):
        words, meaning = lexical.scores(SOURCE.queries[query]), cosines(SOURCE.queries[query])
        near = best(words, 2 * MINING.lexical) | best(meaning, 2 * MINING.dense)
        entry = {*SOURCE.positives[query], *SOURCE.negatives[query]}
        far += len(set(documents) - near - entry)
    assert far > len(made.train.queries) // 2


def test_held_out_lists_are_as_retrieved_without_added_positives(made: Mined) -> None:
    lexical = Bm25(SOURCE.texts)
    missed = 0
    for _, query, documents in rows_of(made.dev):
        result = best(lexical.scores(SOURCE.queries[query]), DEPTH)
        result |= best(cosines(SOURCE.queries[query]), DEPTH)
        assert set(documents) == result | set(SOURCE.negatives[query])
        missed += not set(documents) & set(SOURCE.positives[query])
    assert 0 < missed < len(made.dev.queries)  # some answers no first stage finds


def test_held_out_lists_have_no_random_texts() -> None:
    source = replace(SOURCE, queries=("zebra", *SOURCE.queries[1:]))  # words find nothing at all
    dev = mined(source).dev
    assert source.queries[dev.queries[0]] == "zebra"
    _, query, documents = next(rows_of(dev))
    assert set(documents) == best(cosines("zebra"), DEPTH) | set(source.negatives[query])


@pytest.mark.parametrize("part", ["train", "dev"])
def test_a_source_that_is_not_mined_has_its_positives_and_negatives(part: str) -> None:
    lists: Lists = getattr(mined(spec=replace(SPEC, mined=False)), part)
    assert len(lists.queries) > 0
    for _, query, documents in rows_of(lists):
        assert documents == [*SOURCE.positives[query], *SOURCE.negatives[query]]


@pytest.mark.parametrize("part", ["train", "dev"])
def test_features_are_those_of_late_interaction(part: str, made: Mined) -> None:
    lists: Lists = getattr(made, part)
    for row, query, documents in rows_of(lists):
        entry = [states(SOURCE.texts[index]) for index in documents]
        padded = np.zeros((len(entry), max(len(first) for first in entry) + 2, DIM), np.float32)
        mask = np.zeros(padded.shape[:2], np.int64)
        for index, first in enumerate(entry):
            padded[index, : len(first)] = first
            mask[index, : len(first)] = 1
        expected = features(query_states(states(SOURCE.queries[query])), padded, mask)
        np.testing.assert_allclose(lists.untrained[row, : len(entry)], expected, atol=1e-6)
        assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("part", ["train", "dev"])
def test_teacher_and_lexical_values_are_the_products_and_bm25s(part: str, made: Mined) -> None:
    lists: Lists = getattr(made, part)
    lexical = Bm25(SOURCE.texts)
    for row, query, documents in rows_of(lists):
        size, text = len(documents), SOURCE.queries[query]
        (taught,) = embed([text])
        expected = [float(embed([SOURCE.texts[entry]])[0] @ taught) for entry in documents]
        np.testing.assert_allclose(lists.teacher[row, :size], expected, atol=1e-5)
        np.testing.assert_array_equal(lists.lexical[row, :size], lexical.scores(text)[documents])


def test_without_a_teacher_its_values_are_unknown_and_the_rest_is_the_same(made: Mined) -> None:
    alone = mined(teacher=None)
    for entry, taught in ((alone.train, made.train), (alone.dev, made.dev)):
        assert np.isnan(entry.teacher).all()
        assert same(replace(entry, teacher=taught.teacher), taught)


def same(first: Lists, other: Lists) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") and a.dtype == b.dtype
        for a, b in (
            (getattr(first, entry.name), getattr(other, entry.name)) for entry in fields(Lists)
        )
    )


@pytest.mark.parametrize("at_once", [1, 5])
def test_the_same_seed_gives_the_same_lists_whatever_is_read_at_once(
    at_once: int, made: Mined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining, "QUERY_BATCH", at_once)
    again = mined()
    assert same(again.train, made.train) and same(again.dev, made.dev)


def test_another_seed_samples_other_candidates_and_measures_on_the_same(made: Mined) -> None:
    other = mined(seed=4)
    assert not same(other.train, made.train)
    assert same(other.dev, made.dev)


@pytest.mark.parametrize("teacher", [embed, None])
def test_what_is_saved_is_loaded(teacher: Embed | None, tmp_path: Path) -> None:
    whole = mined(teacher=teacher)
    save(whole, tmp_path / "made.npz")
    result = load(tmp_path / "made.npz")
    assert (result.name, result.texts, result.query_texts) == ("made", SOURCE.texts, SOURCE.queries)
    assert same(result.train, whole.train) and same(result.dev, whole.dev)


def test_an_interrupted_save_leaves_no_file(
    made: Mined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(file: Path, **arrays: object) -> None:
        Path(file).write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save(made, tmp_path / "made.npz")
    assert not (tmp_path / "made.npz").exists()


def test_a_source_to_measure_on_has_no_lists_to_train_on(tmp_path: Path) -> None:
    dev = frozenset(range(len(SOURCE.queries)))
    whole = mined(replace(SOURCE, dev=dev), replace(SPEC, queries=0, dev=len(dev)))
    assert len(whole.train.queries) == 0 and len(whole.dev.queries) == len(dev)
    save(whole, tmp_path / "made.npz")
    result = load(tmp_path / "made.npz")
    assert same(result.train, whole.train) and same(result.dev, whole.dev)


def test_some_of_the_rows_keep_all_that_belongs_to_them(made: Mined) -> None:
    rows = np.array([4, 0, 4])
    taken = take(made.train, rows)
    for entry in fields(Lists):
        np.testing.assert_array_equal(
            getattr(taken, entry.name), getattr(made.train, entry.name)[[4, 0, 4]]
        )
