"""``resift index`` and ``resift search``: a folder in, passages out, with the real model."""

import json
from pathlib import Path

import pytest

from cli.command import Resift
from resift.cli.ranking import RankingFormat, _print_for_people
from resift.types import Ranking

pytest.importorskip("lance")

TEXTS = {
    "locks.md": "# Locks\n\nObject lock keeps an object from being deleted until a date.\n",
    "queues.txt": "A queue keeps messages until a worker has handled them.\n",
    "code.html": "<html><title>Code</title><body><p>Functions run code.</p></body></html>",
}
QUERY = "what stops an object from being deleted"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "index"


@pytest.fixture
def index(resift: Resift, source: Path, shared: Path) -> Path:
    """The index of the three texts, made once."""
    if not shared.exists():
        assert resift("index", source, "--index", shared).code == 0
    return shared


def test_a_second_run_changes_nothing(resift: Resift, source: Path, tmp_path: Path) -> None:
    uri = tmp_path / "index"
    first = json.loads(resift("index", source, "--index", uri, "--json").out)
    assert (first["added"], first["unchanged"], first["skipped"]) == (3, 0, [])
    second = resift("index", source, "--index", uri)
    assert second.code == 0 and "3 unchanged" in " ".join(second.out.split())


def test_a_file_that_cannot_be_read_is_named_and_the_rest_indexed(
    resift: Resift, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "good.txt").write_text(TEXTS["queues.txt"])
    (source / "bad.txt").write_bytes(bytes(range(256)) * 8)
    (source / "bad.pdf").write_bytes(b"%PDF-1.7 no more")
    done = resift("index", source, "--index", tmp_path / "index")
    assert done.code == 0 and "1 added" in done.out
    assert sorted("bad.txt" in line for line in done.err.splitlines()) == [False, True]
    assert all(line.startswith("skipped ") for line in done.err.splitlines())


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_the_relevant_document_comes_first(resift: Resift, index: Path, mode: str) -> None:
    done = resift("search", QUERY, "--index", index, "--mode", mode, "--jsonl")
    assert done.code == 0 and done.err == ""
    assert done.rows[0]["citation"]["uri"].endswith("locks.md")
    assert [row["rank"] for row in done.rows] == [1, 2, 3]
    assert all(row["status"] == "ok" and row["logit"] is not None for row in done.rows)


def test_lexical_search_finds_only_documents_with_the_words(resift: Resift, index: Path) -> None:
    done = resift("search", "messages", "--index", index, "--mode", "lexical", "--jsonl")
    assert [row["citation"]["uri"].rpartition("/")[2] for row in done.rows] == ["queues.txt"]


def test_without_reranking_the_first_stages_order_comes_back(resift: Resift, index: Path) -> None:
    done = resift("search", QUERY, "--index", index, "--no-rerank", "--jsonl")
    assert [row["first_stage_rank"] for row in done.rows] == [1, 2, 3]
    assert {row["status"] for row in done.rows} == {"not_reranked"}


def test_people_get_a_table_and_a_receipt(resift: Resift, index: Path) -> None:
    done = resift("search", QUERY, "--index", index, "--top-n", 2)
    assert done.code == 0
    assert done.out.split()[:4] == ["rank", "was", "score", "passage"]
    assert done.err.startswith("3 of 3 scored")


def test_top_n_and_depth_cut(resift: Resift, index: Path) -> None:
    def count(*options: object) -> int:
        return len(resift("search", QUERY, "--index", index, "--jsonl", *options).rows)

    assert (count("--top-n", 1), count("--top-n", 99)) == (1, 3)
    assert count("--depth", 1, "--top-n", 2) == 2  # who asks for two gets two that were compared


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--top-n", 0), "--top-n 0"),
        (("--depth", 0), "--depth 0"),
        (("--budget-ms", -5), "--budget-ms -5"),
    ],
)
def test_invalid_numbers_are_refused(
    resift: Resift, index: Path, options: tuple[object, ...], message: str
) -> None:
    assert message in resift("search", QUERY, "--index", index, *options).error


def test_an_empty_query_is_refused(resift: Resift, index: Path) -> None:
    assert "query: " in resift("search", "  ", "--index", index).error


def test_an_index_that_is_not_there_is_named_and_not_made(resift: Resift, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert "absent" in resift("search", QUERY, "--index", absent).error
    assert not absent.exists()


def test_a_source_that_is_not_there_is_named(resift: Resift, tmp_path: Path) -> None:
    error = resift("index", tmp_path / "nowhere", "--index", tmp_path / "index").error
    assert "nowhere" in error


def test_the_size_of_token_states_is_printed(resift: Resift, source: Path, tmp_path: Path) -> None:
    uri = str(tmp_path / "index")
    done = resift("index", str(source), "--index", uri, "--token-states")
    assert done.code == 0 and "token states: " in done.out and "kB per passage" in done.out
    assert "token states" not in resift("index", str(source), "--index", uri).out
    (row,) = resift("search", "what is a cat", "--index", uri, "--top-n", "1", "--jsonl").rows
    assert row["rank"] == 1


def test_without_an_embedder_lexical_search_still_answers(
    resift: Resift, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resift.errors import EmbedderError
    from resift.index.embedders.artifact import ArtifactEmbedder

    embed = ArtifactEmbedder.embed_query

    def down(self: ArtifactEmbedder, query: str) -> object:
        if query:
            raise EmbedderError("the server does not answer")
        return embed(self, query)

    monkeypatch.setattr(ArtifactEmbedder, "embed_query", down)
    done = resift("search", "messages", "--index", index, "--json", "--no-rerank")
    document = json.loads(done.out)
    assert done.code == 0
    assert done.err == (
        "the dense retriever failed; the search goes on without it: the server does not answer\n"
    )
    assert [hit["citation"]["doc_id"] for hit in document["hits"]] == ["queues.txt"]
    assert document["receipt"]["reason"].startswith(
        "the dense retriever failed: EmbedderError: the server"
    )
    assert "Traceback" not in done.err


@pytest.mark.parametrize("options", [(), ("--jsonl",)])
def test_a_filter_that_nothing_meets_is_said(
    resift: Resift, index: Path, options: tuple[str, ...]
) -> None:
    where = "source starts with 'team/py/'"
    done = resift("search", "messages", "--index", index, "--where", where, *options)
    assert done.code == 0
    assert done.err.splitlines()[0] == f"no passage matches where: {where}"
    assert done.err.count("no passage matches") == 1


def test_a_query_without_a_word_is_said(resift: Resift, index: Path) -> None:
    done = resift("search", "...", "--index", index, "--mode", "lexical", "--no-rerank")
    assert done.code == 0 and "nothing to show" in done.out
    assert done.err.startswith("the lexical retriever finds nothing: the query has no term")


def test_a_partial_ranking_says_why_once(resift: Resift, index: Path) -> None:
    done = resift("search", "messages", "--index", index, "--budget-ms", "0")
    assert done.code == 0 and done.err.count("time was up") == 1
    assert done.err.splitlines()[1].startswith("partial · 0 of 0 scored")


def test_the_best_sentences_get_the_rest_of_the_budget(
    resift: Resift, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []

    def choose(ranking: Ranking, budget_ms: float | None) -> list[None]:
        given.append(budget_ms)
        return [None] * len(ranking)

    monkeypatch.setattr("resift.cli.ranking.best_sentences", choose)
    monkeypatch.setattr("resift.cli.search.print_ranking", _print_on_a_terminal)
    options = ("--index", index, "--mode", "lexical", "--no-rerank")
    assert resift("search", "messages", *options, "--budget-ms", "60000").code == 0
    assert given[0] is not None and 0 < given[0] < 60_000
    assert resift("search", "messages", *options).code == 0
    assert given[1:] == [None]


def _print_on_a_terminal(ranking: Ranking, output: RankingFormat, language: str) -> None:
    _print_for_people(ranking, output.budget_ms, language)


def test_a_query_that_is_too_long_names_the_option(resift: Resift, index: Path) -> None:
    error = resift("search", "word " * 10_000, "--index", index).error
    assert error.endswith("or search with --no-rerank") and "rerank=" not in error


@pytest.mark.parametrize("name", ["nope", "/models/none"])
@pytest.mark.parametrize("variable", ["RESIFT_EMBEDDER", "RESIFT_MODEL"])
def test_a_name_of_no_model_is_an_error(
    resift: Resift, index: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv(variable, name)
    assert name in resift("search", "messages", "--index", index).error
