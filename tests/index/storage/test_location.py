"""Proves that a location has one canonical form, and that other URIs are refused in a line."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import InputError
from resift.index.storage.location import locate, locate_index, locate_object


@pytest.mark.parametrize("uri", ["s3://b1/a/c", "s3://b1/a/c/", "S3://b1//a/c//"])
def test_a_prefix_has_one_spelling(uri: str) -> None:
    assert locate(uri).uri == "s3://b1/a/c"
    assert locate(uri).child("d.txt") == "s3://b1/a/c/d.txt"


def test_a_bucket_alone_is_a_location() -> None:
    assert locate("s3://b1/").uri == "s3://b1"
    assert locate("s3://b1").child("d.txt") == "s3://b1/d.txt"


def test_a_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uris: list[Any] = ["docs", "./docs/", "x/../docs", f"file://{tmp_path}/docs"]
    uris += [Path("docs"), tmp_path / "docs", f"FILE://localhost{tmp_path}/docs"]
    for uri in (*uris, f"file:{tmp_path}/docs"):
        assert locate(uri).uri == str(tmp_path.resolve() / "docs")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a%20b", "/a b"),
        ("file:///a b", "/a b"),
        ("file:///a%2520b", "/a%20b"),
        ("file:///100%", "/100%"),
        ("file:///%C3%BC/ü", "/ü/ü"),
        ("file:///a%23b%3Fc", "/a#b?c"),
        ("file:///a#b?c", "/a#b?c"),
        ("/a%20b", "/a%20b"),
        ("/a#b?c&d=e", "/a#b?c&d=e"),
        ("/notes:2024/x", "/notes:2024/x"),
    ],
)
def test_percent_escapes_are_decoded_in_file_uris_only(uri: str, path: str) -> None:
    assert locate(uri).path == path


@pytest.mark.parametrize("key", ["a b", "a%20b", "ü/#?", "a+b=c&d", "x" * 900])
def test_a_prefix_in_a_bucket_is_taken_as_it_is(key: str) -> None:
    assert locate(f"s3://b1/{key}").path == key


@pytest.mark.parametrize(
    "uri", ["", "  ", "s3://", "gs://", "ftp://bucket/x", "wasb://c/x", "az://c/x"]
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(InputError, match="expected a folder or s3://bucket/prefix"):
        locate(uri)


@pytest.mark.parametrize(
    "uri",
    [
        *("s3:/x", "s3:x", "S3:/bucket", "http:/x", "s3:///x", "s3://buc ket/x", "s3://bücket/x"),
        *(
            "s3://a%b/x",
            "s3://a\nb/x",
            "s3://-b/x",
            "s3://b1/a/../c",
            "s3://b1/a//b",
            "s3://b1/./a",
        ),
        *("s3://b1/a\0b", "s3://b1/\ud800", "file://host/x", "file://", "file:///%FF"),
        *("file:///a%00b", "a\0b", "a\ud800b", "~nobody-of-that-name/x", "C:\\docs", "C:/docs"),
        *("\\\\server\\docs", "x" * 5_000),
        *(b"/docs", None, 7, ["/docs"], {"uri": "x"}),
    ],
)
def test_impossible_names_are_refused_in_a_line(uri: Any) -> None:
    with pytest.raises(InputError) as refused:
        locate(uri)
    message = str(refused.value)
    assert message.isprintable() and len(message) < 400 and "expected" in message


def test_a_path_of_bytes_is_refused(tmp_path: Path) -> None:
    class Bytes(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return b"/docs"

    with pytest.raises(InputError, match="as text and not as bytes"):
        locate(Bytes())  # type: ignore[arg-type]


def test_a_key_in_a_uri_is_not_shown() -> None:
    for uri in ("s3://key:s3cret@bucket/x", "gs://key:s3cret@bucket/x"):
        with pytest.raises(InputError) as refused:
            locate(uri)
        assert "s3cret" not in str(refused.value)


def test_a_circular_link_is_reported_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    try:
        assert locate(tmp_path / "a")
    except InputError as error:
        assert "\n" not in str(error)


def test_without_a_home_only_the_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(InputError, match="no home folder is known for ~; expected"):
        locate("~/x")


@pytest.mark.parametrize("key", ["a.md", "docs//a.md", "/a.md", "a/../b.md", "a b#?%20.md", "./x"])
def test_any_key_is_an_object(key: str) -> None:
    location, name = locate_object(f"s3://b1/{key}")
    assert (location.uri, name) == ("s3://b1", key)
    assert location.child(name) == f"s3://b1/{key}"


@given(st.text(max_size=40) | st.text("s3file:/\\.%~ab @", max_size=20))
def test_any_text_is_a_location_or_refused_in_a_line(uri: str) -> None:
    try:
        location = locate(uri)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert locate(location.uri) == location


@pytest.mark.parametrize("path", ["a\nb", "a\tb/c", "x\x7f", "\x85y", "file:///a%0Ab"])
def test_a_path_with_control_characters_is_refused_in_a_line(path: str) -> None:
    with pytest.raises(InputError, match="a path with control characters") as refused:
        locate(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("GS://b1//a b/c/", "gs://b1/a b/c"),
        ("az://con/a%20b", "az://con/a%20b"),
        ("az://$web/a", "az://$web/a"),
        ("abfs://con@acct.dfs.core.windows.net/a/", "abfss://con@acct.dfs.core.windows.net/a"),
        (
            "https://acct.blob.core.windows.net/con/a%20b",
            "abfss://con@acct.dfs.core.windows.net/a b",
        ),
        ("https://b.s3.eu-west-1.amazonaws.com/a%20b/", "https://b.s3.eu-west-1.amazonaws.com/a b"),
        ("https://s3.eu-west-1.amazonaws.com/b/a", "https://s3.eu-west-1.amazonaws.com/b/a"),
        ("https://b.c.storage.googleapis.com/a", "https://b.c.storage.googleapis.com/a"),
        ("https://storage.googleapis.com/b/a", "https://storage.googleapis.com/b/a"),
        ("HTTPS://Store.example.com:9000/b/a", "https://store.example.com:9000/b/a"),
        ("https://b.s3.amazonaws.com", "https://b.s3.amazonaws.com"),
        ("http://localhost:8333/b/a", "http://localhost:8333/b/a"),
        ("http://[::1]:8333/b/a", "http://[::1]:8333/b/a"),
    ],
)
def test_other_stores_have_one_spelling_too(uri: str, canonical: str) -> None:
    location = locate(uri)
    assert location.uri == canonical
    assert location.child("d #?.txt") == f"{canonical}/d #?.txt"
    parent, key = locate_object(location.child("d #?.txt"))
    assert parent.child(key) == location.child("d #?.txt") and key.endswith("d #?.txt")
    assert (parent.scheme, parent.bucket, parent.host) == (
        *(location.scheme, location.bucket),
        location.host,
    )


@pytest.mark.parametrize(
    ("uri", "endpoint", "bucket"),
    [
        ("https://b.s3.eu-west-1.amazonaws.com/a", "https://b.s3.eu-west-1.amazonaws.com", "b"),
        ("https://a.b.s3.amazonaws.com/a", "https://a.b.s3.amazonaws.com", "a.b"),
        ("https://b.storage.googleapis.com/a", "https://b.storage.googleapis.com", "b"),
    ],
)
def test_a_bucket_in_the_host_stays_there(uri: str, endpoint: str, bucket: str) -> None:
    access = locate(uri).access
    assert (access.endpoint, access.virtual_hosted, access.skip_signature) == (endpoint, True, True)
    assert locate(uri).bucket == bucket
    assert not locate("https://host/b/a").access.virtual_hosted


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://host/b/a", "http:// only to this machine"),
        ("https://host", "names no bucket"),
        ("https://host/", "names no bucket"),
        ("https:///b/a", "not a URL"),
        ("https://host:port/b", "not a URL"),
        ("https://me:s3cret@host/b", "contains a user"),
        ("https://host/b/a?sig=s3cret", "has a query"),
        ("https://host/b/a#part", "has a query or a fragment"),
        ("https://host/b/%FF", "not UTF-8"),
        ("https://host/b/a//c", "an empty or dotted part"),
        ("https://acct.blob.core.windows.net/", "not the name of a container"),
        ("abfss://con@acct.dfs.core.windows.net/x?sv=1&sig=s3cret", "has a SAS token"),
        ("abfss://con/x", "names no account"),
        ("abfss://con@host/x", "names no account"),
        ("az://Con/x", "not the name of a container"),
        ("gs://b\u00fccket/x", "not the name of a bucket"),
    ],
)
def test_urls_that_name_no_bucket_are_refused_in_a_line(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        locate(uri)
    assert "s3cret" not in str(refused.value) and str(refused.value).isprintable()


def test_no_index_is_at_a_public_url() -> None:
    with pytest.raises(InputError, match="is only read; for an index expected a folder, s3://"):
        locate_index("https://host/bucket/index")
    assert locate_index("gs://b1/index").uri == "gs://b1/index"
