"""``resift eval --first-stage``: any retriever is measured before and after reranking, by ids."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli.command import Done, Resift
from evaluation.small_collection import DOCUMENTS, make_collection
from resift.errors import InputError
from resift.evaluation.from_retriever import FromRetriever
from resift.types import Document

CODE = """
from resift.types import Document
TEXTS = {texts!r}
def search(query, k):
    return [Document(name, text) for name, text in TEXTS.items()][:k]
async def asearch(query, k):
    return search(query, k)
def wordy(query, k):
    return [*search(query, k), *search(query, k)]
def lazy(query, k):
    yield from search(query, k)
def broken(query, k):
    raise ConnectionError("refused by\\nhttps://u:top-secret@host")
def odd(query, k):
    return None
class Closes:
    def __call__(self, query, k):
        return search(query, k)
    def close(self):
        print("closed", file=__import__("sys").stderr)
"""


class Desk:
    """A judged collection without its corpus, and first stages."""

    def __init__(self, resift: Resift, folder: Path) -> None:
        self._resift = resift
        self.collection = make_collection(folder / "made")
        (self.collection / "qrels.tsv").write_text("q1\td2\t2\nq1\td1\t0\nq2\td4\t1\n")
        (self.collection / "corpus.jsonl").unlink()
        (folder / "stages_of_eval.py").write_text(CODE.format(texts=DOCUMENTS))

    def eval(self, *options: object) -> Done:
        return self._resift("eval", self.collection, "--depths", "2,4", *options)


@pytest.fixture
def desk(resift: Resift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield Desk(resift, tmp_path)
    sys.modules.pop("stages_of_eval", None)


def test_a_function_is_measured_before_and_after_reranking(desk: Desk) -> None:
    done = desk.eval("--first-stage", "stages_of_eval:search")
    assert (done.code, done.err) == (0, "")
    assert "first stage search" in done.out and "depth 4" in done.out and "p50" in done.out
    report = json.loads(desk.eval("--first-stage", "stages_of_eval:search", "--json").out)
    compared = report["systems"][0]["compared"]["RR@10"]
    assert compared["after"] == 1.0 > compared["before"]


def test_an_async_function_and_one_with_duplicates(desk: Desk) -> None:
    assert desk.eval("--first-stage", "stages_of_eval:asearch").code == 0
    done = desk.eval("--first-stage", "stages_of_eval.py:wordy")
    assert done.code == 0
    assert "2 queries, the first is q1: the first stage returned 8 documents for k=4" in done.err


def test_a_generator_is_read_once(desk: Desk) -> None:
    done = desk.eval("--first-stage", "stages_of_eval:lazy")
    assert (done.code, done.err) == (0, "") and "depth 4" in done.out


def test_no_key_of_a_name_is_in_the_errors_of_its_client() -> None:
    def fail(query: str, k: int) -> list[Document]:
        raise ConnectionError("the key top-secret is wrong")

    stage = FromRetriever(fail, "qdrant+https://host/docs?text=body&api_key=top-secret")
    with pytest.raises(InputError, match=r"query q1 failed: .* the key … is wrong") as error:
        stage.retrieve("q1", "a query", 3)
    assert error.value.__cause__ is None  # its message has the key


def test_what_it_opened_is_closed(desk: Desk) -> None:
    assert "closed" in desk.eval("--first-stage", "stages_of_eval:Closes").err


def test_an_engine_is_opened_by_its_name(desk: Desk, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "notes.db")) as connection:
        connection.execute("CREATE VIRTUAL TABLE docs USING fts5(id UNINDEXED, body)")
        connection.executemany("INSERT INTO docs VALUES (?, ?)", DOCUMENTS.items())
        connection.commit()
    done = desk.eval("--first-stage", "sqlite:notes.db?table=docs&id=id&text=body", "--json")
    report = json.loads(done.out)
    assert report["first_stage"] == "lexical of docs in notes.db"
    assert report["systems"][0]["compared"]["RR@10"]["after"] == 1.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [("nonsense", "expected MODULE:ATTRIBUTE"), ("stages_of_eval:TEXTS", "is dict"),
     ("mongodb://u:top-secret@h/db", "--first-stage mongodb:…"),
     ("stages_of_eval:broken", "broken: query q1 failed: ConnectionError: refused by"),
     ("stages_of_eval:odd", "the retriever's documents"),
     ("sqlite:none.db?table=docs", "none.db: no such file"),
     ("sqlite:notes.db?table=docs&key=top-secret", "key: not an option")],
)  # fmt: skip
def test_a_wrong_first_stage_is_told_in_a_line(desk: Desk, spec: str, message: str) -> None:
    error = desk.eval("--first-stage", spec).error
    assert message in error
    assert "top-secret" not in error


def test_it_is_the_only_first_stage(desk: Desk) -> None:
    spec = "postgresql://u:top-secret@h/db?table=t"
    for options, message in (
        (("--run", "a.run"), "--run a.run and --first-stage: expected one first stage"),
        (("--index", "x"), "--index x and --first-stage: expected one first stage"),
        (("--mode", "dense"), "--mode dense: is for an index"),
        (("--ablation",), "--ablation: needs an index"),
    ):
        error = desk.eval("--first-stage", spec, *options).error
        assert message in error and "top-secret" not in error


def test_a_chain_is_measured_as_any_other_reranker(desk: Desk) -> None:
    done = desk.eval(
        "--first-stage", "stages_of_eval:search", "--compare", "bundled@4+bundled@2", "--json"
    )
    assert (done.code, done.err) == (0, "")
    (system,) = json.loads(done.out)["systems"]
    assert system["model"] == "resift-minilm-l6 > resift-minilm-l6"
    assert [row["depth"] for row in system["rows"]] == [2, 4]


def test_a_service_that_fails_ends_the_evaluation(desk: Desk) -> None:
    done = desk.eval("--first-stage", "stages_of_eval:search", "--model", "tei:http://127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1 and "tei" in done.err


def test_a_chain_with_a_part_that_fails_ends_the_evaluation(desk: Desk) -> None:
    name = "bundled@4+tei:http://127.0.0.1:1@2"
    done = desk.eval("--first-stage", "stages_of_eval:search", "--model", name)
    assert (done.code, done.out) == (1, "")
    assert "error: resift-minilm-l6 > tei" in done.err and "cannot be reached" in done.err


@pytest.mark.parametrize(
    ("name", "problem"),
    [("strings", "has no id"), ("no_ids", "has no id"), ("null_ids", "has no id"),
     ("later", "has no id"), ("astrings", "has no id"), ("nothing", "is no document"),
     ("no_text", "is no document")],
)  # fmt: skip
def test_documents_without_an_id_are_refused(
    desk: Desk, tmp_path: Path, name: str, problem: str
) -> None:
    """Their positions are not taken for ids, which judgments may have too."""
    (tmp_path / "without_ids.py").write_text(WITHOUT_IDS.format(texts=DOCUMENTS))
    (desk.collection / "qrels.tsv").write_text("q1\t0\t2\nq2\t1\t1\n")
    done = desk.eval("--first-stage", f"without_ids.py:{name}")
    assert (done.code, done.out) == (1, "") and "query q1: document" in done.error
    assert problem in done.error


WITHOUT_IDS = """
TEXTS = {texts!r}
def strings(query, k):
    return list(TEXTS.values())[:k]
async def astrings(query, k):
    return (text for text in TEXTS.values())
def no_ids(query, k):
    return ({{"text": text}} for text in TEXTS.values())
def null_ids(query, k):
    return tuple({{"id": None, "text": text}} for text in TEXTS.values())
def later(query, k):
    return [{{"id": "d1", "text": "a"}}, "b"]
def nothing(query, k):
    return [{{"id": "d1", "text": "a"}}, None]
def no_text(query, k):
    return [{{"id": "d1", "body": "a"}}]
"""


def test_ids_that_no_judgment_has_are_told(desk: Desk) -> None:
    (desk.collection / "qrels.tsv").write_text("q1\tx2\t2\nq2\tx4\t1\n")
    done = desk.eval("--first-stage", "stages_of_eval:search")
    assert done.code == 0
    assert "no id that the first stage returned is in the judgments of any query" in done.err
    assert "its first is 'd" in done.err
    (desk.collection / "qrels.tsv").write_text("q1\td2\t2\nq2\tx4\t1\n")
    assert "no id that" not in desk.eval("--first-stage", "stages_of_eval:search").err


ENDS = """
import asyncio, sys
def search(query, k):
    sys.exit(0)
async def asearch(query, k):
    raise SystemExit(0)
def cancelled(query, k):
    raise asyncio.CancelledError
def make():
    sys.exit(0)
def generates(query, k):
    yield {"id": "d1", "text": "a"}
    sys.exit(0)
class Closes:
    def __call__(self, query, k):
        return [{"id": "d1", "text": "a"}]
    def close(self):
        sys.exit(0)
"""


@pytest.mark.parametrize("name", ["search", "asearch", "cancelled", "make", "generates"])
def test_a_first_stage_that_ends_the_process_is_an_error(
    desk: Desk, tmp_path: Path, name: str
) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    error = desk.eval("--first-stage", f"ends.py:{name}").error
    assert ("CancelledError" if name == "cancelled" else "SystemExit: 0") in error


def test_one_that_ends_the_process_when_it_is_closed(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    done = desk.eval("--first-stage", "ends.py:Closes")
    assert done.code == 1 and "nDCG@10" in done.out
    assert "Closes: cannot be closed: SystemExit: 0" in done.err


def test_a_module_that_ends_the_process_is_an_error(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("raise SystemExit(0)")
    assert "SystemExit" in desk.eval("--first-stage", "script.py:search").error
