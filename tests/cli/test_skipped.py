"""The lines about skipped files are few, and each reason, kind and name is in one of them."""

import pytest

from resift.cli.skipped import print_skipped
from resift.index.plan import SyncPlan


def lines_of(
    capsys: pytest.CaptureFixture[str],
    skipped: list[tuple[str, str]],
    partly_read: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    list_all: bool = False,
) -> list[str]:
    counts = {kind: kinds.count(kind) for kind in kinds}
    plan = SyncPlan(
        added=0, changed=0, deleted=0, unchanged=0, bytes=0, passages=0, seconds=0.0, requests=0,
        sampled=0, skipped=tuple(skipped), passed_over=counts, partly_read=partly_read,
        not_documents=tuple((f"{n}", kind) for n, kind in enumerate(kinds)),
    )  # fmt: skip
    print_skipped(plan, list_all)
    return capsys.readouterr().err.splitlines()


def test_of_many_reasons_the_first_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [(f"{n}", f"reason {n}") for n in range(25)]
    lines = lines_of(capsys, skipped)
    assert lines[19:] == ["skipped 19: reason 19", "and 5 more; --list-skipped names them"]
    assert len(lines_of(capsys, skipped, list_all=True)) == 25


def test_notes_do_not_count_as_skipped_files(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [(f"{n}", "bad") for n in range(5)]
    assert lines_of(capsys, skipped) == ["skipped 5 files, such as 0: bad"]
    assert lines_of(capsys, skipped, ("0", "1")) == [
        "note 0: bad", "note 1: bad", "skipped 2: bad", "skipped 3: bad", "skipped 4: bad"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "end"), [(12, ".k11 1; "), (13, ", 1 other kind; "), (14, ", 2 other kinds; ")]
)
def test_of_many_kinds_the_others_are_counted(
    capsys: pytest.CaptureFixture[str], count: int, end: str
) -> None:
    (line,) = lines_of(capsys, [], kinds=tuple(f".k{n:02}" for n in range(count)))
    assert line.startswith(f"{count} files of kinds that are not read: .k00 1, ")
    assert line.endswith(f"{end}--list-skipped names them")


def test_folders_are_named_with_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("index", "node_modules", "index")
    assert lines_of(capsys, [], kinds=kinds) == [
        "folders that are not read: index 2, node_modules 1; --list-skipped names them"
    ]
    assert lines_of(capsys, [], kinds=kinds, list_all=True) == [
        "not read 0: an index, not documents",
        "not read 1: installed packages; --include 'node_modules/' reads them",
        "not read 2: an index, not documents",
    ]
