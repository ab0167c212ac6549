"""What ``resift index`` remembers, refuses and prints."""

import json
from pathlib import Path

import pytest

from cli.command import Resift
from resift.cli.source_options import OptionChanges, describe, differences
from resift.errors import InputError
from resift.index.parsing.options import Columns
from resift.index.source_options import DEFAULT_OPTIONS, SourceOptions


def test_options_of_the_command_line_change_the_remembered_ones() -> None:
    first = OptionChanges(
        include=["*.csv"],
        text_column=["answer", "faq/*.csv=body"],
        title_column=["faq/*.csv=head"],
        max_mb=2,
    ).apply(DEFAULT_OPTIONS)
    assert first.columns == Columns("answer")
    assert first.columns_by_pattern == (("faq/*.csv", Columns("body", "head")),)
    assert (first.globs.include, first.limits.max_bytes) == (("*.csv",), 2_000_000)
    assert OptionChanges().apply(first) == first
    second = OptionChanges(exclude=["old/"], text_column=["text"], follow_links=True).apply(first)
    assert second.columns_by_pattern == first.columns_by_pattern
    assert differences(first, second) == [
        "text-column answer → text", "exclude none → old/", "follow-links none → yes",
    ]  # fmt: skip
    assert describe(first) == (
        "include *.csv, text-column answer, max-mb 2, text-column of faq/*.csv body, "
        "title-column of faq/*.csv head"
    )
    assert describe(DEFAULT_OPTIONS) == "" and differences(first, first) == []


def test_the_last_pattern_wins() -> None:
    source_options = OptionChanges(text_column=["*.csv=a", "/x.csv=b", "year=2020/*.csv=c"]).apply(
        DEFAULT_OPTIONS
    )
    keys = ("a.csv", "x.csv", "d/x.csv", "year=2020/x.csv", "x.jsonl")
    assert [source_options.columns_for(key).text for key in keys] == ["a", "b", "a", "c", "text"]
    again = OptionChanges(text_column=["*.csv=a"]).apply(source_options)
    assert again.columns_for("x.csv").text == "a"


@pytest.mark.parametrize(
    "changes",
    [
        OptionChanges(text_column=["=a"]),
        OptionChanges(id_column=["*.csv="]),
        OptionChanges(title_column=[""]),
        OptionChanges(text_column=["!=a"]),
        OptionChanges(include=[""]),
        OptionChanges(max_mb=0),
        OptionChanges(max_mb=float("nan")),
        OptionChanges(max_mb=float("inf")),
        OptionChanges(max_mb=1e300),
        OptionChanges(max_mb=1e-300),
        OptionChanges(max_seconds=-1),
        OptionChanges(max_seconds=1e-9),
        OptionChanges(max_seconds=1e300),
        OptionChanges(max_seconds=float("nan")),
    ],
)
def test_invalid_options_are_refused(changes: OptionChanges) -> None:
    with pytest.raises(InputError, match="expected") as refused:
        changes.apply(SourceOptions())
    assert "max_" not in str(refused.value)


def test_an_impossible_limit_is_shown_as_typed() -> None:
    for megabytes in (1e300, 1e-300):
        with pytest.raises(InputError) as refused:
            OptionChanges(max_mb=megabytes).apply(SourceOptions())
        assert str(refused.value) == (
            f"--max-mb {megabytes:g}: expected a number of megabytes from 0.000001 (one byte) to "
            "1,000,000"
        )
    assert OptionChanges(max_mb=1e-6).apply(SourceOptions()).limits.max_bytes == 1
    assert OptionChanges(max_mb=1e6).apply(SourceOptions()).limits.max_bytes == 10**12


def test_an_indexed_file_is_not_called_skipped(resift: Resift, tmp_path: Path) -> None:
    source, uri = tmp_path / "source", tmp_path / "index"
    source.mkdir()
    (source / "a.txt").write_bytes("größer als ".encode() * 20 + b"\xff")
    (source / "b.csv").write_text("text,text\nfirst,second\n")
    (source / "c.txt").write_text("")
    for more in (["--dry-run"], []):
        lines = resift("index", source, "--index", uri, *more).err.splitlines()
        words = {line.split(":")[0].split("/")[-1]: line.split()[0] for line in lines}
        assert words == {"a.txt": "note", "b.csv": "note", "c.txt": "skipped"}


def test_a_plan_that_may_delete_does_not_say_that_it_would_stop(
    resift: Resift, tmp_path: Path
) -> None:
    source, uri = tmp_path / "source", tmp_path / "index"
    source.mkdir()
    (source / "a.txt").write_text("text")
    assert resift("index", source, "--index", uri).code == 0
    (source / "a.txt").unlink()
    assert "the sync would stop" in resift("index", source, "--index", uri, "--dry-run").err
    allowed = resift("index", source, "--index", uri, "--dry-run", "--allow-deletes")
    assert (allowed.code, "would stop" in allowed.err) == (0, False)


def test_damaged_options_can_be_forgotten(resift: Resift, tmp_path: Path) -> None:
    source, uri = tmp_path / "source", tmp_path / "index"
    source.mkdir()
    (source / "a.txt").write_text("text")
    assert resift("index", source, "--index", uri).code == 0
    record = uri / "versions" / "00000001.json"
    record.write_text(record.read_text().replace('"max_seconds": 60.0', '"max_seconds": 1e-9'))
    refused = resift("index", source, "--index", uri)
    assert refused.code == 1 and "--forget" in refused.err
    again = resift("index", source, "--index", uri, "--forget")
    assert again.code == 0 and "the changed options are remembered" in again.out


def test_options_are_remembered_shown_and_forgotten(resift: Resift, tmp_path: Path) -> None:
    source, uri = tmp_path / "source", tmp_path / "index"
    source.mkdir()
    (source / "a.csv").write_text("question,answer\nwhy,because of the tides\n")
    (source / "b.txt").write_text("left out")
    options = ("--text-column", "answer", "--include", "*.csv")
    first = resift("index", source, "--index", uri, *options)
    assert first.code == 0 and first.err == ""
    again = resift("index", source, "--index", uri)
    assert "1 unchanged" in again.out
    assert again.err == "remembered options: include *.csv, text-column answer\n"
    changed = resift("index", source, "--index", uri, "--exclude", "old/")
    assert changed.err == "options changed: exclude none → old/\n"
    refused = resift("index", source, "--index", uri, "--include", "*.md")
    assert refused.code == 1 and "would leave the index" in refused.err.splitlines()[-1]
    assert "--allow-deletes" in refused.err.splitlines()[-1]
    would = resift("index", source, "--index", uri, "--include", "*.md", "--dry-run")
    assert would.code == 0 and "the sync would stop: " in would.err
    assert "1 unchanged" in resift("index", source, "--index", uri).out
    forgot = resift("index", source, "--index", uri, "--forget", "--allow-deletes", "--json")
    report = json.loads(forgot.out)
    assert (report["added"], report["emptied"], report["listed"]) == (1, 1, 2)


def test_ignored_files_are_counted_by_kind(resift: Resift, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a.txt", "x.png", "y.PNG", "z.zip", "data", "tab\t.md"):
        (source / name).write_text("words")
    (source / "link.md").symlink_to("a.txt")
    done = resift("index", source, "--index", source / "index")
    assert "1 added, 0 changed, 0 deleted, 0 unchanged, 2 not indexed" in done.out
    lines = done.err.splitlines()
    kinds = "4 files of kinds that are not read: .png 2, .zip 1, no suffix 1"
    assert lines[-1] == f"{kinds}; --list-skipped names them"
    assert lines[0].endswith("link.md: a link, and links are followed only with --follow-links")
    assert lines[1].endswith("tab .md: its name has the control character '\\t': rename it")
    again = resift("index", source, "--index", source / "index")
    assert f"{kinds}; folders that are not read: index 3; --list" in again.err.splitlines()[-1]
    assert "version 1" in again.out


def test_list_skipped_names_each_file_with_its_reason(resift: Resift, tmp_path: Path) -> None:
    source, uri = tmp_path / "source", tmp_path / "index"
    packages = source / "web" / "node_modules" / "left-pad"
    packages.mkdir(parents=True)
    for name in ("a.txt", "x.png", "package-lock.json", "web/app.min.js"):
        (source / name).write_text("words")
    for name in ("index.js", "readme.md"):
        (packages / name).write_text("words")
    for number in range(30):
        (source / f"empty-{number}.py").write_text("")
    done = resift("index", source, "--index", uri, "--list-skipped")
    lines = done.err.splitlines()
    assert f"not read {source}/x.png: .png: not a kind of document that is read" in lines
    assert f"skipped {source}/empty-29.py: empty file" in lines
    (folder,) = [line for line in lines if "node_modules" in line]
    assert folder.startswith(f"not read {source}/web/node_modules/: installed packages; --include")
    assert len(lines) == 30 + 4
    short = resift("index", source, "--index", uri).err.splitlines()
    assert short[0].startswith("skipped 30 files, such as ") and short[0].endswith(": empty file")
    assert short[1] == (
        "3 files of kinds that are not read: .png 1, lock file 1, minified 1; "
        "folders that are not read: node_modules 1; --list-skipped names them"
    )
    named = resift("index", source, "--index", uri, "--list-skipped", "--json")
    assert [f"{source}/x.png", ".png"] in json.loads(named.out)["not_documents"]
    assert "not_documents" not in json.loads(resift("index", source, "--index", uri, "--json").out)
    both = resift("index", source, "--index", uri, "--include", "node_modules/", "--include", "*.*")
    assert "2 added" in both.out
    followed = resift("index", source, "--index", source / "index", "--follow-links")
    assert "1 added" in followed.out


def test_token_states_are_computed_by_the_named_model(
    resift: Resift, tmp_path: Path, joint_folder: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("An object lock keeps an object.")
    options = ("index", tmp_path / "source", "--index", tmp_path / "index", "--token-states")
    assert "no token states of a document alone" in resift(*options, "--model", joint_folder).error
    assert "no such model folder" in resift(*options, "--model", tmp_path / "absent").error
    assert "token states" in resift(*options, "--model", "bundled").out


def test_a_language_is_chosen_for_a_new_index_and_shown(resift: Resift, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Die alten Häuser.")
    index = ("--index", str(tmp_path / "index"))
    resift("index", str(tmp_path), *index, "--language", "de")
    (version,) = json.loads(resift("versions", *index, "--json").out)
    assert version["analyser"] == {"name": "words", "language": "german", "rules": 1}
    assert "Häuser" in resift("search", "haus", *index, "--mode", "lexical", "--no-rerank").out
    refused = resift("index", str(tmp_path), *index, "--analyser", "trigrams")
    assert "made with the analyser words for language german" in refused.error
    unknown = resift("index", str(tmp_path), *index, "--language", "germann")
    assert "perhaps german" in unknown.error


def test_shards_of_a_new_index_are_chosen_once(resift: Resift, tmp_path: Path) -> None:
    source, uri = tmp_path / "source", tmp_path / "index"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.txt").write_text(f"text {number}")
    first = resift("index", source, "--index", uri, "--shards", 2)
    assert first.code == 0 and "version 1: 6 added" in first.out
    (source / "0.txt").write_text("changed")
    assert "0 added, 1 changed" in resift("index", source, "--index", uri).out
    listed = json.loads(resift("versions", "--index", uri, "--json").out)
    assert [sorted(version["shards"]) for version in listed] == [[1, 1], [1, 2]]
    assert listed[1]["bytes"] > listed[0]["bytes"] > 0
    refused = resift("index", source, "--index", uri, "--shards", 3)
    assert refused.code == 1 and "shards=3: it has 2" in refused.err
    assert resift("search", "changed", "--index", uri, "--no-rerank").out.count("changed") == 1
