"""The next candidate depends on what is judged and skipped; each key can be undone."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import InputError
from resift.evaluation.judging import JudgingSession, query_order
from resift.evaluation.judgments import HEADING, Judgments
from resift.evaluation.pool import Pool
from resift.evaluation.trec import read_qrels
from resift.types import Document

QUERIES = {"q1": "first", "q2": "second", "q3": "none", "q4": "last"}
POOLS = {"q1": ("a", "b", "c"), "q2": ("c", "d"), "q3": (), "q4": ("a",)}
ALL = [(query_id, doc_id) for query_id, names in POOLS.items() for doc_id in names]

Start = Callable[[], JudgingSession]


def made_pool(query_id: str) -> Pool:
    return Pool(tuple(Document(name, f"text of {name}") for name in POOLS[query_id]))


BEFORE: list[Judgments] = []


def start_at(file: Path) -> JudgingSession:
    """A new session, after the one before has ended."""
    while BEFORE:
        BEFORE.pop().close()
    BEFORE.append(Judgments(file))
    return JudgingSession(QUERIES, made_pool, BEFORE[-1])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "qrels.tsv"


def shown(session: JudgingSession) -> tuple[str, str] | None:
    item = session.current()
    return None if item is None else (item.query_id, item.document.id)


def rest(session: JudgingSession, key: str = "0") -> list[tuple[str, str]]:
    """The pairs shown until nothing is left, all judged by the same key."""
    seen = []
    while (now := shown(session)) is not None:
        seen.append(now)
        session.press(key)
    return seen


def test_all_candidates_of_all_queries_come_once_in_order(file: Path) -> None:
    assert rest(start_at(file)) == ALL
    assert sum(map(len, read_qrels(file).values())) == len(ALL)
    assert shown(start_at(file)) is None


def test_an_item_has_its_numbers(file: Path) -> None:
    session = start_at(file)
    for key in "101":
        session.press(key)
    item = session.current()
    assert item is not None
    assert (item.query_id, item.query, item.document.id) == ("q2", "second", "c")
    assert (item.number, item.count, item.query_number, item.queries) == (1, 2, 2, 4)
    assert session.judged == 3


@pytest.mark.parametrize(("grade", "scale"), [(1, "0-1"), (2, "0-2"), (3, "0-3")])
def test_the_keys_of_a_scale_are_its_grades(file: Path, grade: int, scale: str) -> None:
    session = JudgingSession(QUERIES, made_pool, Judgments(file), scale)
    session.press(str(grade))
    assert read_qrels(file) == {"q1": {"a": grade}}
    with pytest.raises(InputError, match=f"key '{grade + 1}': expected 0, "):
        session.press(str(grade + 1))
    assert shown(session) == ("q1", "b")


@pytest.mark.parametrize("key", ["x", "", "²", "-1", "B"])
def test_an_unknown_key_changes_nothing(file: Path, key: str) -> None:
    session = start_at(file)
    with pytest.raises(InputError, match="expected 0, 1, 2, s, n or b"):
        session.press(key)
    assert shown(session) == ("q1", "a") and not file.exists()


def test_an_unknown_scale_is_refused(file: Path) -> None:
    with pytest.raises(InputError, match="grades='0-9'"):
        JudgingSession(QUERIES, made_pool, Judgments(file), "0-9")


def test_a_skipped_candidate_stays_unjudged_and_comes_in_the_next_session(file: Path) -> None:
    session = start_at(file)
    session.press("s")
    session.press("1")
    assert shown(session) == ("q1", "c")
    session.press("n")
    assert shown(session) == ("q2", "c")
    assert read_qrels(file) == {"q1": {"b": 1}}
    assert rest(session) == ALL[3:]
    assert rest(start_at(file)) == [("q1", "a"), ("q1", "c")]


def test_the_next_session_continues_in_the_query_where_this_one_stopped(file: Path) -> None:
    file.write_text(HEADING + "q1\tb\t1\nq1\tc\t1\nother\tx\t1\nq2\tc\t2\nelsewhere\ta\t0\n")
    assert rest(start_at(file)) == [("q2", "d"), ("q4", "a"), ("q1", "a")]


def test_published_judgments_are_not_asked_again(file: Path) -> None:
    file.write_text(HEADING + "q1\ta\t3\nelsewhere\td\t1\nq4\tz\t1\n")
    session = start_at(file)
    assert set(rest(session)) == set(ALL) - {("q1", "a")}
    qrels = read_qrels(file)
    assert (qrels["q1"]["a"], qrels["elsewhere"], qrels["q4"]["z"]) == (3, {"d": 1}, 1)


def test_back_shows_the_judged_candidate_and_undoes_the_judgment(file: Path) -> None:
    session = start_at(file)
    session.press("2")
    session.press("b")
    item = session.current()
    assert item is not None and item.document.id == "a" and item.taken_back == 2
    assert read_qrels(file) == {}
    session.press("1")
    item = session.current()
    assert item is not None and item.document.id == "b" and item.taken_back is None
    assert read_qrels(file) == {"q1": {"a": 1}}


def test_at_the_beginning_there_is_nothing_to_take_back(file: Path) -> None:
    file.write_text(HEADING + "q1\ta\t1\n")
    session = start_at(file)
    session.press("b")
    assert shown(session) == ("q1", "b") and read_qrels(file) == {"q1": {"a": 1}}


def test_at_the_end_only_back_has_an_effect(file: Path) -> None:
    session = start_at(file)
    rest(session)
    for key in "0sn":
        with pytest.raises(InputError, match="nothing is left"):
            session.press(key)
    session.press("b")
    assert shown(session) == ("q4", "a")


KEYS = st.lists(st.sampled_from("012snb"), max_size=20)


@given(KEYS, st.sampled_from("012sn"))
def test_back_undoes_any_key(keys: list[str], last: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "qrels.tsv")
        file.write_text(HEADING + "q1\tb\t1\nother\tx\t1\n")
        session = start_at(file)
        for key in keys:
            if shown(session) or key == "b":
                session.press(key)
        before = (shown(session), session.judged, file.read_bytes())
        if before[0] is None:
            return
        session.press(last)
        assert shown(session) != before[0]
        session.press("b")
        assert (shown(session), session.judged, file.read_bytes()) == before


@given(KEYS)
def test_another_run_finds_all_that_this_one_left_open_and_nothing_else(keys: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "qrels.tsv")
        session = start_at(file)
        for key in keys:
            if shown(session) or key == "b":
                session.press(key)
        judged = read_qrels(file) if file.exists() else {}
        left = {(query_id, doc_id) for query_id, doc_id in ALL
                if doc_id not in judged.get(query_id, {})}  # fmt: skip
        shown_pairs = rest(start_at(file))
        assert set(shown_pairs) == left and len(shown_pairs) == len(left)


def test_the_order_begins_where_judging_stopped_and_has_each_query_once() -> None:
    assert query_order("abc", []) == ["a", "b", "c"]
    assert query_order("abc", ["a", "x", "b", "y"]) == ["b", "c", "a"]
