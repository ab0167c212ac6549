"""Whatever callers hand in as documents: each is read, costs itself, or the list is refused."""

import json
import math
import pickle
import sqlite3
from collections import UserDict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resift import Candidate, Document, Hit, Precomputed, Ranking, Reranker
from resift.errors import InputError, QueryError
from resift.rerank.candidates import as_candidates, check_query, from_fields
from resift.settings import Settings

QUERY = "what stops an object from being deleted"
ROW = namedtuple("ROW", ("id", "text"))


@pytest.fixture(scope="module")
def tiny(joint_folder: Path) -> Reranker:
    """One small model: what is tested here is the same for all."""
    return Reranker(joint_folder, settings=Settings())


def _read(given: Any) -> Candidate:
    (candidate,) = as_candidates([given])
    return candidate


class PageContent:
    """As LangChain's documents are."""

    def __init__(self, text: str) -> None:
        self.page_content, self.metadata = text, {"source": "x"}


class Table:
    """As a data frame is: iterating it gives the names of its columns."""

    columns = ("id", "text")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def to_dict(self, orient: str) -> list[dict[str, str]]:
        raise NotImplementedError


class Raises:
    """Nothing can be had of it."""

    def __float__(self) -> float:
        raise RuntimeError("no data")

    def __str__(self) -> str:
        raise RuntimeError("no data")


class Missing:
    """As pandas' NA is."""


Missing.__name__ = "NAType"


def test_mappings_with_a_text_are_documents() -> None:
    row = {"id": "a", "text": "b", "title": "c", "score": 2, "rank": 3, "metadata": {"page": 4}}
    assert _read(row) == Candidate("a", "b", "c", {"page": 4}, 3, 2.0)
    assert _read({"text": "b"}) == Candidate("0", "b")
    assert _read({"_id": 7, "text": "b", "page": 4}) == Candidate("7", "b", metadata={"page": 4})
    assert _read(UserDict({"text": "b"})).text == "b"


def test_a_databases_row_is_a_document() -> None:
    base = sqlite3.connect(":memory:")
    base.row_factory = sqlite3.Row
    rows = base.execute("select 5 as id, 'a' as text, 2.5 as score").fetchall()
    assert as_candidates(rows) == [Candidate("5", "a", score=2.5)]
    base.close()


def test_a_hit_is_the_candidate_that_it_was(tiny: Reranker) -> None:
    candidates = [
        Candidate("a", "a lock", "T", {"page": 1}, rank=2, score=1.0),
        Candidate("b", "a bucket", rank=1, score=2.0),
        Candidate("c", None, rank=3),  # type: ignore[arg-type]
        Candidate("d", "\udcff", rank=4),
    ]
    ranking = tiny.rank(QUERY, candidates)
    again = tiny.rank(QUERY, ranking)
    for hit, second in zip(ranking, again, strict=True):
        assert (hit.id, hit.logit, hit.status) == (second.id, second.logit, second.status)
    assert sorted(as_candidates(ranking), key=lambda hit: hit.id) == candidates


@pytest.mark.parametrize(
    ("documents", "remedy"),
    [
        ([PageContent("a")] * 3, "PageContent; expected str, Document, "),
        ([PageContent("a")], "use Document(id, document.page_content)"),
        ([ROW("1", "a")], "use Document(id, document.text)"),
        ([("1", "a")], "use Document(id, text)"),
        ({"a": "b"}.items(), "use Document(id, text)"),
        ([{"body": "a", "n": 1}], "without \"text\" (it has 'body', 'n')"),
        ([{"body": "a"}], 'use Document(id, document["body"])'),
        ([{}], "it has no keys"),
        ([b"a", b"b"], "the first of 2 is of type bytes"),
        ([b"a"], "use document.decode()"),
        ([None], "it is None"),
        (range(3), "of type int"),
        (np.array([["a", "b"]]), "of type ndarray"),
        (np.array("a"), "expected a list of them, got ndarray"),
        (Table(), 'use its rows, documents.to_dict("records")'),
        ({"a", "b"}, "a set has no order"),
        (frozenset({"a"}), "a frozenset has no order"),
        ("a text", "got one str: use [document]"),
        (Document("a", "b"), "got one Document: use [document]"),
        ({"text": "a"}, "got dict: use [document]"),
        ({"a": "b"}, "use [Document(id, text), …]"),
        (bytearray(b"a"), "decode and split it"),
        (None, "got NoneType"),
        (Path("file"), "got "),
        (list, "got type"),
    ],
)
def test_what_is_no_list_of_documents_is_refused_with_the_remedy(
    tiny: Reranker, documents: Any, remedy: str
) -> None:
    for call in (tiny.rank, tiny.score):
        with pytest.raises(InputError) as caught:
            call(QUERY, documents)
        assert remedy in str(caught.value) and "\n" not in str(caught.value)


def test_arrow_is_told_to_become_rows_or_texts(tiny: Reranker) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"text": ["a lock", "b"]})
    for documents in (table, table["text"], arrow.array(["a"])):
        with pytest.raises(InputError, match=r"documents\.to_pylist\(\)"):
            tiny.rank(QUERY, documents)
    assert len(tiny.rank(QUERY, table.to_pylist())) == 2
    assert len(tiny.rank(QUERY, table["text"].to_pylist())) == 2


@pytest.mark.parametrize("odd", [b"a", None, 3, {"body": "a"}, PageContent("a"), math.nan, ("a",)])
def test_one_thing_that_is_no_document_costs_itself(tiny: Reranker, odd: Any) -> None:
    ranking = tiny.rank(QUERY, ["a lock", odd, "a bucket"])
    assert [hit.status for hit in ranking] == ["ok", "ok", "not_text"]
    assert (ranking[2].index, ranking[2].id, ranking[2].text) == (1, "1", "")
    alone = tiny.rank(QUERY, ["a lock", "a bucket"])
    assert [hit.logit for hit in ranking[:2]] == [hit.logit for hit in alone]


@pytest.mark.parametrize(
    "documents",
    [
        ("a", "b"),
        deque(["a", "b"]),
        iter(["a", "b"]),
        (text for text in ("a", "b")),
        {"x": "a", "y": "b"}.values(),
        dict.fromkeys(["a", "b"]).keys(),
        np.array(["a", "b"]),
        np.array(["a", "b"], object),
        map(str, ["a", "b"]),
    ],
)
def test_anything_with_an_order_is_a_list(documents: Any) -> None:
    read = as_candidates(documents)
    assert read == [Candidate("0", "a"), Candidate("1", "b")]
    assert all(type(candidate.text) is str for candidate in read)


def test_what_an_iterable_raises_is_its_own(tiny: Reranker) -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        tiny.rank(QUERY, broken())


def test_a_mapping_that_cannot_be_read_costs_itself(tiny: Reranker) -> None:
    class Broken(UserDict[str, str]):
        def __getitem__(self, key: str) -> str:
            raise RuntimeError("the connection is closed")

    ranking = tiny.rank(QUERY, ["a", Broken({"text": "b"})])
    assert [hit.status for hit in ranking] == ["ok", "not_text"]


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        (None, "0"), (math.nan, "0"), (Missing(), "0"), (Raises(), "0"), (5, "5"), ("", ""),
        (np.int64(5), "5"), (np.str_("x"), "x"), (b"x\xff", "x\\xff"), (3.0, "3.0"),
    ],
)  # fmt: skip
def test_an_id_is_text_or_the_place(id_: Any, name: str) -> None:
    for document in (Candidate(id_, "a"), Document(id_, "a"), {"id": id_, "text": "a"}):
        read = _read(document)
        assert read.id == name and type(read.id) is str


def test_an_id_of_too_many_digits_is_the_place() -> None:
    assert _read(Candidate(10**5000, "a")).id == "0"  # type: ignore[arg-type]


def test_two_documents_of_one_id_stay_apart(tiny: Reranker) -> None:
    ranking = tiny.rank(QUERY, [Document("a", "a lock"), Document("a", "a bucket")])
    assert {(hit.index, hit.text) for hit in ranking} == {(0, "a lock"), (1, "a bucket")}


@pytest.mark.parametrize("title", [None, math.nan, 5, Missing(), ["T"], b"T", "\udcff", np.nan])
def test_a_title_that_is_no_text_is_absent(tiny: Reranker, title: Any) -> None:
    plain = tiny.rank(QUERY, ["a lock"])[0]
    for document in (Document("0", "a lock", title), {"text": "a lock", "title": title}):
        (hit,) = tiny.rank(QUERY, [document])
        assert (hit.title, hit.status, hit.logit) == ("", "ok", plain.logit)


@pytest.mark.parametrize(
    ("rank", "read"),
    [
        (0, None), (-1, None), (True, None), (2.5, None), (math.nan, None), ("abc", None),
        (10**400, None), (math.inf, None), (Missing(), None), (2.0, 2), (np.int64(4), 4),
        (np.float64(3), 3), ("3", 3), (1, 1),
    ],
)  # fmt: skip
def test_a_rank_is_a_whole_number_from_1_or_the_place(
    tiny: Reranker, rank: Any, read: int | None
) -> None:
    candidates = [Candidate("a", "a lock", rank=rank), Candidate("b", "a bucket")]
    assert as_candidates(candidates)[0].rank == read
    assert type(as_candidates(candidates)[0].rank) in (int, type(None))
    by_id = {hit.id: hit.first_stage_rank for hit in tiny.rank(QUERY, candidates)}
    assert by_id == {"a": read or 1, "b": 2}


class Scalar:
    """As torch's scalars are."""

    shape = ()

    def item(self) -> float:
        return 3.25

    def __float__(self) -> float:
        return 3.25


NUMBERS = [
    3.25, Decimal("3.25"), Fraction(13, 4), "3.25", " 3.25\n", np.float32(3.25), np.array(3.25),
    np.str_("3.25"), Scalar(), np.longdouble(3.25),
]  # fmt: skip
NO_NUMBERS = [
    None, math.nan, math.inf, -math.inf, 10**400, Decimal("1e999"), Decimal("sNaN"), "abc", "",
    "1_0", True, np.True_, b"3", [3.0], np.array([3.0]), 1j, object(), Raises(), Missing(), "nan",
    "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("score", NUMBERS, ids=lambda score: type(score).__name__)
def test_a_score_that_is_a_number_is_read_as_such(tiny: Reranker, score: Any) -> None:
    candidates = [Candidate("a", "a lock", score=1.0), Candidate("b", "a bucket", score=score)]
    ranking = tiny.rank(QUERY, candidates, fusion_weight=1.0)
    assert ranking.receipt.fusion_weight == 1.0
    assert ranking.receipt.first_stage_left_out is None
    by_id = {hit.id: hit.first_stage_score for hit in ranking}
    assert by_id == {"a": 1.0, "b": 3.25} and type(by_id["b"]) is float


@pytest.mark.parametrize("score", NO_NUMBERS, ids=lambda score: type(score).__name__)
def test_a_score_that_is_none_leaves_the_first_stage_out_and_the_receipt_says_so(
    tiny: Reranker, score: Any
) -> None:
    candidates = [Candidate("a", "a lock", score=1.0), Candidate("b", "a bucket", score=score)]
    ranking = tiny.rank(QUERY, candidates, fusion_weight=1.0)
    assert ranking.receipt.fusion_weight == 0
    assert ranking.receipt.first_stage_left_out == (
        "1 of 2 candidates came without a score that is a number, the first at index 1"
    )
    assert {hit.id: hit.first_stage_score for hit in ranking} == {"a": 1.0, "b": None}
    assert not ranking.receipt.partial


@pytest.mark.parametrize("score", NO_NUMBERS, ids=lambda score: type(score).__name__)
def test_scores_that_are_all_no_numbers_are_said_too(tiny: Reranker, score: Any) -> None:
    if score is None:
        return
    candidates = [{"text": "a lock", "score": score}, {"text": "a bucket", "score": score}]
    ranking = tiny.rank(QUERY, candidates, fusion_weight=1.0)
    assert str(ranking.receipt.first_stage_left_out).startswith("2 of 2 candidates")
    assert {hit.first_stage_score for hit in ranking} == {None}


def test_nothing_is_said_of_scores_where_there_are_none_or_none_are_wanted(tiny: Reranker) -> None:
    some = [Candidate("a", "a lock", score=1.0), Candidate("b", "a bucket")]
    for ranking in (
        tiny.rank(QUERY, ["a lock", "a bucket"], fusion_weight=1.0),
        tiny.rank(QUERY, some, fusion_weight=0),
        tiny.rank(QUERY, [*some[:1], Candidate("c", "")], fusion_weight=1.0),
    ):
        assert ranking.receipt.first_stage_left_out is None


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1.0, 1e200, 1e308])
def test_scores_of_any_size_have_the_same_say(tiny: Reranker, scale: float) -> None:
    texts = ["a lock", "a bucket", "a function"]
    candidates = [
        Candidate(str(index), text, score=score * scale)
        for index, (text, score) in enumerate(zip(texts, (0.25, 1.5, -0.75), strict=True))
    ]
    fusions = {hit.id: hit.fusion for hit in tiny.rank(QUERY, candidates, fusion_weight=1.0)}
    assert fusions == pytest.approx({"0": -0.0905, "1": 1.2675, "2": -1.177}, abs=0.01)


@pytest.mark.parametrize(
    "precomputed",
    [
        "abc",
        5,
        Precomputed("m", "t", b"", b""),  # type: ignore[arg-type]
        Precomputed("m", b"t", None),  # type: ignore[arg-type]
        Precomputed(None, b"", b""),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_precomputed_is_not_used(tiny: Reranker, precomputed: Any) -> None:
    (hit,) = tiny.rank(QUERY, [Candidate("a", "a lock", precomputed=precomputed)])
    assert (hit.status, hit.logit) == ("ok", tiny.rank(QUERY, ["a lock"])[0].logit)


@pytest.mark.parametrize(
    ("metadata", "read"),
    [(None, {}), (math.nan, {}), ({"page": 3}, {"page": 3}), ([1], {"metadata": [1]})],
)
def test_metadata_is_a_mapping_and_nothing_of_it_is_lost(metadata: Any, read: Any) -> None:
    assert _read(Candidate("a", "b", metadata=metadata)).metadata == read
    assert _read({"text": "b", "metadata": metadata}).metadata == read


def test_another_field_can_be_the_text() -> None:
    read = from_fields("4", {"body": "a", "text": 5, "id": None, "_id": "x"}, "body")
    assert read == Candidate("x", "a", metadata={"text": 5})


@pytest.mark.filterwarnings("ignore:min_score and abstain_below")
def test_what_comes_out_is_plain_python_and_valid_json(tiny: Reranker) -> None:
    candidates = [
        Candidate(np.str_("a"), np.str_("a lock"), np.str_("T"), {}, np.int64(2), np.float32(1)),  # type: ignore[arg-type]
        Candidate("b", "word " * 600, rank=3, score=np.float64(2)),
        Candidate("c", "", score=Decimal(3)),  # type: ignore[arg-type]
        Candidate("d", 5, score=4),  # type: ignore[arg-type]
    ]
    ranking = tiny.rank(
        np.str_(QUERY),
        candidates,
        np.int64(4),  # type: ignore[arg-type]
        budget_ms=np.float32(60_000),  # type: ignore[arg-type]
        abstain_below=np.float16(0),  # type: ignore[arg-type]
        fusion_weight=np.float32(0.5),  # type: ignore[arg-type]
        tolerance=np.float64(0.1),
        exact=np.True_,  # type: ignore[arg-type]
    )
    assert type(ranking.query) is str and len(ranking) == 4
    values = [asdict(hit) for hit in ranking] + [asdict(ranking.receipt)]
    _all_plain(values)
    assert json.loads(json.dumps(values, allow_nan=False)) is not None


def _all_plain(value: object) -> None:
    assert type(value) in (dict, list, tuple, str, int, float, bool, type(None)), repr(value)
    if isinstance(value, dict):
        _all_plain([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for part in value:
            _all_plain(part)


@pytest.mark.parametrize("query", ["", " \n", None, 5, b"a", "\udcff", ["a"], math.nan])
def test_a_query_that_is_none_is_one_kind_of_error(tiny: Reranker, query: Any) -> None:
    for call in (tiny.rank, tiny.score, tiny.score_candidates):
        with pytest.raises(QueryError, match="query: "):
            call(query, ["a"])
    with pytest.raises(QueryError, match="query: "):
        tiny.explain(query, "a lock")


def test_a_query_of_numpys_is_plain_text() -> None:
    assert type(check_query(np.str_("a"))) is str


def test_an_odd_document_cannot_be_explained_and_a_mapping_can(tiny: Reranker) -> None:
    with pytest.raises(InputError, match="page_content"):
        tiny.explain(QUERY, PageContent("a"))  # type: ignore[arg-type]
    explained = tiny.explain(QUERY, {"id": 5, "text": "A lock. A bucket."})
    assert explained.id == "5" and len(explained.parts) == 2


ODD = [
    np.int64(3), np.float32("nan"), np.array(2.5), np.array([1, 2]), np.str_("x"), Missing(),
    Scalar(), Raises(), object(), 10**400, "\udcff", PageContent("a"),
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.decimals(),
    st.binary(max_size=4), st.fractions(), st.complex_numbers(), st.dates(), st.uuids(),
    st.sampled_from(ODD),
)  # fmt: skip
NAMES = st.sampled_from(
    ["id", "_id", "text", "title", "score", "rank", "metadata", "body", "precomputed"]
)
KEYS = st.one_of(NAMES, st.text(max_size=3), st.integers(), st.floats(), st.none())
DOCUMENTS = st.one_of(
    SCALARS,
    st.dictionaries(KEYS, SCALARS, max_size=5),
    st.builds(Document, SCALARS, SCALARS, SCALARS, SCALARS),
    st.builds(Candidate, SCALARS, SCALARS, SCALARS, SCALARS, SCALARS, SCALARS, SCALARS),
    st.lists(SCALARS, max_size=3),
    st.tuples(SCALARS, SCALARS),
)


@given(documents=st.one_of(SCALARS, st.lists(DOCUMENTS, max_size=6), st.tuples(DOCUMENTS)))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_list_of_anything_is_ranked_or_refused_in_a_line(
    tiny: Reranker, documents: Any
) -> None:
    try:
        ranking = tiny.rank(QUERY, documents, None, fusion_weight=1.0)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert sorted(hit.index for hit in ranking) == list(range(len(documents)))
    assert [hit.rank for hit in ranking] == list(range(1, len(documents) + 1))
    for hit in ranking:
        _check_hit(hit, documents[hit.index])
    _check_receipt(ranking)


def _check_hit(hit: Hit, document: Any) -> None:
    readable = isinstance(document, str) and document.isalnum() and document.isascii()
    assert hit.status in (("ok",) if readable else ("ok", "empty", "not_text"))
    assert (hit.logit is not None) == (hit.status == "ok")
    plain = asdict(hit) | {"metadata": {}}
    _all_plain(plain)
    json.dumps(plain, allow_nan=False)
    assert type(hit.first_stage_rank) is int and hit.first_stage_rank >= 1


def _check_receipt(ranking: Ranking) -> None:
    _all_plain(asdict(ranking.receipt))
    if ranking.receipt.fusion_weight:
        assert all(hit.first_stage_score is not None for hit in ranking if hit.logit is not None)
    assert pickle.loads(pickle.dumps(ranking.receipt)) == ranking.receipt
