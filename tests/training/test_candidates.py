"""Candidate lists are what a first stage hands over: in its order, judged by the file's lines."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.errors import DatasetError
from resift.training.candidates import WORDS, Source, read_pairs, read_source

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")

SUBJECTS = ("bucket", "object", "table", "stream", "queue", "function", "cluster", "volume")
VERBS = ("delete", "copy", "encrypt", "restore", "monitor")


def rows() -> list[dict[str, Any]]:
    """40 queries; each one's negatives are about the same subject, or another query's positive."""
    made = []
    for place, subject in enumerate(SUBJECTS):
        for turn, verb in enumerate(VERBS):
            other = VERBS[(turn + 1) % len(VERBS)]
            next_subject = SUBJECTS[(place + 1) % len(SUBJECTS)]
            made.append(
                {
                    "query": f"how to {verb} a {subject}",
                    "positive": positive(verb, subject),
                    "negatives": [
                        f"Pricing of the {subject} when you {verb} it often.",
                        positive(other, subject),
                        positive(verb, next_subject),
                    ],
                }
            )
    return made


def positive(verb: str, subject: str) -> str:
    return f"To {verb} the {subject}, open its page and choose {verb} from the menu."


def embed(texts: Any) -> NDArray[np.float32]:
    """Unit counts of the words that matter: enough for a dense arm with an order of its own."""
    words = (*SUBJECTS, *VERBS)
    counts = np.array([[text.lower().count(word) for word in words] for text in texts], np.float32)
    counts += np.float32(0.01)
    result: NDArray[np.float32] = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return result


def written(folder: Path, lines: list[dict[str, Any]], name: str = "made.jsonl") -> Path:
    file = folder / name
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    data = text.encode("utf-8")
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return read_source(written(tmp_path, rows()), 12, embed)


def test_there_are_two_lists_a_query_and_no_more_queries_than_asked(source: Source) -> None:
    queries = {own.query for own in source.lists}
    assert source.name == "made"
    assert len(queries) == 12
    assert len(source.lists) == 24
    assert len(set(source.texts)) == len(source.texts)


def test_relevant_is_what_a_line_says_and_nothing_else(source: Source) -> None:
    positives = {row["query"]: row["positive"] for row in rows()}
    for own in source.lists:
        found = [source.texts[place] for place in own.documents]
        assert own.relevant.tolist() == [text == positives[own.query] for text in found]
        assert own.relevant.sum() == 1


def test_a_querys_own_negatives_are_candidates_and_never_relevant(source: Source) -> None:
    negatives = {row["query"]: set(row["negatives"]) for row in rows()}
    seen = 0
    for own in source.lists:
        for place, relevant in zip(own.documents, own.relevant, strict=True):
            if source.texts[place] in negatives[own.query]:
                seen += 1
                assert not relevant
    assert seen >= len(source.lists)


def test_a_text_that_another_line_calls_relevant_is_relevant(tmp_path: Path) -> None:
    lines = rows()
    second = lines[0]["negatives"][0]
    lines.append({"query": lines[0]["query"], "positive": second})
    source = read_source(written(tmp_path, lines), len(lines), embed)
    lists = [own for own in source.lists if own.query == lines[0]["query"]]
    assert len(lists) == 2
    for own in lists:
        relevant = {source.texts[own.documents[i]] for i in np.flatnonzero(own.relevant)}
        assert relevant == {lines[0]["positive"], second}


def test_lists_are_in_first_stage_order_with_falling_scores(source: Source) -> None:
    for own in source.lists:
        assert len(own.documents) == len(own.scores) == len(own.relevant) > 1
        assert len(set(own.documents)) == len(own.documents)
        assert np.all(np.diff(own.scores) <= 0)
        assert np.all(own.scores > 0)
        assert own.scores[0] > own.scores[-1]


def test_the_lexical_list_holds_shared_words_only_and_the_fused_one_more(source: Source) -> None:
    for by_words, by_both in zip(source.lists[::2], source.lists[1::2], strict=True):
        assert by_words.query == by_both.query
        wanted = {word for word in (*SUBJECTS, *VERBS) if word in by_words.query}
        for place in by_words.documents:
            assert any(word in source.texts[place].lower() for word in wanted)
        assert set(by_words.documents) < set(by_both.documents)
        assert by_both.scores[0] == pytest.approx(2 / 61, abs=2e-3)  # first, or near it, in both


def test_a_list_without_a_hit_is_left_out(tmp_path: Path) -> None:
    lines = [*rows(), {"query": "zebra", "positive": "Nothing shared with anything."}]
    source = read_source(written(tmp_path, lines), len(lines), embed)
    assert sum(own.query == "zebra" for own in source.lists) <= 1  # words find nothing at all
    assert all(own.relevant.any() for own in source.lists)


def test_long_texts_are_cut_to_words(tmp_path: Path) -> None:
    lines = rows()
    lines[0]["positive"] += " and so on" * 100
    source = read_source(written(tmp_path, lines), len(lines), embed)
    assert max(len(text.split()) for text in source.texts) == WORDS
    cut = [own for own in source.lists if own.query == lines[0]["query"]]
    assert cut and all(own.relevant.sum() == 1 for own in cut)


def test_the_same_file_gives_the_same_lists(source: Source, tmp_path: Path) -> None:
    packed = read_source(written(tmp_path, rows(), "made.jsonl.gz"), 12, embed)
    assert packed.name == source.name
    assert packed.texts == source.texts
    assert [own.documents for own in packed.lists] == [own.documents for own in source.lists]


@pytest.mark.parametrize("bad", ["{", '{"query": "no positive"}', "[1]", "", "7"])
@pytest.mark.parametrize("name", ["made.jsonl", "made.jsonl.gz"])
def test_a_line_that_is_no_pair_is_named(bad: str, name: str, tmp_path: Path) -> None:
    good = json.dumps({"query": "q", "positive": "é"}, ensure_ascii=False)
    data = f"{good}\n{good}\n{bad}\n{good}\n".encode()
    file = tmp_path / name
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(DatasetError) as caught:
        read_pairs(file)
    assert str(caught.value).startswith(f"{file}:3: expected a line of")


def test_pairs_are_read_as_utf8(tmp_path: Path) -> None:
    file = written(tmp_path, [{"query": "où", "positive": "là"}])
    assert read_pairs(file) == [{"query": "où", "positive": "là"}]
