"""Proves that a citation is verified by text, position and ETag, and that each has a verdict."""

import hashlib
import io
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cli.command import Resift
from cli.conftest import resift as resift
from index.fakes import HashingEmbedder
from resift.errors import InputError
from resift.index import citation
from resift.index.sources.listing import Fetched
from resift.search.index import Index
from resift.settings import Settings
from resift.types import Hit

OLD = "# About\n\nThe dog is an animal that barks."
NEW = "# About\n\nThe dog is a friend that sleeps."


def write_docs(folder: Path) -> Path:
    folder.mkdir()
    (folder / "dog 1%.md").write_text(OLD)
    (folder / "rows.csv").write_text("id,text\na,The cat is grey.\nb,The fox is red.\n")
    return folder


def make_index(folder: Path, docs: Path) -> Index:
    index = Index(str(folder), settings=Settings(), embedder=HashingEmbedder())
    index.sync(str(docs))
    return index


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write_docs(tmp_path / "a b#?%41ü")


@pytest.fixture
def index(tmp_path: Path, docs: Path) -> Index:
    return make_index(tmp_path / "index", docs)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Shared by tests that change neither it nor its documents."""
    folder = tmp_path_factory.mktemp("untouched")
    return make_index(folder / "index", write_docs(folder / "docs"))


def hit_of(index: Index, query: str) -> Hit:
    return index.search(query, rerank=False, mode="lexical")[0]


def test_a_hit_is_proved_by_its_own_text_whatever_the_index_says_by_now(
    index: Index, docs: Path
) -> None:
    hit = hit_of(index, "dog barks")
    assert index.verify_citation(hit).status == "verified"
    assert index.verify_citation(json.loads(json.dumps(asdict(hit)))).status == "verified"
    (docs / "dog 1%.md").write_text(NEW)
    index.sync(str(docs))
    assert hit_of(index, "dog friend").id == hit.id  # an id is no citation
    assert index.verify_citation(hit.id).status == "verified"
    for cited in (hit, asdict(hit)):
        assert index.verify_citation(cited).status == "changed"


@pytest.mark.parametrize(
    ("changes", "citation", "standing"),
    [
        ({"text": "The dog is an alien that barks."}, {}, "unverified"),
        ({"text": ""}, {}, "unverified"),
        ({"text": " \n"}, {"start": 0, "end": 2}, "unverified"),
        ({"text": None}, {}, "malformed"),
        ({}, {"etag": "another"}, "still_there"),
        ({}, {"etag": None}, "still_there"),
        ({}, {"start": 0, "end": 5}, "still_there"),
        ({}, {"start": -5, "end": 5}, "malformed"),
        ({}, {"start": True}, "malformed"),
        ({}, {"start": "0"}, "malformed"),
        ({}, {"uri": 7}, "malformed"),
        ({}, {"uri": "/nowhere/dog.md"}, "gone"),
        ({}, {"uri": "gs://bucket/dog.md"}, "unreachable"),
        ({}, {"uri": "/dev/zero"}, "gone"),
        ({}, {"page": 40}, "unverified"),
        ({}, {"row": 9}, "unverified"),
        ({}, {"heading": "Made up"}, "unverified"),
        ({}, {"doc_id": "another.md"}, "unverified"),
        ({}, {"doc_id": "og 1%.md"}, "unverified"),
        ({}, {"object_version": "v9"}, "unverified"),
        ({}, {"object_version": 9}, "malformed"),
        ({}, {"page": "2"}, "malformed"),
        ({"citation": {}}, None, "malformed"),
        ({"citation": "x"}, None, "malformed"),
    ],
)
def test_what_was_altered_is_not_proved(
    untouched: Index, changes: dict[str, Any], citation: dict[str, Any] | None, standing: str
) -> None:
    hit = asdict(hit_of(untouched, "dog barks"))
    cited = hit | changes
    if citation is not None:
        cited["citation"] = dict(hit["citation"]) | citation
    assert untouched.verify_citation(cited).status == standing


def test_a_pipe_is_not_waited_for(index: Index, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    hit = hit_of(index, "dog barks")
    assert hit.citation
    cited = replace(hit, citation=replace(hit.citation, uri=str(tmp_path / "pipe.md")))
    assert index.verify_citation(cited).status == "gone"


def test_a_source_without_read_permission_is_unreachable(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit = hit_of(index, "dog barks")
    assert hit.citation
    uri, stat = hit.citation.uri, os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if isinstance(path, bytes) and path == uri.encode():
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr("resift.index.sources.folder.os.stat", refuse)
    verdict = index.verify_citation(hit)
    assert verdict.status == "unreachable"
    rights = "permission denied: check the rights of the files and folders"
    assert verdict.detail == f"{uri}: {rights}"


class Versioned:
    """A bucket's object with its versions, newest last, by id."""

    uri = "s3://bucket/docs/dog.md"
    numbers_every_write = False

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.is_deleted = False

    def put(self, version: str, text: str) -> None:
        self.versions[version] = text

    def find(self, key: str, version: str | None = None) -> Fetched | None:
        if version is None and self.is_deleted:
            return None
        version = version or list(self.versions)[-1]
        data = self.versions.get(version, "").encode()
        return Fetched(data, hashlib.md5(data).hexdigest(), version) if data else None


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Versioned:
    bucket = Versioned()
    monkeypatch.setattr(citation, "_open", lambda uri, storage: (bucket, "docs/dog.md"))
    return bucket


def cited(bucket: Versioned, **changes: Any) -> dict[str, Any]:
    fetched = bucket.find("docs/dog.md")
    assert fetched
    citation = {"uri": bucket.uri, "start": 9, "end": len(OLD), "doc_id": "docs/dog.md"}
    seen = {"etag": fetched.etag, "object_version": fetched.version, "heading": ""}
    return {"id": "x", "text": OLD[9:], "citation": citation | seen | changes}


def test_the_version_of_an_object_is_proved_as_well(index: Index, bucket: Versioned) -> None:
    bucket.put("v1", OLD)
    hit = cited(bucket)
    verdict = index.verify_citation(hit)
    assert (verdict.status, "version v1" in verdict.detail) == ("verified", True)
    assert index.verify_citation(cited(bucket, object_version="v0")).status == "unverified"
    bucket.put("v2", NEW)
    assert index.verify_citation(hit).status == "replaced"
    assert index.verify_citation(cited(bucket, etag="no", object_version="v1")).status == "changed"
    bucket.put("v3", OLD)  # the same content again: the cited version is still stored
    assert index.verify_citation(hit).status == "verified"
    assert index.verify_citation(cited(bucket, object_version="v2")).status == "unverified"
    del bucket.versions["v1"]
    assert index.verify_citation(hit).status == "unverified"


def test_a_version_outlives_its_object(index: Index, bucket: Versioned) -> None:
    bucket.put("v1", OLD)
    hit = cited(bucket)
    bucket.is_deleted = True
    assert index.verify_citation(hit).status == "replaced"
    bucket.versions.clear()
    assert index.verify_citation(hit).status == "gone"


def test_a_row_is_its_own_document(index: Index, docs: Path) -> None:
    cat, fox = hit_of(index, "cat grey"), hit_of(index, "fox red")
    (docs / "rows.csv").write_text("id,text\nb,The fox is red.\n")
    standings = [verdict.status for verdict in index.verify_citations([cat, fox, "no such"])]
    assert standings == ["gone", "still_there", "unknown"]


def test_a_row_by_another_number_is_not_proved(index: Index) -> None:
    cat = hit_of(index, "cat grey")
    assert cat.citation and index.verify_citation(cat).status == "verified"
    cited = replace(cat, citation=replace(cat.citation, row=900))
    assert index.verify_citation(cited).status == "unverified"


def test_the_command_reads_what_a_search_prints_and_names_what_it_cannot(
    resift: Resift, tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundled"
    assert resift("index", docs, "--index", folder).code == 0
    answer = resift("search", "dog", "--index", folder, "--no-rerank", "--json").out
    hits = json.loads(answer)["hits"]
    lines = "\n".join(json.dumps(hit) for hit in hits)
    for text in (answer, lines, json.dumps(hits), f"{lines}\n" + '{"receipt": {}}\n'):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        done = resift("verify-citation", "-", "--index", folder)
        assert done.code == 0, done.out
        assert [line.split()[0] for line in done.out.splitlines()] == ["verified"] * len(hits)
    odd = f'{{"id": 7}}\n{lines}\n{{"id\nno such id\n[]\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(odd.encode() + b"\xff\xfe\n")))
    done = resift("verify-citation", "-", "--index", folder)
    statuses = [line.partition(":")[0] for line in done.out.splitlines()]
    verified = [f"verified  {hit['id'].partition(':')[0]}" for hit in hits]
    last = len(hits) + 2
    assert done.code == 1
    assert statuses == [
        "malformed  line 1",
        *verified,
        f"malformed  line {last}",
        "unknown  no such id",
        f"malformed  line {last + 3}",
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    done = resift("verify-citation", "-", "--index", folder)
    assert done.code == 1 and "got nothing" in done.err


def test_an_id_of_two_passages_is_proved_if_either_is(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    row, file = docs / "rows.csv", docs / "rows.csv#b.md"
    row.write_text("id,text\nb.md,The fox is red.\n")
    file.write_text("The dog barks.")
    index = make_index(tmp_path / "index", docs)
    fox, dog = hit_of(index, "fox red"), hit_of(index, "dog barks")
    assert fox.id == dog.id
    for call in (index.passage, index.neighbours):
        with pytest.raises(InputError, match=r"2 passages have this id, of .*; take the hit"):
            call(fox.id)
    assert index.neighbours(fox) == index.neighbours(dog) == []
    for changed, proved in ((row, file), (file, row)):
        text = changed.read_text()
        changed.write_text("id,text\nz,Nothing.\n")
        verdict = index.verify_citation(fox.id)
        assert (verdict.status, verdict.uri) == ("verified", str(proved))
        assert "2 passages have this id" in verdict.detail and f"{changed} " in verdict.detail
        assert index.verify_citation(fox if changed is row else dog).status in ("gone", "changed")
        changed.write_text(text)
        index.sync(str(docs))
    for path in (row, file):
        path.unlink()
    assert index.verify_citation(fox.id).status == "gone"


def test_a_part_of_a_passage_has_a_line_of_its_own(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("The fox is red.\nThe dog barks.\nThe cat sleeps.")
    index = make_index(tmp_path / "index", docs)
    hit = hit_of(index, "fox red")
    at, cited = hit.text.index("The cat"), hit.citation
    assert cited is not None and cited.line == 1
    citation = replace(cited, start=cited.start + at, line=3)
    part = replace(hit, text=hit.text[at:], citation=citation)
    assert index.verify_citation(part).status == "verified"
    verdict = index.verify_citation(replace(part, citation=replace(citation, line=1)))
    assert verdict.status == "unverified" and "its line is 3 and not 1" in verdict.detail
