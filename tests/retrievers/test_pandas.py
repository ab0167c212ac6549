"""A DataFrame as a first stage, with the real pandas: BM25 and cosine over a copy of the frame."""

from typing import Any

import numpy as np
import pytest

from resift.errors import InputError

pandas = pytest.importorskip("pandas")

from resift.retrievers.pandas import PandasRetriever  # noqa: E402 - needs pandas


def make_frame() -> Any:
    return pandas.DataFrame(
        {
            "text": [
                "A bucket has an owner.",
                "Object locks keep objects.",
                None,
                "A queue waits.",
            ],
            "year": [2020, 2021, 2022, None],
            "lang": ["en", None, "de", "en"],
            "v": [np.array([1, 0]), [0, 1], None, [1, 1]],
        },
        index=["a", "b", "c", "d"],
    )


def ids(candidates: Any) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_stems_match_and_columns_are_metadata_in_plain_types() -> None:
    candidates = PandasRetriever(make_frame())("which objects are locked?", 5)
    assert ids(candidates) == ["b"]
    first = candidates[0]
    assert (first.text, first.rank, type(first.score)) == ("Object locks keep objects.", 1, float)
    assert first.metadata["year"] == 2021.0 and type(first.metadata["year"]) is float
    assert first.metadata["lang"] is None


def test_an_id_column_and_a_title() -> None:
    frame = make_frame().assign(name=[7, 8, 9, 10], head=["x", "Vault", "y", "z"])
    first = PandasRetriever(frame, id="name", title="head")("vault", 1)[0]
    assert (first.id, first.title) == ("8", "Vault")
    assert set(first.metadata) == {"year", "lang", "v"}


def test_cosine_and_fusion() -> None:
    dense = PandasRetriever(make_frame(), vector="v", embed=lambda query: [2, 0.1], mode="dense")
    candidates = dense("anything", 9)
    assert ids(candidates) == ["a", "d", "b"]
    assert candidates[0].score == pytest.approx(0.99875, abs=1e-4)
    both = PandasRetriever(make_frame(), vector="v", embed=lambda query: np.array([0, 1.0]))
    assert ids(both("queue", 2)) == ["d", "b"] and both.name == "hybrid of a DataFrame of 4 rows"


def test_changes_of_the_frame_and_of_a_search_are_not_seen() -> None:
    frame = make_frame()
    retrieve = PandasRetriever(frame)
    before = retrieve("bucket", 1)
    frame.loc["a", "text"] = "other"
    assert retrieve("bucket", 1) == before
    assert before[0].text == "A bucket has an owner."


def test_nothing_matches_a_question_without_words() -> None:
    assert PandasRetriever(make_frame())("?!", 3) == []
    assert PandasRetriever(make_frame().iloc[:0])("bucket", 3) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"text": "body"}, "no such column"), ({"mode": "dense"}, "vector= and embed="),
     ({"vector": "year", "embed": len}, "vectors of one length"),
     ({"language": "klingon"}, "language"), ({"embed": 3}, "embed")],
)  # fmt: skip
def test_invalid_arguments_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PandasRetriever(make_frame(), **arguments)
    with pytest.raises(InputError, match="DataFrame"):
        PandasRetriever([{"text": "a"}])


def test_a_vector_of_another_length_is_told() -> None:
    retrieve = PandasRetriever(make_frame(), vector="v", embed=lambda query: [1, 2, 3])
    with pytest.raises(InputError, match="3 numbers"):
        retrieve("bucket", 1)


@pytest.mark.parametrize(
    ("columns", "id_", "title"),
    [({"id": "text"}, "A bucket has an owner.", ""), 
     ({"title": "text"}, "a", "A bucket has an owner."),
     ({"id": "lang", "title": "lang"}, "en", "en"), ({"vector": "text"}, "a", ""),
     ({"id": "v", "vector": "v", "embed": lambda query: [1, 0], "mode": "lexical"}, "[1, 0]", "")],
)  # fmt: skip
def test_a_column_may_be_named_twice(columns: Any, id_: str, title: str) -> None:
    (first,) = PandasRetriever(make_frame(), **columns)("bucket", 1)
    assert (first.id, first.title, first.text) == (id_, title, "A bucket has an owner.")
    assert not set(first.metadata) & {"text", *(str(name) for name in columns.values())}


@pytest.mark.parametrize(
    "vector",
    [["a", "b"], [[1], [0]], [1, float("nan")], [float("inf"), 0], [1, None], {1: 2, 3: 4}],
)
def test_vectors_that_are_none_are_told(vector: Any) -> None:
    frame = make_frame()
    frame.at["b", "v"] = vector
    with pytest.raises(InputError, match="expected a list of finite numbers"):
        PandasRetriever(frame, vector="v", embed=lambda query: [1, 0])


def test_scores_are_finite_for_vectors_of_any_size() -> None:
    frame = make_frame()
    frame.at["a", "v"] = [1e200, 1e200]
    frame.at["b", "v"] = [1e-200, 0]
    retrieve = PandasRetriever(frame, vector="v", embed=lambda query: [1e38, 1e38], mode="dense")
    scores = {hit.id: hit.score for hit in retrieve("q", 9)}
    assert scores == pytest.approx({"a": 1.0, "d": 1.0, "b": 0.7071}, abs=1e-4)
    for value in ([1e200, 0], [10**400, 0], ["1", "0"], {1: 0, 2: 0}, {1, 2}, [True, False]):
        broken = PandasRetriever(frame, vector="v", embed=lambda query, value=value: value)
        with pytest.raises(InputError, match=r"embed: returned"):
            broken("bucket", 1)
    tiny = PandasRetriever(frame, vector="v", embed=lambda query: [1e-60, 0], mode="dense")
    assert tiny("q", 3) == []  # zero with 32 bits


def test_lists_in_cells_are_copies() -> None:
    frame = make_frame().assign(tags=[[["x"]], {"k": [1]}, None, ({"y"},)])
    retrieve = PandasRetriever(frame)
    (first,) = retrieve("bucket", 1)
    assert first.metadata["tags"] == [["x"]] and first.metadata["v"] == [1, 0]
    first.metadata["tags"][0].append("mine")
    frame.at["a", "tags"][0].append("later")
    assert frame.at["a", "tags"] == [["x", "later"]]
    assert retrieve("bucket", 1)[0].metadata["tags"] == [["x"]]
