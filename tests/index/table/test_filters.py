"""A filter with an unknown key, or a value of a kind that a key never has, is an error."""

import json
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import InputError
from resift.index.table.filters import keys_of
from resift.search.index import Index
from resift.settings import Settings

ROWS: list[dict[str, Any]] = [
    {"text": "a cat", "lang": "en", "year": 2020, "tags": ["x", "y"], "author": {"name": "Eve"}},
    {"text": "a dog", "lang": "de", "year": 2021, "draft": True, "content type": "z", "page": "p"},
    {"text": "a cow", "lang": "fr", "gone": None, "mixed": 1},
    {"text": "a fox", "mixed": "one"},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "docs").mkdir()
    lines = "\n".join(json.dumps(row) for row in ROWS)
    (folder / "docs" / "rows.jsonl").write_text(lines)
    index = Index(str(folder / "index"), settings=Settings(), embedder=HashingEmbedder())
    index.sync(str(folder / "docs"))
    return index


def find_texts(index: Index, where: str) -> set[str]:
    return {hit.text for hit in index.search("a", where=where, rerank=False, mode="dense")}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lnag = 'en'", "no passage has lnag; did you mean lang? there are"),
        ("lang = 'en' and yeer >= 2020", "no passage has yeer; did you mean year?"),
        ("lang = 'en' or yeer = 2020", "did you mean year?"),
        ("not (Lang = 'en')", "did you mean lang?"),
        ("autor.name = 'Eve'", "did you mean author.name?"),
        ("author.nam starts with 'E'", "did you mean author.name?"),
        ("contenttype = 'z'", 'did you mean "content type"?'),
        ("uri = 'x'", "beside source, doc_id, title, page"),
        ("Title = 'x'", "did you mean title?"),
        ("gone = 'x'", "no passage has gone"),
        ("LANG = 'en'", "did you mean lang?"),
        ("AUTHOR.NAME = 'Eve'", "did you mean author.name?"),
        ("TITLE = 'x'", "did you mean title?"),
        ("zzzz = 1", "no passage has zzzz; there are"),
    ],
)
def test_a_key_that_no_passage_has_is_refused_with_the_nearest(
    index: Index, where: str, message: str
) -> None:
    for _ in range(2):
        with pytest.raises(InputError) as refused:
            find_texts(index, where)
        assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("year = '2020'", 'year holds numbers, and "2020" is a text'),
        ("lang > 3", "lang holds texts, and 3 is a number"),
        ("draft = 'true'", 'draft holds booleans, and "true" is a text'),
        ("year starts with '20'", "year holds numbers"),
        ("tags in (1, 2)", "tags holds texts"),
        ("year in (2020, '2021')", 'year holds numbers, and "2021" is a text'),
        ("lang = 'en' or year = '2021'", 'year holds numbers, and "2021" is a text'),
        ("year not in (2020, true)", "year holds numbers, and true is a boolean"),
        ("mixed in (1, 'one', false)", "mixed holds numbers and texts, and false is a boolean"),
    ],
)
def test_a_value_of_a_kind_that_a_key_never_has_is_refused(
    index: Index, where: str, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        find_texts(index, where)
    assert message in str(refused.value)


def test_a_valid_filter_is_no_error_even_if_it_finds_nothing(index: Index) -> None:
    assert find_texts(index, "lang = 'en'") == {"a cat"}
    assert find_texts(index, "lang = 'xx'") == set()
    assert find_texts(index, "year > 3000") == set()
    assert find_texts(index, "mixed = 1") == {"a cow"}
    assert find_texts(index, "mixed > 0 or mixed < 'z'") == {"a cow", "a fox"}
    assert find_texts(index, "draft in (true, false) or author.name = 'Adam'") == {"a dog"}
    assert find_texts(index, "mixed in (1, 'one')") == {"a cow", "a fox"}
    assert find_texts(index, "not exists(archived)") == {row["text"] for row in ROWS}
    assert find_texts(index, "exists(archived)") == set()
    assert find_texts(index, "page = 3") == set()
    assert find_texts(index, "\"page\" = 'p'") == {"a dog"}
    assert find_texts(index, "\"content type\" = 'z' and author.name != 'x'") == set()


def test_the_keys_of_any_json_are_bounded() -> None:
    deep = json.dumps({"a": {"b": {"c": {"d": {"e": 1}}}}, "l": [[1, {"x": True}], "t"]})
    many = [json.dumps({f"k{n}": n}) for n in range(3_000)]
    assert dict(keys_of([deep, "{}"])) == {("l",): {"number", "text"}, ("l", "x"): {"boolean"}}
    assert len(keys_of(many)) == 1_000


def test_an_index_without_metadata_says_so(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("Nothing but text.")
    index = Index(str(tmp_path / "index"), settings=Settings(), embedder=HashingEmbedder())
    index.sync(str(tmp_path / "docs"))
    with pytest.raises(InputError, match="no passage has lang; the documents have no metadata"):
        find_texts(index, "lang = 'en'")
