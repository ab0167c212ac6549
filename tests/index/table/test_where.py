"""An expression matches the rows that the same condition in Python matches, and no others."""

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resift.errors import InputError
from resift.index.table.filters import to_sql
from resift.index.table.where import parse_where

lance = pytest.importorskip("lance")
arrow = pytest.importorskip("pyarrow")

COLUMNS = {"source": "uri", "doc_id": "doc_id", "title": "title", "page": "page"}
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Row:
    """The fields of a passage that a filter can use."""

    metadata: Mapping[str, Any]
    uri: str = "s3://b/x"
    doc_id: str = "d"
    title: str = ""
    page: int | None = None


def write(rows: list[Row], path: str) -> Any:
    count = len(rows)
    texts = {name: [getattr(row, name) for row in rows] for name in ("uri", "doc_id", "title")}
    metadata = arrow.array([json.dumps(row.metadata, ensure_ascii=False) for row in rows])
    flat = arrow.array(np.arange(count * 4, dtype=np.float32))
    columns = {
        "row": list(range(count)),
        **texts,
        "page": arrow.array([row.page for row in rows], arrow.int64()),
        "metadata": arrow.ExtensionArray.from_storage(arrow.json_(), metadata),
        "terms": ["a cat and a dog"] * count,
        "vector": arrow.FixedSizeListArray.from_arrays(flat, 4),
    }
    return lance.write_dataset(arrow.table(columns), path, mode="overwrite")


def matching_rows(data: Any, where: str, **search: Any) -> list[int]:
    scanner = data.scanner(
        columns=["row"],
        filter=to_sql(parse_where(where)),
        prefilter=True,
        disable_scoring_autoprojection=True,
        **search,
    )
    return sorted(scanner.to_table()["row"].to_pylist())


METADATA: tuple[dict[str, Any], ...] = (
    {"lang": "en", "year": 2020, "tags": ["a", "b"], "author": {"name": "O'Brien"}},
    {"lang": "de", "year": 2021.5, "tags": "a", "author": {"name": "Ann"}, "draft": True},
    {"lang": None, "year": "2020", "tags": [], "author": [{"name": "Ann"}, {"name": "Bo"}]},
    {"year": [2019, 2022], "date": "2024-03-01", "content type": "x", "draft": False},
    {"lang": ["en", "de"], "lang.x": 1, "title": "inner", "draft": "true", "date": "2024-12-31"},
    {},
)
ROWS = [
    Row(metadata, f"s3://b/docs{number % 2}/{number}", f"d{number}", "T" * number, number or None)
    for number, metadata in enumerate(METADATA)
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    data = write(ROWS, str(tmp_path_factory.mktemp("where")))
    data.create_scalar_index("terms", "INVERTED")
    yield data


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("lang = 'en'", [0, 4]),
        ("lang != 'en'", [1]),
        ("not lang = 'en'", [1, 2, 3, 5]),
        ("exists(lang)", [0, 1, 4]),
        ("NOT EXISTS(lang)", [2, 3, 5]),
        ("lang in ('de', 'fr')", [1, 4]),
        ("lang not in ('de', 'fr')", [0]),
        ("year = 2020", [0]),
        ("year = '2020'", [2]),
        ("year >= 2021", [1, 3]),
        ("year = 2021.5 or year < 2.0195e3", [1, 3]),
        ("year in (2020, '2020', 2022)", [0, 2, 3]),
        ("draft = true", [1]),
        ("draft in (false, 'true')", [3, 4]),
        ("draft != false", [1, 4]),
        ("tags = 'a'", [0, 1]),
        ("exists(tags)", [0, 1, 2]),
        ("author.name = 'Ann'", [1, 2]),
        ("author.name = 'O''Brien'", [0]),
        ("author.name starts with 'O'", [0]),
        ("exists(author.name.first)", []),
        ("date >= '2024-03-01' and date < '2024-04-01'", [3]),
        ("\"content type\" = 'x'", [3]),
        ('"lang.x" = 1', [4]),
        ("\"title\" = 'inner'", [4]),
        ("title = 'TT'", [2]),
        ("not exists(title)", [0]),
        ("page >= 2 and page != 4", [2, 3, 5]),
        ("page not in (1, 2)", [3, 4, 5]),
        ("not (page < 3)", [0, 3, 4, 5]),
        ("exists(page) and doc_id in ('d0', 'd1')", [1]),
        ("source starts with 's3://b/docs1/'", [1, 3, 5]),
        ("source = 's3://b/docs0/2'", [2]),
        ("lang = 'en' or lang = 'de' and year = 2020", [0, 4]),
        ("(lang = 'en' or lang = 'de') and year = 2020", [0]),
        ("not lang = 'en' and not year = 2020", [1, 2, 3, 5]),
    ],
)
def test_documented_forms_match_their_rows_in_both_retrievers(
    data: Any, where: str, rows: list[int]
) -> None:
    vector = {"column": "vector", "q": [0.0] * 4, "k": 9, "use_index": False}
    assert matching_rows(data, where) == rows
    assert matching_rows(data, where, full_text_query="cat") == rows
    assert matching_rows(data, where, nearest=vector) == rows


# Few names and values of every kind, so that random expressions match something.
ODD = "'\"\\%_$@*?()[]{}/-;: \n\t\x00\x1f\x7füÉ😀\u2028aAbn0"
TEXTS = st.sampled_from(["", "a", "b", "2", "true", "null"]) | st.text(ODD, max_size=4)
WHOLE = st.sampled_from([0, 1, 2, -3, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)])
FRACTIONS = st.sampled_from([0.5, 2.0, -2.5, 1e-7, 1e300, 0.1 + 0.2]) | st.floats(-5, 5)
VALUES = TEXTS | WHOLE | FRACTIONS | st.booleans()
NAMES = st.sampled_from(["a", "b", "c d", "ü", "a.b", '"', "'", "title", "_rowid", "$", "\\"])
NESTED = st.recursive(
    VALUES | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
METADATAS = st.dictionaries(NAMES, NESTED, max_size=4)
ROW_LISTS = st.lists(
    st.builds(
        Row,
        METADATAS,
        st.sampled_from(["s3://b/a", "s3://b/b", "it's"]),
        TEXTS,
        TEXTS,
        st.none() | st.integers(0, 4),
    ),
    min_size=1,
    max_size=6,
)
Test = Callable[[Row], bool]
Condition = tuple[str, Test]


@st.composite
def comparisons(draw: st.DrawFn) -> Condition:
    """One comparison as text, and the same as a function."""
    column = draw(st.none() | st.sampled_from(list(COLUMNS)))
    path = draw(st.lists(NAMES, min_size=1, max_size=2))
    name = column or ".".join('"' + part.replace('"', '""') + '"' for part in path)
    kinds = {None: VALUES, "page": st.integers(-1, 5)}.get(column, TEXTS)

    def values_of(row: Row) -> list[Any]:
        return [getattr(row, COLUMNS[column])] if column else list(_at(row.metadata, path))

    def exists(row: Row) -> bool:
        return any(value not in ((None, "") if column else (None,)) for value in values_of(row))

    form = draw(st.sampled_from(["=", "!=", "in", "not in", "exists", "starts with", *ORDERS]))
    if form == "exists":
        return f"exists({name})", exists
    if form == "starts with" and column != "page":
        prefix = draw(TEXTS.filter(bool))
        return f"{name} starts with {_written(prefix)}", lambda row: any(
            isinstance(value, str) and value.startswith(prefix) for value in _flat(values_of(row))
        )
    values = draw(st.lists(kinds, min_size=1, max_size=3))
    value = draw(kinds.filter(lambda value: value != "" and not isinstance(value, bool)))
    if form in ORDERS:
        return f"{name} {form} {_written(value)}", lambda row: any(
            _same_kind(actual, value) and ORDERS[form](actual, value)
            for actual in _flat(values_of(row))
        )
    if form not in ("in", "not in"):
        values = values[:1]
        form = form if form in ("=", "!=") else "="
    listed = ", ".join(map(_written, values))
    text = f"{name} {form} ({listed})" if "in" in form else f"{name} {form} {listed}"

    def among(row: Row) -> bool:
        return any(_same_kind(a, b) and a == b for a in _flat(values_of(row)) for b in values)

    if form in ("!=", "not in"):
        return text, lambda row: exists(row) and not among(row)
    return text, among


def combined(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.one_of(
        st.builds(lambda a: (f"not ({a[0]})", lambda row: not a[1](row)), inner),
        st.builds(
            lambda a, b: (f"({a[0]} and {b[0]})", lambda row: a[1](row) and b[1](row)), inner, inner
        ),
        st.builds(
            lambda a, b: (f"({a[0]} or {b[0]})", lambda row: a[1](row) or b[1](row)), inner, inner
        ),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROW_LISTS, condition=st.recursive(comparisons(), combined, max_leaves=5))
def test_any_expression_matches_what_it_means_in_python(
    tmp_path: Path, rows: list[Row], condition: Condition
) -> None:
    text, holds = condition
    assert matching_rows(write(rows, str(tmp_path / "rows")), text) == [
        number for number, row in enumerate(rows) if holds(row)
    ]


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    """What is at a path; a list on the way stands for each of its values."""
    if not path:
        yield value
    elif isinstance(value, Mapping) and path[0] in value:
        inner = value[path[0]]
        items = inner if isinstance(inner, list) and len(path) > 1 else [inner]
        for item in items:
            yield from _at(item, path[1:])


def _flat(values: list[Any]) -> Iterator[Any]:
    """Values, those of lists, and those of lists in lists."""
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            yield from item if isinstance(item, list) else [item]


def _same_kind(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool)
    return any(isinstance(a, kind) and isinstance(b, kind) for kind in (str, int | float))


def _written(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()


@pytest.mark.parametrize(
    "value",
    ["' or true --", "'; drop", "/*", "\\", "\\'", "\x00", "😀", '"', "a' || 'b"],
)
def test_a_value_stays_a_value(tmp_path: Path, value: str) -> None:
    data = write([Row({"k": value}, doc_id=value), Row({"k": "x"})], str(tmp_path / "rows"))
    for form in ("{} = {}", "{} in ('y', {})", "{} starts with {}", "{0} >= {1} and {0} <= {1}"):
        for name in ("k", "doc_id"):
            assert matching_rows(data, form.format(name, _written(value))) == [0], (form, name)


@pytest.mark.parametrize(
    "name", ["_rowid", "uri", "vector", "terms", "metadata", "$.k", "k[*]", 'k"', "a b"]
)
def test_a_name_is_a_key_whatever_columns_there_are(tmp_path: Path, name: str) -> None:
    data = write([Row({name: 1, "k": 1}), Row({"k": 1}, uri="1")], str(tmp_path / "rows"))
    quoted = '"' + name.replace('"', '""') + '"'
    assert matching_rows(data, f"exists({quoted}) and {quoted} = 1") == [0]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "character 1: expected a name, found the end"),
        ("lang", "character 5: expected =, !=,"),
        ("lang =", "character 7: expected a text in single quotes, a number, true or false"),
        ('lang = "en"', "character 8: expected a text in single quotes"),
        ("lang == 'en'", "character 7: expected a text in single quotes"),
        ("lang = null", "found 'null'"),
        ("lang = 'en", "character 8: expected a closing '"),
        ('"lang = 1', 'character 1: expected a closing "'),
        ("lang = 'en' -- x", "character 13: expected a name, a value or an operator, found '-- x'"),
        ("lang = 'en'; drop", "character 12: expected a name, a value or an operator"),
        ("lang = 'en' lang = 'de'", "character 13: expected 'and', 'or' or the end"),
        ("lang in ()", "character 10"),
        ("lang in ('a'", "expected ), found the end"),
        ("lang not 'a'", "expected 'in'"),
        ("lang starts 'a'", "expected 'with'"),
        ("lang starts with ''", "expected a text that is not empty"),
        ("lang > ''", "expected a number or a text to compare with"),
        ("draft >= true", "expected a number or a text to compare with"),
        ("(lang = 'en'", "expected ), found the end"),
        ("exists lang", "expected ("),
        ('"" = 1', "character 1: expected a name, found '\"\"'"),
        ("and = 1", "character 1: expected a name"),
        ("a..b = 1", "character 3: expected a name"),
        ("title.x = 1", "in double quotes"),
        ("page = 2.5", "expected a whole number, found '2.5'"),
        ("page = 9223372036854775808", "expected a whole number"),
        ("page = 'x'", "expected a whole number"),
        ("page starts with '1'", "a name of text"),
        ("source = 1", "character 10: expected a text in single quotes"),
        ("year = 1e999", "expected a number below 1e308"),
        ("year = " + "9" * 5_000, "expected a number below 1e308"),
        ("lang = 'en'\x00", "found '\\x00'"),
        ("lang = 'a\ud800'", "surrogate"),
        ("not " * 2_000 + "a = 1", "at most 12 brackets"),
        ("(" * 2_000 + "a = 1", "at most 12 brackets"),
        ("a = '" + "x" * 100_000 + "'", "100,006 characters, expected at most 100,000"),
    ],
)
def test_an_invalid_expression_is_refused_in_one_line(where: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_where(where)
    error = str(refused.value)
    assert message in error and error.startswith("where")
    assert error.isascii() and error.isprintable() and len(error) < 250


@given(st.text(ODD + "<=>,.andortis(", max_size=30) | st.text(max_size=20))
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        to_sql(parse_where(text))
    except InputError as error:
        assert str(error).isascii() and str(error).isprintable()


def test_an_empty_text_is_a_value_like_others(tmp_path: Path) -> None:
    rows = [Row({"k": ""}), Row({"k": ["a", ""]}), Row({"k": "a"}), Row({"k": []}), Row({})]
    data = write(rows, str(tmp_path / "rows"))
    assert matching_rows(data, "k = ''") == matching_rows(data, "k in ('', 'b')") == [0, 1]
    assert matching_rows(data, "k != ''") == [2, 3]


def test_the_longest_and_deepest_allowed_expressions_run(tmp_path: Path) -> None:
    data = write([Row({"k": "x7", "n": 1}), Row({"k": "y"})], str(tmp_path / "rows"))
    many = ", ".join(f"'x{number}'" for number in range(4_000))
    assert matching_rows(data, f"k in ({many}) and doc_id not in ({many})") == [0]
    assert matching_rows(data, " or ".join(f"n = {number}" for number in range(5_000))) == [0]
    deep = "n = 1"
    for level in range(6):
        deep = f"k = 'z' or not (k = 'y' and not ({deep}))" if level % 2 else f"not (not ({deep}))"
    with pytest.raises(InputError):
        parse_where(deep)
    alternating = "n = 1"
    for _ in range(6):
        alternating = f"(k = 'q' or (n = 1 and {alternating}))"
    assert matching_rows(data, alternating) == [0]
    assert matching_rows(data, "not " * 12 + "n = 1") == [0]
    assert matching_rows(data, "not (" * 6 + "k = 'y' and n != 2" + ")" * 6) == []
    assert matching_rows(data, f"exists({'.'.join('k' * 2_000)})") == []
