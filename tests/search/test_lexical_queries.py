"""Proves what the lexical retriever finds in a folder of documents, by what people type."""

import json
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexMismatch, InputError
from resift.index.analysis.spec import AnalyserSpec
from resift.search.index import Index
from resift.settings import Settings

COMMIT = "3bbd9b4a" * 8
DOCUMENTS = {
    "operation": "Call PutObjectRetention to lock an object until a date.",
    "setting": "Set max_memory_mb in the configuration of the worker.",
    "commit": f"The regression came with {COMMIT} last week.",
    "hyphens": "A co\u00adopera\u00adtive sched\u200bule of tasks.",
    "chinese": "如何删除存储桶中的对象",
    "japanese": "データベースの設定を変更する",
    "korean": "파일을 삭제하는 방법을 설명합니다",
    "thai": "วิธีลบไฟล์ทั้งหมดในโฟลเดอร์",
    "hamlet": "To be, or not to be, that is the question.",
    "band": "The Who played in Leeds in 1970.",
    "address": "Write to jane.doe@example.com about invoices.",
    "page": "Read https://docs.example.com/guide/locking.html first.",
    "cpp": "Written in C++ for speed.",
    "code": "The call failed with 0x80070005, access denied.",
    "version": "Released as v2026.4.10 on Friday.",
    "flag": "Pass --dry-run to see the changes.",
    "cafe": "The café serves crème brûlée.",
    "noise": "Nothing here is about any of these things.",
}
QUERIES = {
    "retention": "operation",
    "put object retention": "operation",
    "putobjectretention": "operation",
    "PutObjectRetention": "operation",
    "max memory": "setting",
    "max_memory_mb": "setting",
    COMMIT: "commit",
    COMMIT.upper(): "commit",
    "cooperative schedules": "hyphens",
    "删除": "chinese",
    "储桶": "chinese",
    "ベース": "japanese",
    "삭제": "korean",
    "ไฟล์": "thai",
    "to be or not to be": "hamlet",
    "The Who": "band",
    "jane.doe@example.com": "address",
    "example.com invoice": "address",
    "https://docs.example.com/guide/locking.html": "page",
    "locking.html": "page",
    "C++": "cpp",
    "0x80070005": "code",
    "2026.4.10": "version",
    "--dry-run": "flag",
    "cafe creme brulee": "cafe",
}


def index_at(root: Path, **options: Any) -> Index:
    return Index(str(root / "index"), settings=Settings(), embedder=HashingEmbedder(), **options)


def write(root: Path, **texts: str) -> str:
    folder = root / "docs"
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return str(folder)


def first(index: Index, query: str) -> str | None:
    candidates = index.retrieve(query, 10, "lexical").candidates
    return candidates[0].title if candidates else None


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    root = tmp_path_factory.mktemp("lexical")
    index = index_at(root)
    # Titles are searched too, so they must not tell which document it is.
    documents = {f"d{number}": text for number, text in enumerate(DOCUMENTS.values())}
    index.sync(write(root, **documents))
    return index


@pytest.mark.parametrize("query", QUERIES)
def test_each_kind_of_query_finds_its_document(index: Index, query: str) -> None:
    (candidate, *_) = index.retrieve(query, 10, "lexical").candidates
    assert candidate.text == DOCUMENTS[QUERIES[query]]


@pytest.mark.parametrize("query", ["?!", "zzzz", "…"])
def test_a_query_that_nothing_matches_finds_nothing(index: Index, query: str) -> None:
    assert index.retrieve(query, 10, "lexical").candidates == []


def test_a_version_records_its_analyser(index: Index) -> None:
    assert index.versions()[-1].analyser == AnalyserSpec("words", "english", 1)


def test_an_index_in_another_language_stems_by_its_rules(tmp_path: Path) -> None:
    docs = write(tmp_path, a="Die Häuser sind alt.", b="Ein Auto.")
    index_at(tmp_path, language="de").sync(docs)
    later = index_at(tmp_path)  # reads as it was made
    assert later.versions()[-1].analyser == AnalyserSpec(language="german")
    assert first(later, "haus") == "a"
    write(tmp_path, c="Viele Bäume.")
    later.sync(docs)
    assert first(later, "baum") == "c"
    assert later.versions()[-1].analyser.language == "german"
    assert first(index_at(tmp_path, language="german"), "haus") == "a"


def test_trigrams_find_parts_of_words(tmp_path: Path) -> None:
    index = index_at(tmp_path, analyser="trigrams")
    index.sync(write(tmp_path, a="part XJ-4471/B2", b="part XJ-5512/B2"))
    assert first(index, "4471") == "a" and first(index, "j-55") == "b"


@pytest.mark.parametrize("options", [{"language": "de"}, {"analyser": "trigrams"}])
def test_another_analyser_is_a_mismatch(tmp_path: Path, options: dict[str, str]) -> None:
    docs = write(tmp_path, a="text")
    index_at(tmp_path).sync(docs)
    other = index_at(tmp_path, **options)
    for call in (
        lambda: other.sync(docs),
        lambda: other.plan(docs),
        lambda: other.search("text"),
        lambda: other.retrieve("text", 5, "dense"),
        lambda: other.rollback(1),
    ):
        with pytest.raises(IndexMismatch, match="analyser words for language english, not"):
            call()
    assert len(index_at(tmp_path).versions()) == 1


def test_an_index_with_other_rules_is_a_mismatch(tmp_path: Path) -> None:
    docs = write(tmp_path, a="text")
    index_at(tmp_path).sync(docs)
    (record,) = (tmp_path / "index" / "versions").iterdir()
    version = json.loads(record.read_text())
    version["analyser"]["rules"] = 99
    record.write_text(json.dumps(version))
    for call in (index_at(tmp_path).versions, lambda: index_at(tmp_path).search("text")):
        with pytest.raises(IndexMismatch, match=r"version 99 of the analyser's rules.*update"):
            call()


def test_an_unknown_language_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="perhaps german"):
        index_at(tmp_path, language="germann")


def test_the_id_and_the_other_columns_of_a_row_are_searched(tmp_path: Path) -> None:
    rows = "id,text,owner\nINC-1050,the disk is full,Miriam Okafor\nINC-1051,the disk is loud,Ada\n"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "incidents.csv").write_text(rows)
    index = Index(tmp_path / "index", embedder=HashingEmbedder())
    index.sync(str(tmp_path / "docs"))
    for query in ("INC-1050", "inc1050 okafor"):
        (hit, *_) = index.search(query, mode="lexical", rerank=False)
        assert hit.text == "the disk is full"
