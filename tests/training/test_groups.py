"""Groups depend on seed and step alone, hold one answer each, and lose no document on the way."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.errors import ResiftError
from resift.rerank.artifact import TOKENIZER
from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.training.mining import NONE, Lists, Mined
from resift.training.recipe import NetworkSpec
from texts import passages
from training.lists import take

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402 - only where it is installed

from resift.training.groups import CHUNKS, Batches, Corpus, Groups, pad  # noqa: E402

TOKENS = Tokens(load_tokenizer(BUNDLED / TOKENIZER), 64)
TEXTS = [f"{position} {text}" for position, text in enumerate(passages(40, longest=300))]
LISTS, DEPTH, WIDTH = 12, 7, 4
UNANSWERED = 5  # the list that has no answer in it
QUERY_LIMIT, LIMIT = 8, 24
LIMITS = NetworkSpec(query_tokens=QUERY_LIMIT, document_tokens=LIMIT)

Document = tuple[int, int]


def lists(seed: int) -> Lists:
    """Lists of 2 to 7 documents, one to three of them relevant, in any order."""
    rng = np.random.default_rng(seed)
    documents = np.stack([rng.permutation(len(TEXTS))[:DEPTH] for _ in range(LISTS)])
    relevant = np.zeros((LISTS, DEPTH), np.bool_)
    for row in range(LISTS):
        size = int(rng.integers(2, DEPTH + 1))
        documents[row, size:] = NONE
        relevant[row, rng.permutation(size)[: 1 + int(rng.integers(min(size - 1, 3)))]] = True
    relevant[UNANSWERED] = False
    nothing = np.zeros((LISTS, DEPTH), np.float32)
    queries = rng.permutation(2 * LISTS)[:LISTS]  # the others are measured on
    untrained = np.zeros((LISTS, DEPTH, 3), np.float32)
    scores = rng.gamma(2.0, size=(LISTS, DEPTH)).astype(np.float32)
    return Lists(queries, documents, relevant, untrained, nothing, scores)


def corpus(number: int) -> Corpus:
    """A corpus whose texts and queries are like no other's; its teacher knows every second list."""
    queries = tuple(f"corpus {number} query {position}" for position in range(2 * LISTS))
    texts = tuple(f"corpus {number} text {text}" for text in TEXTS)
    entry = lists(number)
    mined = Mined(f"made-{number}", texts, queries, entry, take(entry, np.arange(0)))
    teacher = np.random.default_rng(number).normal(size=(LISTS, DEPTH)).astype(np.float32)
    teacher[::2] = np.nan
    return Corpus.of(mined, TOKENS, LIMITS, teacher)


CORPORA = [corpus(0), corpus(1)]
EMPTY = take(lists(0), np.arange(0))
ANSWERED = {(number, row) for number in (0, 1) for row in range(LISTS) if row != UNANSWERED}


def batches(queries: int = 4, documents: int = WIDTH, seed: int = 7) -> Batches:
    return Batches(CORPORA, queries, documents, seed)


def lists_of(groups: Groups) -> list[tuple[int, int]]:
    """(corpus, row of its lists) of each group, known by the query's tokens."""
    known = {
        tuple(entry.queries[int(query)].tolist()): (number, row)
        for number, entry in enumerate(CORPORA)
        for row, query in enumerate(entry.mined.train.queries)
    }
    rows = zip(groups.queries.ids, groups.queries.mask, strict=True)
    return [known[tuple(ids[mask].tolist())] for ids, mask in rows]


DOCUMENTS = {
    tuple(entry.documents[position].tolist()): (number, position)
    for number, entry in enumerate(CORPORA)
    for position in range(len(TEXTS))
}


def documents_of(groups: Groups) -> dict[int, Document]:
    """Index among queries × documents → (corpus, text), known by the document's tokens."""
    result: dict[int, Document] = {}
    for chunk in groups.chunks:
        for ids, mask, position in zip(chunk.rows.ids, chunk.rows.mask, chunk.indices, strict=True):
            assert int(position) not in result
            result[int(position)] = DOCUMENTS[tuple(ids[mask].tolist())]
    return result


def tensors(groups: Groups) -> Iterator[torch.Tensor]:
    for rows in (groups.queries, *(chunk.rows for chunk in groups.chunks)):
        yield from (rows.ids, rows.mask, rows.content)
    for chunk in groups.chunks:
        yield from (chunk.query, chunk.indices)
    yield from (groups.labels, groups.present, groups.teacher.nan_to_num(99.0))


def same(first: Groups, other: Groups) -> bool:
    pairs = list(zip(tensors(first), tensors(other), strict=False))
    return len(first.chunks) == len(other.chunks) and all(torch.equal(a, b) for a, b in pairs)


def test_texts_can_be_told_apart_by_their_tokens() -> None:
    assert len(DOCUMENTS) == len(CORPORA) * len(TEXTS)


def test_the_same_seed_and_step_give_the_same_groups_whatever_came_before() -> None:
    steps = list(range(12))
    once = [batches().at(step) for step in steps]
    other = batches()
    backwards = [other.at(step) for step in reversed(steps)][::-1]
    assert all(same(a, b) for a, b in zip(once, backwards, strict=True))
    assert not any(same(once[0], entry) for entry in once[1:])
    assert not same(once[0], batches(seed=8).at(0))


@pytest.mark.parametrize("queries", [1, 2, 4, 11, 22])
def test_every_list_with_a_relevant_document_is_used_once_per_epoch(queries: int) -> None:
    entry = batches(queries)
    assert len(entry) == len(ANSWERED) // queries
    orders = []
    for epoch in range(3):
        steps = range(epoch * len(entry), (epoch + 1) * len(entry))
        seen = [position for step in steps for position in lists_of(entry.at(step))]
        assert len(seen) == len(entry) * queries
        assert len(set(seen)) == len(seen)
        assert set(seen) <= ANSWERED
        assert len(ANSWERED) - len(seen) < queries  # fewer than a step's are left for another time
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def test_what_one_epoch_leaves_out_another_takes_in() -> None:
    entry = batches(4)  # 22 lists: two are left out of each epoch
    seen = {position for step in range(4 * len(entry)) for position in lists_of(entry.at(step))}
    assert seen == ANSWERED


def test_a_step_uses_all_lists_if_there_are_few() -> None:
    entry = batches(100)
    assert len(entry) == 1
    assert set(lists_of(entry.at(0))) == set(lists_of(entry.at(3))) == ANSWERED


@pytest.mark.parametrize("width", [1, 2, 4, 9])
def test_each_group_has_a_relevant_document_and_then_irrelevant_ones(width: int) -> None:
    entry = batches(documents=width)
    for step in range(2 * len(entry)):
        groups = entry.at(step)
        assert groups.labels.shape == groups.present.shape == groups.teacher.shape == (4, width)
        assert groups.labels[:, 0].all() and groups.present[:, 0].all()
        assert not groups.labels[:, 1:].any()
        result = documents_of(groups)
        for group, (number, row) in enumerate(lists_of(groups)):
            train = CORPORA[number].mined.train
            relevant = train.documents[row][train.relevant[row]].tolist()
            others = train.documents[row][~train.relevant[row]].tolist()
            drawn = [result[position] for position in sorted(result) if position // width == group]
            assert {corpus for corpus, _ in drawn} == {number}
            assert drawn[0][1] in relevant
            wrong = [text for _, text in drawn[1:]]
            assert len(set(wrong)) == len(wrong)
            assert set(wrong) <= set(others) - {NONE}
            assert len(wrong) == min(width - 1, len(set(others) - {NONE}))


def test_documents_of_a_list_are_drawn_anew_in_each_epoch() -> None:
    entry = batches()
    drawn: dict[tuple[int, int], set[Document]] = {}
    firsts: dict[tuple[int, int], set[Document]] = {}
    for step in range(20 * len(entry)):
        groups = entry.at(step)
        result = documents_of(groups)
        for group, position in enumerate(lists_of(groups)):
            firsts.setdefault(position, set()).add(result[group * WIDTH])
            drawn.setdefault(position, set()).update(
                text for at, text in result.items() if at // WIDTH == group
            )
    for number, row in ANSWERED:
        train = CORPORA[number].mined.train
        known = train.documents[row] != NONE
        assert drawn[number, row] == {(number, int(entry)) for entry in train.documents[row][known]}
        assert len(firsts[number, row]) == train.relevant[row].sum()


@pytest.mark.parametrize("queries", [1, 4, 22])
def test_chunks_cover_every_document_once_in_length_order(queries: int) -> None:
    for step in range(4):
        groups = batches(queries).at(step)
        indices = torch.cat([chunk.indices for chunk in groups.chunks]).tolist()
        assert sorted(indices) == torch.nonzero(groups.present.flatten()).flatten().tolist()
        assert 0 < len(groups.chunks) <= CHUNKS
        lengths = [chunk.rows.mask.sum(1).tolist() for chunk in groups.chunks]
        in_order = list(chain.from_iterable(lengths))
        assert in_order == sorted(in_order)
        for chunk, entry in zip(groups.chunks, lengths, strict=True):
            assert chunk.query.tolist() == [
                position // WIDTH for position in chunk.indices.tolist()
            ]
            assert chunk.rows.ids.shape[1] == max(entry)


def test_short_lists_leave_columns_empty() -> None:
    groups = batches(22, documents=DEPTH).at(0)
    sizes = {position: 0 for position in lists_of(groups)}
    for number, row in sizes:
        train = CORPORA[number].mined.train
        others = (train.documents[row] != NONE) & ~train.relevant[row]
        sizes[number, row] = 1 + int(others.sum())
    assert groups.present.sum(1).tolist() == list(sizes.values())
    assert not groups.present.all()
    assert torch.isnan(groups.teacher[~groups.present]).all()


def test_the_teachers_values_are_those_of_the_documents_drawn() -> None:
    known = Counter[bool]()
    for step in range(len(batches())):
        groups = batches().at(step)
        result = documents_of(groups)
        for group, (number, row) in enumerate(lists_of(groups)):
            columns = CORPORA[number].mined.train.documents[row].tolist()
            for column in range(WIDTH):
                value = float(groups.teacher[group, column])
                if groups.present[group, column]:
                    _, text = result[group * WIDTH + column]
                    expected = CORPORA[number].teacher[row, columns.index(text)]
                    np.testing.assert_equal(value, float(expected))
                    known[bool(np.isnan(value))] += 1
    assert known[True] and known[False]


def test_every_second_group_has_the_first_stages_standardised_scores() -> None:
    spoke = Counter[bool]()
    for step in range(len(batches())):
        groups = batches().at(step)
        result = documents_of(groups)
        for group, (number, row) in enumerate(lists_of(groups)):
            lists = CORPORA[number].mined.train
            columns = [entry for entry in lists.documents[row].tolist() if entry != NONE]
            scores = lists.lexical[row][: len(columns)].astype(np.float64)
            for column in np.flatnonzero(groups.present[group]):
                _, text = result[group * WIDTH + int(column)]
                entry = (scores[columns.index(text)] - scores.mean()) / (scores.std() or 1.0)
                value = float(groups.first_stage[group, column])
                assert value == pytest.approx(entry if group % 2 else 0.0, abs=1e-5)
                spoke[value != 0] += 1
        assert not groups.first_stage[~groups.present].any()
    assert spoke[True] and spoke[False]


def test_long_texts_are_cut_and_still_end_as_a_text_ends() -> None:
    documents = Corpus.of(
        Mined("made", tuple(TEXTS), (), EMPTY, EMPTY), TOKENS, LIMITS, EMPTY.teacher
    ).documents
    cut = 0
    for position, row in enumerate(TOKENS.single(TEXTS)):
        whole = row.ids.tolist()
        expected = whole if len(whole) <= LIMIT else [*whole[: LIMIT - 1], whole[-1]]
        assert documents[position].tolist() == expected
        cut += len(whole) > LIMIT
    assert 0 < cut < len(TEXTS)


def test_padded_rows_know_their_tokens_and_their_content_tokens() -> None:
    rows: list[NDArray[np.int32]] = [np.arange(1, size + 1, dtype=np.int32) for size in (3, 6, 2)]
    padded = pad(rows)
    assert padded.ids.tolist() == [[1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6], [1, 2, 0, 0, 0, 0]]
    assert padded.mask.tolist() == (padded.ids > 0).tolist()
    for ids, entry, size in zip(padded.ids, padded.content, (3, 6, 2), strict=True):
        assert ids[entry].tolist() == list(range(2, size))  # neither the first nor the last
    assert padded.ids.dtype == torch.int64


def test_lists_without_a_relevant_document_are_refused() -> None:
    train = take(CORPORA[0].mined.train, np.array([UNANSWERED]))
    mined = Mined("made", CORPORA[0].mined.texts, CORPORA[0].mined.query_texts, train, train)
    empty = Corpus.of(mined, TOKENS, LIMITS, np.zeros((1, DEPTH), np.float32))
    with pytest.raises(ResiftError, match=r"made|relevant"):
        Batches([empty], 4, WIDTH, 7).at(0)
