"""Every public argument, given what it cannot be: one typed line, never an error of Python's own.

Proves that flags are True or False and nothing that passes for it, and that each argument of the
public classes, given None, texts, bytes, numbers, arrays and containers in turn, either does its
work or raises one of resift's errors.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.fakes import HashingEmbedder
from resift import Candidate, Index, Ranking, Reranker
from resift.errors import InputError, ResiftError, SettingsError
from resift.index.parsing.options import Columns, ParseLimits
from resift.index.source_options import SourceOptions
from resift.index.sources.patterns import Globs
from resift.search.options import SearchOptions
from resift.settings import Settings, StorageSettings

TEXTS = ["red", "blue sky", "red sky"]
FLAGS: list[Any] = ["no", "False", "", None, 0, 1, 1.0, [], np.zeros(3), np.ones((1,)), np.int64(1)]
ODD: list[Any] = [
    *FLAGS,
    b"red",
    "\0",
    "x" * 5_000,
    -1,
    5,
    1.5,
    float("nan"),
    float("inf"),
    10**400,
    True,
    np.bool_(True),
    np.array("x", object),
    (),
    {},
    {"a"},
    object(),
    int,
    Path("nowhere"),
]


@pytest.fixture(scope="module")
def tiny(joint_folder: Path) -> Reranker:
    """One small model."""
    return Reranker(joint_folder, settings=Settings())


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of one document."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "cat.md").write_text("# About\n\nThe cat is an animal.")
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, docs: Path, tiny: Reranker) -> Index:
    """An index of it."""
    folder = tmp_path_factory.mktemp("index") / "index"
    index = Index(folder, settings=Settings(), embedder=HashingEmbedder(), reranker=tiny)
    index.sync(str(docs))
    return index


@pytest.fixture(scope="module")
def ranking(tiny: Reranker) -> Ranking:
    """A ranking that can be asked."""
    return tiny.rank("red", TEXTS)


def refused(call: Callable[..., object], name: str, value: Any, **needed: Any) -> None:
    """An argument that does its work is no fault; what is raised is one of ours, on one line."""
    try:
        call(**needed | {name: value})
    except ResiftError as error:
        assert str(error), name
        assert "\n" not in str(error), name
    except Exception as error:
        error.add_note(f"{name}={str(value)[:60]!r}")
        raise


def names_of(call: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(call).parameters if name not in ("self", "progress")]


@pytest.mark.parametrize("flag", FLAGS, ids=lambda value: f"{type(value).__name__}-{value}"[:20])
def test_flags_are_true_or_false(
    tiny: Reranker, index: Index, docs: Path, tmp_path: Path, flag: Any
) -> None:
    new = Index(tmp_path / "new", settings=Settings(), embedder=HashingEmbedder())
    calls: list[tuple[str, Callable[[], object]]] = [
        ("exact", lambda: tiny.rank("red", TEXTS, exact=flag)),
        ("states", lambda: tiny.precompute(TEXTS, states=flag)),
        ("rerank", lambda: index.search("cat", rerank=flag)),
        ("exact", lambda: index.search("cat", exact=flag)),
        ("exact", lambda: SearchOptions(exact=flag)),
        ("rerank", lambda: index.load(rerank=flag)),
        ("token_states", lambda: new.sync(str(docs), token_states=flag)),
        ("allow_unsafe", lambda: new.sync(str(docs), allow_unsafe=flag)),
        ("allow_deletes", lambda: new.sync(str(docs), allow_deletes=flag)),
        ("token_states", lambda: new.plan(str(docs), token_states=flag)),
        ("follow_links", lambda: SourceOptions(follow_links=flag)),
    ]
    for name, call in calls:
        with pytest.raises(InputError, match=rf"^{name}=.*: expected True or False$"):
            call()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("flag", [True, np.bool_(True), np.array(True)])
def test_flags_may_be_numpys(tiny: Reranker, index: Index, flag: Any) -> None:
    assert tiny.rank("red", TEXTS, exact=flag).receipt.exact
    assert len(tiny.precompute(TEXTS, states=flag)) == len(TEXTS)
    assert index.search("cat", rerank=flag)[0].score is not None
    assert index.search("cat", rerank=np.bool_(False))[0].score is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["virtual_hosted", "bucket_key", "skip_signature"])
def test_flags_of_settings_are_true_or_false(name: str) -> None:
    odd: list[Any] = ["no", "", None, 2, np.zeros(3)]
    for value in odd:
        with pytest.raises(SettingsError, match=rf"^storage\.{name}=.*: expected true or false$"):
            replace(StorageSettings(), **{name: value})
    with pytest.raises(SettingsError, match=r"^storage\.region=5: expected text$"):
        StorageSettings(region=5)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"^storage: expected StorageSettings, got str$"):
        Settings(storage="s3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method",
    ["rank", "score_candidates", "score", "explain", "precompute", "cut", "dropped"],
)
def test_arguments_of_a_reranker(tiny: Reranker, method: str) -> None:
    call = getattr(tiny, method)
    needed: dict[str, Any] = {"query": "red", "documents": TEXTS, "document": "red sky. Blue."}
    needed |= {"texts": TEXTS, "max_tokens": 3}
    names = names_of(call)
    needed = {name: value for name, value in needed.items() if name in names}
    for name in names:
        for value in ODD:
            refused(call, name, value, **needed)


@pytest.mark.parametrize("version", [1.0, "1", True, np.float64(1), np.zeros(3), 0, -1, b"1"])
def test_the_number_of_a_version_is_an_integer(tmp_path: Path, version: Any) -> None:
    expected = r": expected the whole number of a version, from 1$"
    with pytest.raises(InputError, match=rf"^version=.*{expected}"):
        Index(tmp_path / "index", version=version)
    with pytest.raises(InputError, match=rf"^number=.*{expected}"):
        Index(tmp_path / "index").rollback(version)
    assert Index(tmp_path / "index", version=np.int64(1))._version == 1  # type: ignore[arg-type]


def test_arguments_of_many_queries(tiny: Reranker) -> None:
    needed = {"queries": ["red"], "documents": [TEXTS]}
    for name in names_of(tiny.rank_many):
        for value in ODD:
            refused(tiny.rank_many, name, value, **needed)


def test_arguments_of_making_one(joint_folder: Path) -> None:
    for name in names_of(Reranker):
        for value in ODD:
            if value is None:
                continue  # the bundled model
            refused(Reranker, name, value, **{"model": joint_folder, "settings": Settings()})


def test_depths_are_whole_numbers(tiny: Reranker) -> None:
    for depths in ("abc", [0, "a"], None, 5, [1.5], [True], b"ab", [None], {"a": 1}):
        with pytest.raises(
            InputError, match=r"^depths=.*: expected whole numbers, like \[10, 20\]"
        ):
            tiny.score_candidates("red", TEXTS, depths=depths)  # type: ignore[arg-type]
    for good in ((1, 1, 2), [np.int64(1), 2.0], np.array([2, 1]), range(5), ()):
        scored = tiny.score_candidates("red", TEXTS, depths=good)  # type: ignore[arg-type]
        assert len(scored.candidates) == 3


def test_places_in_a_ranking_are_whole_numbers(ranking: Ranking) -> None:
    odd: list[Any] = ["a", None, 1.0, True, slice(0, 1), np.zeros(3), [], b"a"]
    message = "expected the index of a hit, a whole number"
    for index_ in odd:
        with pytest.raises(InputError, match=message):
            ranking.explain(index_)
        with pytest.raises(InputError, match=message):
            ranking.compare(index_, 0)
        with pytest.raises(InputError, match=message):
            ranking.compare(0, index_)
    with pytest.raises(IndexError, match="there are 3"):
        ranking.explain(3)
    assert ranking.explain(np.int64(0)) == ranking.explain(0)  # type: ignore[arg-type]


def test_counts_of_an_explanation_are_whole_numbers(ranking: Ranking) -> None:
    explained = ranking.explain(0)
    odd: list[Any] = ["a", None, 1.0, True, np.zeros(3), []]
    for count in odd:
        with pytest.raises(InputError, match="expected how many parts, a whole number"):
            explained.strongest(count)
    assert explained.strongest(-1) == ()
    assert explained.strongest(np.int64(0)) == ()  # type: ignore[arg-type]


def test_arguments_of_a_reading(tiny: Reranker) -> None:
    scored = tiny.score_candidates("red", TEXTS)
    for method in (scored.ranking, scored.order):
        for name in names_of(method):
            for value in ODD:
                refused(method, name, value)


def test_precomputed_states_that_were_tampered_cost_themselves(tiny: Reranker) -> None:
    (precomputed,) = tiny.precompute(["red sky"])
    expected = tiny.score("red", ["red sky", "blue"]).tolist()
    for name in ("model", "text_hash", "tokens", "states"):
        for value in ODD:
            odd = object.__new__(type(precomputed))
            for field in ("model", "text_hash", "tokens", "states"):
                object.__setattr__(
                    odd, field, value if field == name else getattr(precomputed, field)
                )
            documents: list[Any] = [Candidate("a", "red sky", precomputed=odd), "blue"]
            assert tiny.score("red", documents).tolist() == expected, (name, value)


@pytest.mark.parametrize("field", list(Candidate.__dataclass_fields__))
def test_fields_of_a_candidate_cost_themselves(tiny: Reranker, field: str) -> None:
    for value in ODD:
        odd = Candidate(**{"id": "a", "text": "red sky", field: value})
        ranking = tiny.rank("red", [odd, "blue"])
        assert {hit.index for hit in ranking} == {0, 1}, (field, value)
        assert tiny.rank("red", ranking).receipt.depth == 2


def test_fields_of_a_hit_cost_themselves(ranking: Ranking, tiny: Reranker) -> None:
    first = ranking[0]
    fields = list(type(first).__dataclass_fields__)
    for name in fields:
        for value in ODD:
            odd = object.__new__(type(first))
            for field in fields:
                object.__setattr__(odd, field, value if field == name else getattr(first, field))
            assert tiny.rank("red", [odd, "blue"]).receipt.depth == 2, (name, value)


@pytest.mark.parametrize("name", ["uri", "version", "settings", "embedder", "reranker"])
def test_arguments_of_an_index(tmp_path: Path, name: str) -> None:
    needed = {"uri": tmp_path / "index", "settings": Settings()}
    used = []

    def make(**arguments: Any) -> None:
        used.append(Index(**arguments))
        used[-1].search("cat", mode="lexical", rerank=False)

    for value in ODD:
        refused(make, name, value, **needed)
    for value in (5, np.zeros(3), True, 1.5, object()):
        if name != "version" or not isinstance(value, int):
            with pytest.raises(ResiftError, match="expected"):
                Index(**needed | {name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("uri", [None, 5, b"x", "", " ", "\0", True, np.zeros(3), {}])
def test_an_index_that_is_no_place(uri: Any) -> None:
    with pytest.raises(InputError, match=r"expected a folder or s3://bucket/prefix"):
        Index(uri)


@pytest.mark.parametrize(
    "method",
    "search retrieve load verify_citation verify_citations source_options plan sync rollback "
    "clean".split(),
)
def test_arguments_of_its_methods(
    index: Index, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.chdir(tmp_path)  # an odd value may be the name of a folder
    call = getattr(index, method)
    needed = {
        "query": "cat",
        "source_uri": str(docs),
        "citation": "cat",
        "citations": ["cat"],
        "number": 1,
    }
    names = names_of(call)
    needed = {name: value for name, value in needed.items() if name in names}
    for name in names:
        for value in ODD:
            if method != "rollback" or not (isinstance(value, int) and value == 1):
                refused(call, name, value, **needed)
    if method == "sync":
        for value in ODD[2:]:
            refused(call, "progress", value, **needed)


@pytest.mark.parametrize(
    "made", [SourceOptions, ParseLimits, Columns, Globs, StorageSettings, Settings]
)
def test_fields_of_what_is_handed_to_them(made: Any) -> None:
    for name in names_of(made):
        for value in ODD:
            refused(made, name, value)
    with pytest.raises(InputError, match="expected a list of patterns"):
        Globs(include="*.md")  # type: ignore[arg-type]


def test_a_first_stage_takes_what_keeps_and_need_not_rank(index: Index) -> None:
    class Keeps:
        fingerprint = "none"

        def precompute(self, documents: Any, *, states: bool = True) -> list[None]:
            return [None] * len(documents)

    assert index.retrieve("cat", reranker=Keeps()).depth == 1  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"^reranker='x': expected an object with a method precompute"
    ):
        index.retrieve("cat", reranker="x")  # type: ignore[arg-type]
