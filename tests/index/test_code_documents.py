"""Code, configuration and front matter in an index: hits know their lines, filters their keys."""

from pathlib import Path

import pytest

from resift import Index
from resift.types import Hit

CODE = '''"""Objects of a store."""

import time


class Store:
    """Holds objects."""

    def put_retention(self, key: str, until: float) -> None:
        """Keep an object from being deleted before a date."""
        self._until[key] = until
        self._log.append(("put_retention", key, until, time.time(), "written by the caller"))
        self._flush(key, "the retention of an object is written before the call returns")

    def delete(self, key: str) -> None:
        """Delete an object, unless it is retained."""
        if self._until.get(key, 0) > time.time():
            raise PermissionError(f"{key}: retained until {self._until[key]}")
        del self._objects[key]
        self._flush(key, "the object is deleted in all copies before the call returns")
'''


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("code")
    source = folder / "source"
    (source / "app").mkdir(parents=True)
    (source / "app" / "store.py").write_bytes(CODE.replace("\n", "\r\n").encode("utf-8-sig"))
    (source / "guide.md").write_text("---\ntitle: Guide\nlang: no\ntags: [a, b]\n---\n\nWords.\n")
    (source / "deploy.yaml").write_text("services:\n  web:\n    image: nginx\n")
    (source / "feed.json").write_text('[{"text": "a row of an array", "id": "r1"}]')
    (source / "talk.srt").write_text("1\n00:12:03,000 --> 00:12:04,000\nspoken sentence\n")
    index = Index(str(folder / "index"))
    report = index.sync(str(source))
    assert (report.added, report.skipped) == (5, ())
    return index


def first(index: Index, query: str, where: str | None = None) -> Hit:
    return index.search(query, 1, rerank=False, mode="lexical", where=where)[0]


def test_a_hit_in_code_is_a_function_with_its_line(index: Index) -> None:
    hit = first(index, "retained")
    assert hit.citation
    assert hit.citation.heading == "Store > def delete(self, key: str) -> None"
    lines = CODE.split("\n")
    assert hit.citation.line
    assert lines[hit.citation.line - 1] == "    def delete(self, key: str) -> None:"
    assert index.verify_citation(hit).status == "verified"


def test_an_altered_line_is_not_verified(index: Index) -> None:
    hit = first(index, "retained")
    assert hit.citation and hit.citation.line
    cited = {
        "uri": hit.citation.uri,
        "doc_id": hit.citation.doc_id,
        "etag": hit.citation.etag,
        "start": hit.citation.start,
        "end": hit.citation.end,
        "heading": hit.citation.heading,
    }
    claim = {"id": hit.id, "text": hit.text}
    assert index.verify_citation({**claim, "citation": cited}).status == "verified"
    verdict = index.verify_citation({**claim, "citation": {**cited, "line": 3}})
    assert (verdict.status, "its line is" in verdict.detail) == ("unverified", True)


@pytest.mark.parametrize(
    ("query", "name", "line", "row"),
    [
        ("nginx", "deploy.yaml", 1, None),
        ("words", "guide.md", 7, None),
        ("array", "feed.json", None, 1),
        ("spoken", "talk.srt", None, None),
    ],
)
def test_lines_are_those_of_text_files(
    index: Index, query: str, name: str, line: int | None, row: int | None
) -> None:
    citation = first(index, query).citation
    assert citation
    assert (Path(citation.uri).name, citation.line, citation.row) == (name, line, row)
    assert index.verify_citation(first(index, query)).status == "verified"


def test_front_matter_is_filtered(index: Index) -> None:
    hit = first(index, "words", where="lang = 'no' and tags in ('b')")
    assert hit.citation and hit.citation.uri.endswith("guide.md")


def test_the_time_of_a_subtitle_is_its_heading(index: Index) -> None:
    citation = first(index, "spoken").citation
    assert citation and citation.heading == "00:12:03"


def test_a_context_has_the_line_of_its_first_character(index: Index) -> None:
    ranking = index.search("retained", 1, rerank=False, mode="lexical")
    (source,) = ranking.context(2_000).sources
    assert source.citation and source.citation.line
    text = CODE[source.citation.start : source.citation.end]
    assert CODE.count("\n", 0, source.citation.start) + 1 == source.citation.line
    assert text == source.text
