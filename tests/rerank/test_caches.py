"""Cached pairs are not scored again, no two share a key, and no fault of a file costs a score."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import WordCountModel
from resift import Reranker
from resift.rerank import caches as caches_module
from resift.rerank.cache_file import Score
from resift.rerank.caches import ENTRY_BYTES, PairCache, StateCache
from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.precompute import EncodedDocument
from resift.rerank.text_tokens import TextTokens
from resift.settings import Settings
from texts import QUESTIONS, passages

QUERY = "red blue"
KEYS = [bytes([n]) * 16 for n in range(20)]
SCORES = {key: Score((n / 7, n / 3), n, 2 * n, 3 * n, bytes([n])) for n, key in enumerate(KEYS)}


@given(st.tuples(*[st.text(max_size=12)] * 3), st.tuples(*[st.text(max_size=12)] * 3))
def test_other_settings_queries_or_texts_have_other_keys(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    keys = [PairCache(settings, 1).keys(query, [text]) for settings, query, text in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)


def test_a_border_between_query_and_text_is_seen() -> None:
    cache = PairCache("model", 1)
    assert cache.keys("ab", ["c"]) != cache.keys("a", ["bc"])


def test_what_was_put_comes_back_and_nothing_else() -> None:
    cache = PairCache("model", 1)
    cache.put(dict(list(SCORES.items())[:10]))
    assert cache.get(KEYS) == dict(list(SCORES.items())[:10])


def test_the_least_recently_used_make_room() -> None:
    cache = PairCache("model", 3 * ENTRY_BYTES / 1e6)
    cache.put({key: SCORES[key] for key in KEYS[:3]})
    cache.get([KEYS[0]])
    cache.put({KEYS[3]: SCORES[KEYS[3]]})
    assert set(cache.get(KEYS)) == {KEYS[0], KEYS[2], KEYS[3]}


def test_a_file_outlives_its_cache(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    PairCache("model", 1, file).put(SCORES)
    assert PairCache("model", 1, file).get(KEYS) == SCORES


def test_a_file_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches_module, "ROW_BYTES", 100_000)
    file = tmp_path / "pairs.db"
    for key in KEYS:
        PairCache("model", 0.5, file).put({key: SCORES[key]})
    assert set(PairCache("model", 0.5, file).get(KEYS)) == set(KEYS[-5:])


def test_a_file_that_another_process_writes_is_skipped_once(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    cache = PairCache("model", 1, file)
    cache.put({KEYS[0]: SCORES[KEYS[0]]})
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    cache.put({KEYS[1]: SCORES[KEYS[1]]})
    other.rollback()
    other.close()
    cache.put({KEYS[2]: SCORES[KEYS[2]]})
    assert set(PairCache("model", 1, file).get(KEYS)) == {KEYS[0], KEYS[2]}


WRITER = """
import sys
from pathlib import Path
from resift.rerank.caches import PairCache
from resift.rerank.cache_file import Score
cache = PairCache("model", 10, Path(sys.argv[1]))
number = 0
while True:
    keys = {n.to_bytes(16, "big"): Score((n / 2,), n, 0, n) for n in range(number, number + 50)}
    cache.put(keys)
    number += 50
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.db"
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        written = [int(writer.stdout.readline()) for _ in range(8)][-1]
        time.sleep(0.02)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        keys = [n.to_bytes(16, "big") for n in range(written)]
        cache = PairCache("model", 10, file)
        expected = {key: Score((n / 2,), n, 0, n) for n, key in enumerate(keys)}
        end = time.monotonic() + 30  # while the file is busy, its scores are misses
        while cache.get(keys) != expected:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_fork_opens_the_file_again(tmp_path: Path) -> None:
    cache = PairCache("model", 1, tmp_path / "pairs.db")
    cache.put({KEYS[0]: SCORES[KEYS[0]]})
    child = os.fork()
    if not child:
        cache.put({KEYS[1]: SCORES[KEYS[1]]})
        os._exit(0)
    os.waitpid(child, 0)
    assert set(cache.get(KEYS)) == set(KEYS[:2])


def test_the_engine_scores_no_pair_twice() -> None:
    model = WordCountModel()
    engine = Engine(model, cache=PairCache("model", 1))
    first = engine.score(QUERY, ["red", "sky " * 90, ""])
    calls = len(model.calls)
    again = engine.score(QUERY, ["", "red", "sky " * 90, "blue blue"])
    assert again.logits[[1, 2]].tolist() == first.logits[:2].tolist()
    assert again.cached.tolist() == [False, True, True, False]
    assert again.statuses == ["empty", "ok", "cut", "ok"]
    assert again.rows[2].seen == first.rows[1].seen and again.rows[2].end == first.rows[1].end
    assert [size for _, size in model.calls[calls:]] == [1, 1]
    assert again.tokens == len(again.rows[3].ids)
    other = engine.score("green", ["red"])
    assert not other.cached.any()


def test_a_call_that_stopped_early_is_not_cached() -> None:
    engine = Engine(WordCountModel(), cache=PairCache("model", 1))
    engine.score(QUERY, ["red"], Deadline(budget_ms=0))
    assert not engine.score(QUERY, ["red"]).cached.any()


def test_cached_pairs_are_a_result_even_without_time() -> None:
    engine = Engine(WordCountModel(), cache=PairCache("model", 1))
    engine.score(QUERY, ["red"])
    state = engine.score(QUERY, ["red", "blue"], Deadline(budget_ms=0))
    assert state.statuses == ["ok", "late"] and state.partial


def test_a_ranking_out_of_the_cache_is_the_same_and_its_receipt_says_so(tmp_path: Path) -> None:
    texts = [*passages(8), "", "lock " * 900]
    settings = Settings(cache_file=str(tmp_path / "pairs.db"))
    plain = Reranker().rank(QUESTIONS[0], texts, top_n=None)
    Reranker(settings=settings).rank(QUESTIONS[0], texts, top_n=None)
    known = Reranker(settings=settings).rank(QUESTIONS[0], texts, top_n=None)
    assert (plain.receipt.cached, known.receipt.cached, known.receipt.tokens) == (0, 9, 0)
    for first, second in zip(plain, known, strict=True):
        assert (first.index, first.status, first.span, first.tokens_seen, first.tokens_dropped) == (
            second.index, second.status, second.span, second.tokens_seen, second.tokens_dropped
        )  # fmt: skip
        if first.logit is not None and second.logit is not None:
            assert abs(first.logit - second.logit) <= 1e-5
    assert [hit.score is not None for hit in known] == [True] * 9 + [False]


@pytest.mark.parametrize("cached", [{"cache_mb": 1}, {"state_cache_mb": 50}])
def test_what_a_budget_left_uncounted_is_counted_where_there_is_no_deadline(
    cached: dict[str, float],
) -> None:
    long = ["red sky " * 100_000]
    fresh = Reranker().rank("red", long)[0]
    reranker = Reranker(settings=Settings(**cached))  # type: ignore[arg-type]
    assert not reranker.rank("red", long, budget_ms=60_000)[0].dropped_counted
    for _ in range(2):
        hit = reranker.rank("red", long)[0]
        assert (hit.dropped_counted, hit.tokens_dropped) == (True, fresh.tokens_dropped)
    if "cache_mb" in cached:
        assert reranker.rank("red", long, budget_ms=60_000)[0].dropped_counted


def _encoded(tokens: int) -> EncodedDocument:
    return EncodedDocument(TextTokens(np.arange(tokens)), np.ones((tokens + 2, 4), np.int8))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 60)), max_size=60))
def test_a_cache_never_holds_more_than_its_bytes(puts: list[tuple[int, int]]) -> None:
    cache = StateCache(0.002)
    for name, tokens in puts:
        cache.put({bytes([name]): _encoded(tokens)})
        precomputed = cache.get(bytes([name]) for name in range(13)).values()
        assert (
            sum(
                document.tokens.ids.nbytes + document.states.nbytes
                for document in precomputed
                if document.states is not None
            )
            <= 2000
        )
        assert cache._size == sum(
            400 + document.tokens.ids.nbytes + document.states.nbytes
            for document in precomputed
            if document.states is not None
        )


def test_the_least_recently_used_states_make_room() -> None:
    cache = StateCache(0.0015)  # two of these
    for name in (b"a", b"b"):
        cache.put({name: _encoded(20)})
    cache.get([b"a"])
    cache.put({b"c": _encoded(20)})
    assert set(cache.get([b"a", b"b", b"c"])) == {b"a", b"c"}
