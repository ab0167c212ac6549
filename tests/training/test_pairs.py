"""A source holds what its file says of the sampled queries, and nothing that models are judged on.

The reference reads the same lines the slow way: sets of texts, no indices.
"""

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.errors import DatasetError
from resift.training import pairs
from resift.training.pairs import (
    JudgedTexts,
    Removed,
    TrainingSource,
    normalised,
    read_judged,
    read_pairs,
    read_source,
)
from resift.training.recipe import SourceSpec

NOTHING = JudgedTexts(frozenset(), frozenset())
WORDS = 12
QUERIES = [f"how to mend thing number {index}" for index in range(30)]
TEXTS = [f"Thing {index} is mended by turning the red handle slowly" for index in range(40)]
LONG = [f"{' '.join(['again'] * WORDS)} and then once more {index}" for index in range(4)]

Row = dict[str, Any]


def rows(seed: int = 0, count: int = 60) -> list[Row]:
    """Lines in which queries, positives and negatives come more than once, in each other's role."""
    rng = random.Random(seed)
    return [
        {
            "query": rng.choice(QUERIES),
            "positive": rng.choice(TEXTS + LONG),
            "negatives": rng.sample(TEXTS + LONG, rng.randint(0, 3)),
        }
        for _ in range(count)
    ]


def written(folder: Path, lines: Sequence[Row], name: str = "made.jsonl") -> Path:
    return raw(folder, [json.dumps(line, ensure_ascii=False) for line in lines], name)


def raw(folder: Path, lines: Sequence[str], name: str = "made.jsonl") -> Path:
    data = "".join(line + "\n" for line in lines).encode()
    file = folder / name
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


def read(
    file: Path, queries: int = 8, dev: int = 4, judged: JudgedTexts = NOTHING, seed: int = 7
) -> tuple[TrainingSource, Removed]:
    return read_source(file, SourceSpec("made", "MIT", queries, dev), judged, WORDS, seed)


def cut(text: str) -> str:
    return " ".join(text.split()[:WORDS])


def judged_by(folder: Path, queries: Sequence[str], texts: Sequence[str]) -> JudgedTexts:
    """What a BEIR folder with these queries and passages keeps out."""
    beir = folder / "beir"
    beir.mkdir()
    raw(
        beir,
        [json.dumps({"_id": str(i), "text": q}) for i, q in enumerate(queries)],
        "queries.jsonl",
    )
    raw(beir, [json.dumps({"_id": str(i), "text": t}) for i, t in enumerate(texts)], "corpus.jsonl")
    return read_judged([beir])


@pytest.mark.parametrize("seed", range(6))
def test_each_sampled_query_has_the_positives_and_negatives_of_all_its_lines(
    seed: int, tmp_path: Path
) -> None:
    lines = rows(seed)
    source, removed = read(written(tmp_path, lines))
    assert removed == Removed()
    assert len(source.queries) == len(set(source.queries)) == 12
    for query, positives, negatives in zip(
        source.queries, source.positives, source.negatives, strict=True
    ):
        entry = [line for line in lines if line["query"] == query]
        right = {cut(line["positive"]) for line in entry}
        wrong = {cut(text) for line in entry for text in line["negatives"]}
        assert {source.texts[index] for index in positives} == right
        assert {source.texts[index] for index in negatives} == wrong - right
        assert len(positives) == len(set(positives)) > 0
        assert len(negatives) == len(set(negatives))


def test_a_positive_of_another_line_is_no_negative() -> None:
    lines = rows(0)
    positives = {(line["query"], cut(line["positive"])) for line in lines}
    named = {(line["query"], cut(text)) for line in lines for text in line["negatives"]}
    assert positives & named  # or the test above says nothing of it


def test_texts_are_cut_and_each_is_there_once(tmp_path: Path) -> None:
    lines = rows()
    source, _ = read(written(tmp_path, lines))
    assert len(set(source.texts)) == len(source.texts)
    assert set(source.texts) >= {cut(line["positive"]) for line in lines}  # a corpus of them all
    assert max(len(text.split()) for text in source.texts) == WORDS
    assert sum(text.startswith("again again") for text in source.texts) == 1  # alike once cut


def test_texts_that_differ_in_spaces_are_one(tmp_path: Path) -> None:
    lines = [{"query": QUERIES[0], "positive": TEXTS[0], "negatives": [f"  {TEXTS[0]}\n"]}]
    source, _ = read(written(tmp_path, lines))
    assert source.texts == (TEXTS[0],)
    assert source.negatives == ((),)


def test_positives_of_other_queries_fill_a_small_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, rows(count=200))
    monkeypatch.setattr(pairs, "MIN_TEXTS", 0)
    alone = read(file, queries=2, dev=0)[0]
    monkeypatch.setattr(pairs, "MIN_TEXTS", len(alone.texts) + 5)
    filled = read(file, queries=2, dev=0)[0]
    assert filled.texts[: len(alone.texts)] == alone.texts
    assert len(filled.texts) == len(alone.texts) + 5
    assert (filled.queries, filled.positives) == (alone.queries, alone.positives)


@pytest.mark.parametrize("name", ["made.jsonl", "made.jsonl.gz"])
def test_the_same_seed_gives_the_same_source(name: str, tmp_path: Path) -> None:
    first = read(written(tmp_path, rows()))
    assert read(written(tmp_path, rows(), name)) == first
    sampled = {read(written(tmp_path, rows(), name), seed=seed)[0].queries for seed in range(5)}
    assert len(sampled) == 5


def test_the_order_of_lines_samples_no_other_queries(tmp_path: Path) -> None:
    lines = rows()
    assert (
        read(written(tmp_path, lines))[0].queries == read(written(tmp_path, lines[::-1]))[0].queries
    )


@pytest.mark.parametrize("queries", [0, 1, 8, 100])
def test_dev_queries_are_the_same_however_many_are_trained_on(queries: int, tmp_path: Path) -> None:
    file = written(tmp_path, rows())
    known = {line["query"] for line in rows()}
    source, _ = read(file, queries)
    assert len(source.queries) == min(queries + 4, len(known))
    assert source.dev == frozenset(range(4))
    assert source.queries[:4] == read(file, 0)[0].queries
    trained_on = [query for index, query in enumerate(source.queries) if index not in source.dev]
    assert len(trained_on) == len(source.queries) - 4
    assert not {source.queries[index] for index in source.dev} & set(trained_on)


WRITTEN_OTHERWISE = [
    str,
    str.upper,
    lambda text: f"  {text.replace(' ', '   ')} ",
    lambda text: f"“{text.replace(' ', ', ')}”!?",
    lambda text: text.replace(" ", "_"),
    lambda text: text.replace(" ", "\n- ").title(),
]


@pytest.mark.parametrize("otherwise", WRITTEN_OTHERWISE)
def test_judged_queries_and_passages_are_removed_however_they_are_written(
    otherwise: Any, tmp_path: Path
) -> None:
    lines = [
        {"query": query, "positive": text} for query, text in zip(QUERIES, TEXTS, strict=False)
    ]
    judged = judged_by(
        tmp_path, [otherwise(QUERIES[3]), otherwise(QUERIES[4])], [otherwise(TEXTS[5])]
    )
    source, removed = read(written(tmp_path, lines), queries=100, judged=judged)
    assert removed == Removed(judged_queries=2, judged_texts=1)
    assert set(source.queries) == set(QUERIES) - set(QUERIES[3:6])
    assert set(source.texts) == set(TEXTS[: len(QUERIES)]) - set(TEXTS[3:6])


def test_judged_passages_are_no_negatives_either(tmp_path: Path) -> None:
    lines = [{"query": QUERIES[0], "positive": TEXTS[0], "negatives": [TEXTS[1], TEXTS[2]]}]
    judged = judged_by(tmp_path, [QUERIES[9]], [TEXTS[1].upper()])
    source, _ = read(written(tmp_path, lines), judged=judged)
    assert set(source.texts) == {TEXTS[0], TEXTS[2]}


def test_blank_negatives_are_left_out(tmp_path: Path) -> None:
    lines = [{"query": QUERIES[0], "positive": TEXTS[0], "negatives": ["", " ", TEXTS[1]]}]
    source, _ = read(written(tmp_path, lines))
    assert set(source.texts) == {TEXTS[0], TEXTS[1]}


WORD = st.text(st.characters(categories=["Ll", "Lu", "Nd"], max_codepoint=0x24F), min_size=1)
BETWEEN = st.text(" \t\n.,;:!?-_()'\"", min_size=1, max_size=4)


@given(st.lists(WORD, min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_only_words_count_when_texts_are_compared(words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    between = data.draw(st.lists(BETWEEN, min_size=len(words) + 1, max_size=len(words) + 1))
    respaced = between[0] + "".join(
        word + gap for word, gap in zip(words, between[1:], strict=True)
    )
    assert normalised(respaced) == normalised(text)
    assert normalised(text.lower()) == normalised(text)
    assert normalised(f"{text} more") != normalised(text)
    assert normalised("".join(words) + "x") != normalised(text)


@pytest.mark.parametrize("blank", ["query", "positive"])
def test_an_empty_text_is_named_by_its_line(blank: str, tmp_path: Path) -> None:
    file = written(tmp_path, [{"query": QUERIES[1], "positive": TEXTS[1]} | {blank: "  "}])
    with pytest.raises(DatasetError, match=r"made\.jsonl:1: query or positive is empty"):
        list(read_pairs(file))


@pytest.mark.parametrize(
    "row",
    [
        {"query": QUERIES[1], "positive": "only three words"},
        {"query": QUERIES[1], "positive": '{"id": 17, "at": [3, 4], "to": {"x": 0.25}}'},
        {"query": QUERIES[1], "positive": "17 18 19 20 21 years"},
    ],
    ids=["short", "JSON", "numbers"],
)
def test_unreadable_positives_are_dropped_and_counted(row: Row, tmp_path: Path) -> None:
    lines = [{"query": QUERIES[0], "positive": TEXTS[0]}, row, row]
    source, removed = read(written(tmp_path, lines))
    assert removed == Removed(unreadable=2)
    assert source.queries == (QUERIES[0],)
    assert source.texts == (TEXTS[0],)


@pytest.mark.parametrize("name", ["made.jsonl", "made.jsonl.gz"])
def test_pairs_are_read_in_order_as_utf8_and_blank_lines_are_none(
    name: str, tmp_path: Path
) -> None:
    lines = [{"query": "où est-ce", "positive": "là-bas"}, {"query": "q", "positive": "p"}]
    messages = [json.dumps(line, ensure_ascii=False) for line in lines]
    read = list(read_pairs(raw(tmp_path, [messages[0], "", "  ", messages[1]], name)))
    assert read == [line | {"negatives": []} for line in lines]


@pytest.mark.parametrize("name", ["made.jsonl", "made.jsonl.gz"])
@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[1]",
        "7",
        "null",
        '"text"',
        '{"query": "no positive"}',
        '{"positive": "no query"}',
        '{"query": 7, "positive": "a number asks"}',
        '{"query": "q", "positive": null}',
        '{"query": "q", "positive": "p", "negatives": 7}',
        '{"query": "q", "positive": "p", "negatives": [7]}',
    ],
)
def test_a_line_that_is_no_pair_is_named(bad: str, name: str, tmp_path: Path) -> None:
    good = json.dumps({"query": "q", "positive": "p"})
    file = raw(tmp_path, [good, "", bad, good], name)
    with pytest.raises(DatasetError) as caught:
        list(read_pairs(file))
    assert str(caught.value).startswith(f"{file}:3: ")
    assert "query" in str(caught.value) and "positive" in str(caught.value)


@pytest.mark.parametrize("negatives", ["one text and no list", {"a": "mapping"}])
def test_negatives_that_are_no_list_are_named(negatives: Any, tmp_path: Path) -> None:
    file = written(tmp_path, [{"query": "q", "positive": "p", "negatives": negatives}])
    with pytest.raises(DatasetError, match=r"made\.jsonl:1: "):
        list(read_pairs(file))


def test_a_line_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "made.jsonl"
    file.write_bytes(b'{"query": "\xff", "positive": "p"}\n')
    with pytest.raises(DatasetError, match=r"made\.jsonl"):
        list(read_pairs(file))


@pytest.mark.parametrize("fault", ["cut off", "not packed"])
def test_a_gz_file_that_cannot_be_unpacked_is_named(fault: str, tmp_path: Path) -> None:
    file = written(tmp_path, rows(), "made.jsonl.gz")
    file.write_bytes(file.read_bytes()[:-20] if fault == "cut off" else b"{}")
    with pytest.raises(DatasetError, match=r"made\.jsonl\.gz"):
        list(read_pairs(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.jsonl\.gz: no such file"):
        read(tmp_path / "none.jsonl.gz")
