"""A folder of a cache is made with its tag, and one that somebody else made is told apart."""

from pathlib import Path

import pytest

from resift.tagged import claim

COMMENT = "Made for a test."


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_that_is_nobodys_is_made_ours(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "above" / "kept"
    if is_there:
        folder.mkdir(parents=True)
    assert claim(folder, COMMENT) and claim(folder, COMMENT)
    assert _names(folder) == ["CACHEDIR.TAG"] and _names(folder.parent) == ["kept"]
    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f068")
    assert not claim(folder, "Made for something else.")


@pytest.mark.parametrize("kind", ["file", "full", "dangling", "tag folder"])
def test_what_is_somebodys_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "kept"
    if kind == "file":
        folder.write_text("a stranger's")
    elif kind == "dangling":
        folder.symlink_to(tmp_path / "nowhere")
    else:
        folder.mkdir()
        (folder / ("CACHEDIR.TAG" if kind == "tag folder" else "theirs")).mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert not claim(folder, COMMENT)
    assert sorted(tmp_path.rglob("*")) == before
