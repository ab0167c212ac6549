"""The code questions: complete and consistent, and a passage counts for the functions it covers."""

import hashlib
import io
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import code_corpus
import pytest
from code_corpus import PACKAGES, SUFFIXES, CorpusError, Package, corpus, is_source
from code_functions import Lines, covered, functions, lines_of, python_functions
from code_search import KINDS, QUESTIONS, SPLITS, covered_by, judged, measures, unknown
from hypothesis import given
from hypothesis import strategies as st

from resift.documents import Citation
from resift.evaluation.queries import read_queries

QRELS = {split: judged(split) for split in SPLITS}
JUDGED = {name for qrels in QRELS.values() for grades in qrels.values() for name in grades}
TABLE = functions(Path("no sources: only the table"))
ID = re.compile(r"(?P<path>[a-z0-9]+/[\w./-]+)#[\w.$]+")
SOURCE = '''import os

@decorator
class Stack(list):
    """A list."""

    limit = 3

    def push(self, item):
        def inner():
            return item
        return inner

    @property
    def top(self):
        """The last item."""
        return self[-1]

    @top.setter
    def top(self, item): self[-1] = item

class Empty: ...

if os.name == "nt":
    def clear(): ...
else:
    async def clear():
        """Longer."""
        return
'''


def test_every_question_is_judged_in_one_split_with_a_function_that_has_the_answer() -> None:
    queries = read_queries(QUESTIONS)
    assert len(queries) >= 80 and len(set(queries.values())) == len(queries)
    assert sorted(name for qrels in QRELS.values() for name in qrels) == sorted(queries)
    for grades in (each for qrels in QRELS.values() for each in qrels.values()):
        assert max(grades.values()) == 2 and set(grades.values()) <= {0, 1, 2}


def test_each_kind_of_question_has_its_share_in_both_splits() -> None:
    for qrels in QRELS.values():
        kinds = Counter(name[0] for name in qrels)
        assert set(kinds) == set(KINDS)
        assert min(kinds.values()) >= 0.28 * len(qrels) and min(kinds.values()) >= 13


def test_what_is_judged_is_a_function_of_a_package_of_the_corpus() -> None:
    names = {package.name for package in PACKAGES}
    for name in JUDGED:
        match = ID.fullmatch(name)
        assert match, name
        path = PurePosixPath(match["path"])
        assert path.parts[0] in names and path.suffix in SUFFIXES
        if path.suffix != ".py":
            assert name in TABLE[str(path)]
    assert {name.partition("/")[0] for name in JUDGED} == names


def test_a_judgment_of_a_function_that_is_gone_is_named() -> None:
    qrels = {"q1": {"a.py#f": 2.0, "a.py#g": 0.0}}
    assert unknown(qrels, {"a.py": {"a.py#f": Lines(1, 2)}}) == {"a.py#g"}


def test_the_table_of_javascript_has_ordered_lines_and_ids_of_its_files() -> None:
    assert len(TABLE) >= 60
    for path, table in TABLE.items():
        assert all(name.startswith(f"{path}#") and len(lines) >= 1 for name, lines in table.items())


def test_the_readme_counts_what_is_there() -> None:
    text = (QUESTIONS / "README.md").read_text(encoding="utf-8")
    for split, qrels in QRELS.items():
        counts = Counter(grade for grades in qrels.values() for grade in grades.values())
        numbers = [len(qrels), counts[2], counts[1], counts[0]]
        assert f"| `qrels/{split}.tsv` | {' | '.join(f'{n:,}' for n in numbers)} |" in text
    for package in PACKAGES:
        assert f"{package.name} {package.version}" in text


def test_functions_have_their_decorators_and_a_class_ends_before_its_methods() -> None:
    assert python_functions("s.py", SOURCE) == {
        "s.py#Stack": Lines(3, 8),
        "s.py#Stack.push": Lines(9, 12),
        "s.py#Stack.top": Lines(14, 17),  # the setter is shorter
        "s.py#Empty": Lines(22, 22),
        "s.py#clear": Lines(27, 29),
    }


@pytest.mark.parametrize(
    ("passage", "names"),
    [
        (Lines(1, 5), ["f"]),  # half of it
        (Lines(7, 7), ["f"]),  # within it
        (Lines(10, 13), ["g"]),  # one line of f's is less than half of either
        (Lines(9, 12), ["f", "g"]),  # half of the passage is each one's
        (Lines(9, 30), ["h", "g"]),  # most lines first; two of f's ten lines
        (Lines(40, 50), []),
    ],
)
def test_a_passage_counts_for_functions_of_which_it_has_half(
    passage: Lines, names: list[str]
) -> None:
    assert covered({"f": Lines(1, 10), "g": Lines(11, 14), "h": Lines(20, 29)}, passage) == names


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.integers(1, 50))
def test_parts_of_a_function_count_and_lines_elsewhere_do_not(
    first: int, length: int, start: int, size: int
) -> None:
    function, passage = Lines(first, first + length - 1), Lines(start, start + size - 1)
    shared = len({*range(first, first + length)} & {*range(start, start + size)})
    counts = covered({"f": function}, passage) == ["f"]
    assert counts == (2 * shared >= min(length, size))


@given(st.text("ab \n"), st.data())
def test_the_lines_of_a_passage_are_those_of_its_visible_text(
    text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    visible = [at for at in range(start, end) if not text[at].isspace()]
    if visible:
        expected = Lines(*(text.count("\n", 0, at) + 1 for at in (visible[0], visible[-1])))
        assert lines_of(text, start, end) == expected


def test_a_passage_that_covers_no_function_is_named_by_its_line() -> None:
    text, table = "import os\n\n\ndef f():\n    pass\n", {"p/a.py#f": Lines(4, 5)}
    assert covered_by(Citation("", "p/a.py.txt", 0, 10), text, table) == ["p/a.py:1"]
    assert covered_by(Citation("", "p/a.py", 11, len(text)), text, table) == ["p/a.py#f"]


def test_recall_is_of_functions_with_the_answer_and_of_each_kind() -> None:
    qrels = {"i01": {"f": 2.0, "g": 1.0}, "b01": {"h": 2.0}}
    figures = measures({"i01": ["g", "f"], "b01": []}, qrels)
    assert figures["identifiers"]["R(rel=2)@20"] == 1 and figures["behaviours"]["nDCG@10"] == 0
    assert figures["all"]["R(rel=2)@20"] == 0.5 and figures["all"]["Success(rel=2)@3"] == 0.5


@pytest.mark.parametrize(
    "name", ["../a.py", "/a.py", "a\\..\\b.py", "a/dist/b.js", "a/b.d.ts", "a/b.txt", "a/b.pyc"]
)
def test_unsafe_generated_and_other_files_are_no_sources(name: str) -> None:
    assert not is_source(PurePosixPath(name)) and is_source(PurePosixPath("a/b.py"))


def test_a_corpus_is_the_source_files_of_verified_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = _archives(tmp_path / "archives")
    monkeypatch.setattr(code_corpus, "PACKAGES", packages)
    sources = corpus(tmp_path)
    files = {path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()}
    assert files == {"one/a.py", "two/lib/b.js"}
    assert corpus(tmp_path) == sources  # nothing is fetched or unpacked again
    assert not list(tmp_path.rglob("outside.*"))


def test_an_archive_with_another_hash_is_refused_and_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = _archives(tmp_path / "archives")[0]
    (tmp_path / "archives" / package.file).write_bytes(b"something else")
    monkeypatch.setattr(code_corpus, "PACKAGES", [package])
    with pytest.raises(CorpusError, match=r"one-1\.0.*expected"):
        corpus(tmp_path)
    assert not (tmp_path / "sources").exists()


def _archives(folder: Path) -> list[Package]:
    """A wheel and an npm package, each with files that must not be written."""
    folder.mkdir(parents=True)
    wheel = Package("one", "1.0", "")
    with zipfile.ZipFile(folder / wheel.file, "w") as archive:
        for name in ("one/a.py", "one/data.bin", "../outside.py", "one-1.0.dist-info/RECORD"):
            archive.writestr(name, "a = 1\n")
    npm = Package("two", "1.0", "", npm=True)
    with tarfile.open(folder / npm.file, "w:gz") as package:
        for name in ("package/lib/b.js", "package/dist/c.js", "package/../../outside.js"):
            member = tarfile.TarInfo(name)
            member.size = 2
            package.addfile(member, io.BytesIO(b"b\n"))
        link = tarfile.TarInfo("package/lib/link.js")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        package.addfile(link)
    return [
        Package(each.name, each.version, _sha256(folder / each.file), npm=each.npm)
        for each in (wheel, npm)
    ]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
