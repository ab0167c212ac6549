"""Candidates of a run, an index and a corpus, with the ids that judgments use."""

import json
import os
import shutil
from pathlib import Path

import pytest

from evaluation.small_collection import DOCUMENTS, make_collection, make_run
from index.fakes import HashingEmbedder
from resift.errors import DatasetError
from resift.evaluation.collection import open_collection
from resift.evaluation.first_stage import FromIndex, FromRun, doc_id, from_run, index_corpus
from resift.evaluation.trec import read_run
from resift.search.index import Index
from resift.settings import Settings
from resift.types import Candidate, Citation


def _run(tmp_path: Path, ranked: dict[str, list[str]], depth: int = 2) -> FromRun:
    collection = open_collection(make_collection(tmp_path / "made"))
    return from_run(collection, read_run(make_run(tmp_path / "run", ranked)), "run", depth)


def test_a_run_has_candidates_and_a_tail(tmp_path: Path) -> None:
    retrieved = _run(tmp_path, {"q1": ["d4", "d3", "d1", "d2"]}).retrieve("q1", "?", 2)
    assert [(c.id, c.text, c.rank, c.score) for c in retrieved.candidates] == [
        ("d4", DOCUMENTS["d4"], 1, 10.0), ("d3", DOCUMENTS["d3"], 2, 9.0)
    ]  # fmt: skip
    assert list(retrieved.tail) == ["d1", "d2"]
    assert retrieved.scores == {"d4": 10.0, "d3": 9.0, "d1": 8.0, "d2": 7.0}
    assert retrieved.ms is None


def test_a_query_that_a_run_lacks_has_no_candidates(tmp_path: Path) -> None:
    assert _run(tmp_path, {"q1": ["d4"]}).retrieve("q2", "?", 2).candidates == []


def test_documents_that_the_corpus_lacks_are_named_and_cannot_be_read(tmp_path: Path) -> None:
    first_stage = _run(tmp_path, {"q1": ["d4", "gone"]})
    assert (
        "1 of 2 documents of run are not in the corpus, the first is gone" in first_stage.notes[0]
    )
    assert [candidate.text for candidate in first_stage.retrieve("q1", "?", 2).candidates] == [
        DOCUMENTS["d4"],
        "",
    ]


def test_a_run_of_another_collection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none of its 2 documents is in .* the first is x1"):
        _run(tmp_path, {"q1": ["x1", "x2"]})


def test_a_passage_has_its_documents_id() -> None:
    assert doc_id(Candidate("p#1", "text", citation=Citation("u", "d", 0, 4))) == "d"
    assert doc_id(Candidate("d", "text")) == "d"


def test_an_index_gives_what_a_search_would_rerank(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    rows = [json.dumps({"_id": name, "text": text}) for name, text in DOCUMENTS.items()]
    (tmp_path / "docs" / "all.jsonl").write_text("\n".join(rows))
    index = Index(str(tmp_path / "index"), settings=Settings(), embedder=HashingEmbedder())
    index.sync(str(tmp_path / "docs"))
    for mode in ("hybrid", "dense", "lexical"):
        first_stage = FromIndex(index, mode)
        retrieved = first_stage.retrieve("q", "messages in a queue", 3)
        assert doc_id(retrieved.candidates[0]) == "d4"
        assert retrieved.ms is not None and retrieved.ms > 0 and not retrieved.scores
        assert first_stage.name == f"{mode} of {tmp_path / 'index'}"


def test_a_corpus_is_indexed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    collection = open_collection(make_collection(tmp_path / "made"))
    embedded = []

    def note(state: object) -> None:
        embedded.append(state)

    index, notes = index_corpus(collection, Settings(), note)
    assert notes == ()
    assert doc_id(index.retrieve("deleted objects").candidates[0]) == "d2"
    assert len(index.versions()) == 1
    assert len(index_corpus(collection, Settings())[0].versions()) == 1
    with (tmp_path / "made" / "corpus.jsonl").open("a") as corpus:
        corpus.write(json.dumps({"_id": "d5", "text": "Llamas spit."}) + "\nno document\n")
        corpus.write(json.dumps({"_id": "d6", "text": "half a character \ud800"}) + "\n")
    changed, notes = index_corpus(collection, Settings())
    assert len(notes) == 1 and "1 of 7 documents of" in notes[0]
    assert doc_id(changed.retrieve("llamas").candidates[0]) == "d5"
    assert len(changed.versions()) == 2


def test_a_cache_folder_that_cannot_be_written_is_an_error_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DatasetError, match="cannot be written"):
        index_corpus(open_collection(make_collection(tmp_path / "made")), Settings())


def _cached(cache: Path) -> Path:
    """The only folder for an index of a corpus in a cache folder."""
    (folder,) = (cache / "collections").iterdir()
    return folder


def test_the_cache_folder_of_the_settings_is_where_the_index_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "usual"))
    collection = open_collection(make_collection(tmp_path / "made"))
    index, _ = index_corpus(collection, Settings(cache_dir=str(tmp_path / "named")))
    assert index.uri == str(_cached(tmp_path / "named") / "index")
    assert not (tmp_path / "usual" / "resift" / "collections").exists()


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", ["index", "documents", "documents/00000.jsonl", "notes.txt"])
def test_a_foreign_folder_in_the_cache_is_left_alone(tmp_path: Path, name: str) -> None:
    collection = open_collection(make_collection(tmp_path / "made"))
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    index_corpus(collection, settings)
    folder = _cached(tmp_path / "cache")
    shutil.rmtree(folder)
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("a stranger's")
    before = _tree(tmp_path / "cache")
    with pytest.raises(DatasetError) as caught:
        index_corpus(collection, settings)
    message = str(caught.value)
    assert message.startswith(f"{folder}: has no CACHEDIR.TAG of resift")
    assert str(collection.folder) in message and "RESIFT_CACHE_DIR" in message
    assert _tree(tmp_path / "cache") == before


@pytest.mark.parametrize("name", ["index", "documents"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_foreign_files_in_the_cache_are_named_and_left_alone(
    tmp_path: Path, name: str, kind: str
) -> None:
    collection = open_collection(make_collection(tmp_path / "made"))
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    index_corpus(collection, settings)
    folder = _cached(tmp_path / "cache")
    (folder / name).rename(tmp_path / "elsewhere")
    if kind == "file":
        (folder / name).write_text("a stranger's")
    else:
        (folder / name).symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    before = _tree(tmp_path)
    with pytest.raises(DatasetError, match=f"{name}: is not a folder, expected the cached index"):
        index_corpus(collection, settings)
    assert _tree(tmp_path) == before


def test_a_pipe_in_the_cache_does_not_block(tmp_path: Path) -> None:
    collection = open_collection(make_collection(tmp_path / "made"))
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    index_corpus(collection, settings)
    file = _cached(tmp_path / "cache") / "documents" / "00000.jsonl"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DatasetError, match=r"00000\.jsonl: is not a file"):
        index_corpus(collection, settings)


def test_a_document_file_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    collection = open_collection(make_collection(tmp_path / "made"))
    settings = Settings(cache_dir=str(tmp_path / "cache"))
    index_corpus(collection, settings)
    file = _cached(tmp_path / "cache") / "documents" / "00000.jsonl"
    before = file.read_bytes()
    file.write_bytes(b"\xff\xfe\x00")
    index, _ = index_corpus(collection, settings)
    assert file.read_bytes() == before
    assert doc_id(index.retrieve("deleted objects").candidates[0]) == "d2"
