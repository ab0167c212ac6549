"""A hit's file: path and line as text, as a link, and opened without a shell."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from cli.rankings import citation, hit, ranking
from resift.cli.hit_files import (
    check_open,
    file_link,
    has_hyperlinks,
    line_of,
    local_file,
    location,
    open_hit,
)
from resift.errors import InputError
from resift.index.sources.folder import file_etag

OPENER = '#!/bin/sh\nprintf "%s\\n" "$#" "$@" > "$OPENED"\necho to stdout\nexit "$CODE"\n'


def test_a_path_is_relative_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside, outside = str(tmp_path / "a" / "b.md"), str(tmp_path.parent / "c.md")
    assert location(citation(inside), 7) == "a/b.md:7"
    assert location(citation(outside), None) == outside
    assert location(citation("s3://docs/a.md"), 3) == "s3://docs/a.md:3"


def test_a_deleted_working_directory_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert location(citation("/docs/a.md"), 3) == "/docs/a.md:3"


def test_the_line_is_that_of_a_character_of_the_text() -> None:
    text = "one\ntwo\nthree"
    assert line_of(hit(text, uri="/a", line=10), text.index("three")) == 12
    assert line_of(hit(text, uri="/a", line=10), 0) == 10
    assert line_of(hit(text, uri="/a"), 5) is None
    assert line_of(hit(text), 5) is None


@pytest.mark.parametrize("uri", ["s3://b/a.md", "gs://b/a", "https://h/a", "a.md", ""])
def test_only_absolute_paths_are_files_of_this_machine(uri: str) -> None:
    assert local_file(citation(uri)) is None
    assert local_file(None) is None


def test_a_link_names_this_machine_and_escapes_the_path() -> None:
    link = file_link(Path("/a b/ü\x1b;%.md"))
    host, _, path = link.removeprefix("file://").partition("/")
    assert host and unquote(f"/{path}") == "/a b/ü\x1b;%.md"
    assert link.isascii() and not set(link) & set(" ;\x1b")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "6800"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4601"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "new"}, False),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "dumb", "VTE_VERSION": "6800"}, False),
        ({"TERM": "linux", "WT_SESSION": "1"}, False),
        ({}, False),
        ({"TERM": "xterm", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_only_terminals_that_are_known_get_links(variables: dict[str, str], expected: bool) -> None:
    assert has_hyperlinks(variables) is expected


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a stand-in for the system's viewer writes its arguments."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("xdg-open", "open"):
        (programs / name).write_text(OPENER)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OPENED", str(tmp_path / "opened"))
    monkeypatch.setenv("CODE", "0")
    return tmp_path / "opened"


@pytest.mark.parametrize("name", ["plain.md", "-x $(touch hacked) `b`; 'q' \"d\".md", "ü 東.txt"])
def test_the_viewer_gets_one_absolute_path_as_it_is(
    name: str, opened: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    file.write_text("text")
    open_hit(ranking(hit("a", uri="/other"), hit("b", uri=str(file))), 2)
    assert opened.read_text() == f"1\n{file}\n"
    assert capfd.readouterr() == ("", "to stdout\n")  # stdout is for results


@pytest.mark.parametrize(
    ("rank", "fields", "message"),
    [
        (2, {"uri": "/a.md"}, "--open 2: expected a hit, from 1 to 1"),
        (1, {"uri": "s3://b/a b.md"}, "aws s3 cp 's3://b/a b.md' ."),
        (1, {"uri": "gs://b/a.md"}, "gs://b/a.md is not a file of this machine; copy it first"),
        (1, {}, "the hit is not a file of this machine"),
        (1, {"uri": "/nowhere/a.md"}, "/nowhere/a.md is no longer there"),
    ],
)
def test_what_cannot_be_opened_is_named(
    rank: int, fields: dict[str, Any], message: str, opened: Path
) -> None:
    with pytest.raises(InputError) as caught:
        open_hit(ranking(hit("a", **fields)), rank)
    assert message in str(caught.value)
    assert not opened.exists()


def test_what_the_system_may_run_is_not_opened(opened: Path, tmp_path: Path) -> None:
    program = tmp_path / "x.Desktop"
    program.write_text("[Desktop Entry]")
    link = tmp_path / "harmless.md"
    link.symlink_to(program)
    for file in (program, link):
        with pytest.raises(InputError, match="may be run instead of shown"):
            open_hit(ranking(hit("a", uri=str(file), etag=etag(program))), 1)
    assert not opened.exists()


@pytest.mark.parametrize("name", ["run.sh", "a.PY", "a.pl", "a.rb", "a.js", "a.zsh"])
def test_a_script_is_not_opened(name: str, opened: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("echo hi")
    with pytest.raises(InputError, match="may be run instead of shown; open it in an editor"):
        open_hit(ranking(hit("a", uri=str(tmp_path / name))), 1)
    assert not opened.exists()


@pytest.mark.parametrize("mode", [0o744, 0o654, 0o645])
def test_an_executable_file_is_not_opened(mode: int, opened: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("#!/bin/sh")
    (tmp_path / "a.md").chmod(mode)
    with pytest.raises(InputError, match="may be run instead of shown"):
        open_hit(ranking(hit("a", uri=str(tmp_path / "a.md"))), 1)
    assert not opened.exists()


def etag(file: Path) -> str:
    """The ETag of a file when it is indexed."""
    return file_etag(file.stat())


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_that_was_put_there_after_indexing_is_not_followed(
    is_folder: bool, opened: Path, tmp_path: Path
) -> None:
    docs, other = tmp_path / "docs", tmp_path / "other"
    for folder in (docs, other):
        folder.mkdir()
        (folder / "page.html").write_text("<p>text</p>")
    cited, indexed = docs / "page.html", etag(docs / "page.html")
    replaced = docs if is_folder else cited
    replaced.rename(tmp_path / "old")
    replaced.symlink_to(other if is_folder else other / "page.html")
    for known in (indexed, None):
        with pytest.raises(InputError, match="is no longer there: a link leads to another file"):
            open_hit(ranking(hit("a", uri=str(cited), etag=known)), 1)
    assert not opened.exists()


def test_a_link_that_was_indexed_is_followed_and_an_edited_file_is_opened(
    opened: Path, tmp_path: Path
) -> None:
    file, link = tmp_path / "a.md", tmp_path / "link.md"
    file.write_text("text")
    link.symlink_to(file)
    open_hit(ranking(hit("a", uri=str(link), etag=etag(file))), 1)
    assert opened.read_text() == f"1\n{file}\n"
    opened.unlink()
    indexed = etag(file)
    file.write_text("another text")
    open_hit(ranking(hit("a", uri=str(file), etag=indexed)), 1)
    assert opened.exists()


def test_without_hits_there_is_nothing_to_open() -> None:
    with pytest.raises(InputError, match=r"^--open 1: there are no hits$"):
        open_hit(ranking(), 1)


def test_a_viewer_that_fails_or_is_missing_is_named(
    opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.md"
    file.write_text("text")
    monkeypatch.setenv("CODE", "3")
    with pytest.raises(InputError, match=r"open ended with 3; open .*a\.md yourself"):
        open_hit(ranking(hit("a", uri=str(file))), 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no .*open on this machine"):
        open_hit(ranking(hit("a", uri=str(file))), 1)


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one_is_refused(rank: int) -> None:
    with pytest.raises(InputError, match=f"--open {rank}: expected the rank"):
        check_open(rank)
    check_open(None)
