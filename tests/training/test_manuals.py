"""What is read off a dictionary or a manual is a question and the text that answers it.

Trees are made on the spot in the packages' own formats, under a root of their own.
"""

import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import manuals
import pytest
from manuals import (
    DEFINITION_WORDS,
    QUESTIONS,
    SECTION_WORDS,
    SOURCES,
    debian_handbook,
    foldoc,
    main,
    postgresql_manual,
    python_manual,
    sqlite_manual,
    wordnet,
)

from resift.errors import DatasetError
from resift.training.pairs import read_pairs

Reader = Callable[[Path, random.Random], Iterator[tuple[str, str]]]

NOUNS = "usr/share/wordnet/data.noun"
FOLDOC = "usr/share/dictd/foldoc.dict.dz"
PYTHON = "usr/share/doc/python3.11/html"
SQLITE = "usr/share/doc/sqlite3"
POSTGRESQL = "usr/share/doc/postgresql-doc-15/html"
HANDBOOK = "usr/share/doc/debian-handbook/html/en-US"

LONG = " ".join(f"word{index}" for index in range(SECTION_WORDS[0]))
OTHER = " ".join(f"other{index}" for index in range(SECTION_WORDS[0]))

WORDNET = """\
  1 This software and database is being provided to you, the LICENSEE, by
  2 Princeton University under the following license.
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is perceived or known or inferred to exist
00002137 03 n 03 abstract_entity 0 notion 1 a_third_name 0 001 @ 00001740 n 0000 | a general concept formed by extracting common features from specific examples; "it is one"
00003000 03 n 0c big_dog 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 k 0 last_of_twelve 0 001 @ 00001740 n 0000 | an animal that is larger than most others of its kind are
00004000 03 n 01 short_one 0 001 @ 00001740 n 0000 | too few words
"""  # noqa: E501 - a line a synset

FOLDOC_TEXT = f"""\
00-database-info
   This is the Free On-line Dictionary of Computing and a good many other words, which
   say where it comes from and who may copy it.
B-tree

   <data structure> A {{tree}} that is kept {{balanced
   always}}, one two three four five six seven eight nine ten.

   (1998-11-27)

stub

   See {{B-tree}}.

long one
   {" ".join(["again"] * 400)}
"""


def written(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".dz" else data)


def page(title: str, body: str) -> str:
    return f"<!doctype html><html><head><title>{title}</title></head><body>{body}</body></html>"


def read(reader: Reader, root: Path, seed: int = 0) -> list[tuple[str, str]]:
    return list(reader(root, random.Random(seed)))


def forms(term: str) -> set[str]:
    return {question.format(term) for question in QUESTIONS}


def sentences(names: str, definition: str) -> set[str]:
    return {f"{names}: {definition}.", f"{names} is {definition}.", f"{names} ({definition})."}


def test_wordnet_gives_nouns_of_two_words_with_all_their_names(tmp_path: Path) -> None:
    written(tmp_path / NOUNS, WORDNET)
    (first, concept), (second, animal) = read(wordnet, tmp_path)  # no single word, no short one
    assert first in forms("abstract entity") and second in forms("big dog")
    definition = "a general concept formed by extracting common features from specific examples"
    assert concept in sentences("abstract entity, notion, a third name", definition)
    definition = "an animal that is larger than most others of its kind are"
    assert animal in sentences("big dog, b, c, d, e, f, g, h, i, j, k, last of twelve", definition)


def test_questions_and_sentences_take_every_form_and_the_same_ones_by_seed(tmp_path: Path) -> None:
    line = WORDNET.splitlines()[3]
    written(tmp_path / NOUNS, f"{line}\n" * 200)
    pairs = read(wordnet, tmp_path)
    assert len(pairs) == 200
    assert {query for query, _ in pairs} == forms("abstract entity")
    assert len({text for _, text in pairs}) == 3
    assert read(wordnet, tmp_path) == pairs
    assert read(wordnet, tmp_path, seed=1) != pairs


@pytest.mark.parametrize("words", [DEFINITION_WORDS - 1, DEFINITION_WORDS])
def test_a_short_definition_is_left_out(words: int, tmp_path: Path) -> None:
    gloss = " ".join(["word"] * words)
    written(tmp_path / NOUNS, f"00000001 03 n 01 two_words 0 000 | {gloss}\n")
    assert len(read(wordnet, tmp_path)) == (words >= DEFINITION_WORDS)


def test_foldoc_gives_headwords_with_their_bodies_without_links_and_dates(tmp_path: Path) -> None:
    written(tmp_path / FOLDOC, FOLDOC_TEXT)
    pairs = read(foldoc, tmp_path)
    assert len(pairs) == 2  # neither what the dictionary says of itself nor a stub
    (query, text), (long_query, long_text) = pairs
    assert query in forms("B-tree") and long_query in forms("long one")
    assert text == (
        "B-tree: <data structure> A tree that is kept balanced always, "
        "one two three four five six seven eight nine ten."
    )
    assert len(long_text.split()) == SECTION_WORDS[1]


@pytest.fixture
def html() -> None:
    pytest.importorskip("selectolax")


@pytest.mark.usefixtures("html")
@pytest.mark.parametrize(
    ("reader", "folder", "product"),
    [
        (python_manual, PYTHON, "Python"),
        (sqlite_manual, SQLITE, "SQLite"),
        (postgresql_manual, POSTGRESQL, "PostgreSQL"),
        (debian_handbook, HANDBOOK, "Debian"),
    ],
)
def test_a_manual_gives_each_heading_with_the_text_up_to_the_next(
    reader: Reader, folder: str, product: str, tmp_path: Path
) -> None:
    body = f"""
        <p>before any heading {LONG}</p>
        <h1>1. ScoredCandidates rows<a class="headerlink" href="#x">¶</a></h1>
        <p>{LONG}</p><pre>code   here</pre><dl><dt>a term</dt></dl>
        <h2>1.2. Too short</h2><p>few words</p>
        <h3>Writing</h3><ul><li><p>{OTHER}</p></li></ul>"""
    written(tmp_path / folder / "a.html", page("rows — All of them", body))
    written(tmp_path / folder / "deeper" / "b.html", page("Other", f"<h2>Last</h2><p>{LONG}</p>"))
    written(tmp_path / folder / "c.txt", page("No page", f"<h2>Not read</h2><p>{LONG}</p>"))
    assert read(reader, tmp_path) == [
        (f"{product} ScoredCandidates rows", f"{LONG} code here a term"),
        (f"{product} rows Writing", OTHER),
        (f"{product} Other Last", LONG),
    ]


@pytest.mark.usefixtures("html")
def test_a_products_name_is_not_repeated(tmp_path: Path) -> None:
    body = f"<h1>Limits in SQLite</h1><p>{LONG}</p><h2>Columns</h2><p>{LONG}</p>"
    written(tmp_path / SQLITE / "a.html", page("Limits in SQLite", body))
    queries = [query for query, _ in read(sqlite_manual, tmp_path)]
    assert queries == ["Limits in SQLite", "Limits in SQLite Columns"]


@pytest.mark.usefixtures("html")
def test_navigation_around_a_page_is_not_read(tmp_path: Path) -> None:
    around = "".join(
        f"<{tag}><h2>Around</h2><p>{OTHER}</p></{tag.partition(' ')[0]}>"
        for tag in ("nav", "div class='sphinxsidebar'", "div class='related'", "div class='footer'")
    )
    body = f"{around}<h1>Title</h1><script>{OTHER}</script><p>{LONG}</p>{around}"
    written(tmp_path / PYTHON / "a.html", page("Title", body))
    assert read(python_manual, tmp_path) == [("Python Title", LONG)]


@pytest.mark.usefixtures("html")
def test_a_long_section_is_cut_and_a_short_one_left_out(tmp_path: Path) -> None:
    short, long = " ".join(["a"] * (SECTION_WORDS[0] - 1)), " ".join(["b"] * 999)
    body = f"<h1>Short</h1><p>{short}</p><h1>Long</h1><p>{long}</p>"
    written(tmp_path / PYTHON / "a.html", page("T", body))
    ((_, text),) = read(python_manual, tmp_path)
    assert text.split() == ["b"] * SECTION_WORDS[1]


@pytest.mark.usefixtures("html")
@pytest.mark.parametrize(
    "inner", [f"<ul><li>{OTHER}</li></ul>", f"<div><pre>{OTHER}</pre></div>"], ids=["list", "code"]
)
def test_a_text_inside_another_is_read_once(inner: str, tmp_path: Path) -> None:
    body = f"<h1>Title</h1><ul><li>{LONG} {inner}</li></ul>"
    written(tmp_path / PYTHON / "a.html", page("Title", body))
    assert read(python_manual, tmp_path) == [("Python Title", f"{LONG} {OTHER}")]


@pytest.mark.usefixtures("html")
@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("1. Numbers", "Numbers"),
        ("12.3.4. Numbers", "Numbers"),
        ("1.2 Numbers", "Numbers"),
        pytest.param(
            "64-bit numbers",
            "64-bit numbers",
        ),
        pytest.param(
            "2to3 on numbers",
            "2to3 on numbers",
        ),
    ],
)
def test_a_sections_number_is_no_part_of_its_heading(
    heading: str, expected: str, tmp_path: Path
) -> None:
    written(tmp_path / PYTHON / "a.html", page("", f"<h1>{heading}</h1><p>{LONG}</p>"))
    assert read(python_manual, tmp_path) == [(f"Python {expected}", LONG)]


@pytest.mark.usefixtures("html")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "no tags at all",
        "<html><frameset><frame></frameset></html>",
    ],
)
def test_a_page_without_headings_gives_nothing(text: str, tmp_path: Path) -> None:
    written(tmp_path / PYTHON / "a.html", text)
    assert read(python_manual, tmp_path) == []


@pytest.mark.usefixtures("html")
@pytest.mark.parametrize(
    ("reader", "path"),
    [
        (wordnet, NOUNS),
        (foldoc, FOLDOC),
        (python_manual, PYTHON),
        (sqlite_manual, SQLITE),
        (postgresql_manual, POSTGRESQL),
        (debian_handbook, HANDBOOK),
    ],
)
def test_a_package_that_is_not_there_is_named_by_its_file(
    reader: Reader, path: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="unpack the Debian package") as caught:
        read(reader, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / path}: ")


@pytest.mark.usefixtures("html")
def test_main_writes_files_that_training_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "root", tmp_path / "new" / "out"
    written(root / NOUNS, WORDNET)
    written(root / FOLDOC, FOLDOC_TEXT)
    written(root / PYTHON / "a.html", page("é", f"<h1>Où</h1><p>{LONG}</p>"))
    for folder in (SQLITE, POSTGRESQL, HANDBOOK):
        written(root / folder / "a.html", page("S", f"<h1>S</h1><p>{LONG}</p>"))
    main(out, root)
    assert {file.name for file in out.iterdir()} == {f"{name}.jsonl.gz" for name in SOURCES}
    messages = capsys.readouterr().out.splitlines()
    for line, (name, reader) in zip(messages, SOURCES.items(), strict=True):
        result = list(read_pairs(out / f"{name}.jsonl.gz"))
        expected = dict(reader(root, random.Random(name)))
        assert [(entry["query"], entry["positive"]) for entry in result] == list(expected.items())
        assert line == f"{name}: {len(result)} pairs"
        assert result


def test_main_stops_at_a_package_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manuals, "SOURCES", {"wordnet": wordnet})
    with pytest.raises(DatasetError, match=NOUNS):
        main(tmp_path / "out", tmp_path)
