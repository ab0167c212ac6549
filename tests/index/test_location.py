"""Proves that one place has one spelling, and that what is no place is refused."""

from pathlib import Path

import pytest

from resift.errors import InputError
from resift.index.location import locate


@pytest.mark.parametrize("uri", ["s3://b/a/c", "s3://b/a/c/"])
def test_a_prefix_has_one_spelling(uri: str) -> None:
    assert locate(uri).uri == "s3://b/a/c"
    assert locate(uri).child("d.txt") == "s3://b/a/c/d.txt"


def test_a_bucket_alone_is_a_place() -> None:
    assert locate("s3://b/").uri == "s3://b"
    assert locate("s3://b").child("d.txt") == "s3://b/d.txt"


def test_a_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("docs", "./docs/", "x/../docs", f"file://{tmp_path}/docs"):
        assert locate(uri).uri == str(tmp_path.resolve() / "docs")


@pytest.mark.parametrize("uri", ["", "  ", "s3://", "gs://bucket/x", "https://host/x"])
def test_what_is_no_place_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="expected a folder or s3://bucket/prefix"):
        locate(uri)
