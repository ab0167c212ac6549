"""Proves that a source and an index may be in other accounts, regions and stores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import SettingsError, SourceError, StoreError
from resift.index.sources.source import open_object, open_source
from resift.index.storage.client import lance_options
from resift.index.storage.location import locate, locate_object
from resift.search.index import Index
from resift.settings import AzSettings, GsSettings, Settings, StorageSettings
from search.stand_ins import Backwards
from storage.azure_peer import AzurePeer
from storage.conftest import DOCUMENTS, Server
from storage.corpus import Corpus
from storage.gcs_peer import GcsPeer
from storage.peer import running
from storage.weed import PUBLIC

ANYBODY = StorageSettings(skip_signature=True)


def test_a_public_source_and_a_private_index_are_used_together(
    server: Server, bucket: str, tmp_path: Path
) -> None:
    public = Corpus(f"s3://{PUBLIC}/{tmp_path.name}", server.settings())
    public.write(DOCUMENTS)
    keys = server.settings()
    storage = replace(
        server.settings("stranger"),
        by_uri={f"s3://{PUBLIC}": ANYBODY, f"s3://{bucket}/index": keys},
    )
    index = Index(
        f"s3://{bucket}/index",
        settings=Settings(storage=storage),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
    )
    assert index.sync(public.docs).added == len(DOCUMENTS)
    hit = index.search("words3 and things", rerank=False)[0]
    assert index.verify_citation(hit).status == "verified"
    with pytest.raises(SourceError, match=f"^s3://{bucket}/docs: access denied"):
        open_source(f"s3://{bucket}/docs", storage).list()


def test_an_error_names_the_table_that_applies(server: Server, bucket: str) -> None:
    storage = replace(server.settings(), by_uri={f"s3://{bucket}": server.settings("stranger")})
    told = rf'^s3://{bucket}/docs \(by storage\."s3://{bucket}"\): access denied'
    with pytest.raises(SourceError, match=told):
        open_source(f"s3://{bucket}/docs", storage).list()
    with pytest.raises(StoreError, match=r'index \(by storage\."s3://'):
        Corpus(f"s3://{bucket}", storage).versions.newest()


def test_a_folder_an_azure_and_a_google_source_feed_one_index(tmp_path: Path) -> None:
    with running(gcs := GcsPeer()), running(azure := AzurePeer()):
        settings = Settings(storage=replace(gcs.settings, az=azure.settings.az))
        roots = [f"gs://{gcs.new_bucket()}", f"az://{azure.new_bucket()}", str(tmp_path)]
        for name, root in zip("abc", roots, strict=True):
            corpus = Corpus(root, settings.storage)
            corpus.write({f"{name}.txt": f"Words of {name}."})
            index = Index(
                f"{roots[0]}/index",
                settings=settings,
                embedder=HashingEmbedder(),
                reranker=Backwards(),
            )
            assert index.sync(corpus.docs).added == 1
        ids = {hit.id for hit in index.search("words", rerank=False)}
        assert ids == {f"{root}/docs/{n}.txt#0" for n, root in zip("abc", roots, strict=True)}


def test_the_longest_table_holds_and_only_below_its_uri() -> None:
    storage = StorageSettings(
        region="general",
        by_uri={
            "s3://a": StorageSettings(region="bucket"),
            "s3://a/b/": StorageSettings(region="prefix"),
        },
    )
    regions = {"s3://a": "bucket", "s3://a/b": "prefix", "s3://a/b/c": "prefix"}
    regions |= {"s3://a/bc": "bucket", "s3://ab": "general", "gs://a/b": "general"}
    for uri, region in regions.items():
        assert locate(uri, storage).access.region == region
    parent, key = locate_object("s3://a/b/c.txt", storage)
    assert (parent.uri, key, parent.access.region) == ("s3://a", "b/c.txt", "prefix")


def test_a_table_replaces_groups_of_values() -> None:
    general = StorageSettings(
        endpoint="http://minio:9000",
        region="r",
        access_key_id="a",
        secret_access_key="b",
        session_token="c",
        server_side_encryption="AES256",
    )
    with_profile = StorageSettings(profile="other")
    storage = replace(
        general, by_uri={"s3://x": with_profile, "s3://y": StorageSettings(region="s")}
    )
    other = storage.of("s3://x/p")
    assert (other.profile, other.access_key_id, other.session_token) == ("other", None, None)
    assert (other.endpoint, other.server_side_encryption) == ("http://minio:9000", "AES256")
    moved = storage.of("s3://y/p")
    assert (moved.region, moved.endpoint, moved.access_key_id) == ("s", None, "a")


def test_variables_of_other_uris_are_not_added_to_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, Any] = {"access_key_id": "a", "secret_access_key": "b"}
    by_uri = {"s3://x": StorageSettings(region="eu-west-1", **keys)}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    storage = StorageSettings(endpoint="http://minio:9000", by_uri=by_uri)
    assert lance_options(locate("s3://x/i", storage))["aws_endpoint"] == (
        "https://s3.eu-west-1.amazonaws.com"
    )
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another's")
    with pytest.raises(SettingsError, match=r"^AWS_SESSION_TOKEN: is set, and belongs to other"):
        lance_options(locate("s3://x/i", storage))


FILE = """
[storage]
region = "general"
[storage.gs]
credentials_file = "/keys/general.json"
[storage.az]
account_name = "general"
[storage."s3://other"]
region = "other"
skip_signature = true
[storage."gs://public"]
skip_signature = true
[storage."abfss://c1x@acct.dfs.core.windows.net"]
account_key = "a2V5"
"""


def test_the_file_has_tables_and_wins_there_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / "resift.toml").write_text(FILE)
    environ = {
        "RESIFT_CONFIG": str(tmp_path / "resift.toml"),
        "AWS_REGION": "variable",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AZURE_STORAGE_KEY": "Z2VuZXJhbA==",
    }
    storage = Settings.load(environ).storage
    assert (storage.region, storage.of("s3://other/x").region) == ("variable", "other")
    assert "aws_access_key_id" not in storage.of("s3://other/x").options()
    assert storage.of("s3://x").gs.credentials_file == "/keys/general.json"
    assert storage.of("gs://public/x").gs == GsSettings(skip_signature=True)
    assert storage.az == AzSettings("general", "Z2VuZXJhbA==")
    uri = "abfss://c1x@acct.dfs.core.windows.net/p"
    assert storage.of(uri).az == AzSettings(account_key="a2V5")
    assert hash(storage) == hash(Settings.load(environ).storage)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[storage."s3://a"]\nregin = "x"', 'storage."s3://a".regin: no such setting'),
        ('[storage."gs://a"]\nregion = "x"', 'storage."gs://a".region: no such setting'),
        ('[storage."ftp://a"]\nregion = "x"', 'storage."ftp://a": expected a URI like s3://bucket'),
        ('[storage]\n"s3://a" = 5', 'storage."s3://a"=5: expected a table'),
        ("[storage.gs]\nkey = 5", "storage.gs.key: no such setting"),
        ("[storage]\naz = 5", "storage.az=5: expected a table"),
        ('[storage."s3://a"]\nregion = 5', 'storage."s3://a".region=5: expected text'),
        (
            '[storage."az://a"]\naccount_key = 5',
            'storage."az://a".account_key: expected text, got int',
        ),
    ],
)
def test_a_table_with_what_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "resift.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        Settings.load({"RESIFT_CONFIG": str(file)})
    assert message in str(refused.value) and str(file) in str(refused.value)


def test_a_table_of_another_kind_is_refused() -> None:
    odd: list[Any] = [{"gs://a": StorageSettings()}, {"s3://a": 5}, {5: StorageSettings()}, "x"]
    for by_uri in odd:
        with pytest.raises(SettingsError, match=r"^storage"):
            StorageSettings(by_uri=by_uri)


def test_two_tables_for_one_uri_are_refused() -> None:
    with pytest.raises(SettingsError, match=r'^storage\."S3://a/": a second table for s3://a'):
        StorageSettings(by_uri={"s3://a": ANYBODY, "S3://a/": StorageSettings()})


def test_an_object_of_a_citation_is_opened_by_the_table_of_its_prefix(
    server: Server, bucket: str
) -> None:
    Corpus(f"s3://{bucket}", server.settings()).write({"a.txt": "x"})
    by_uri = {f"s3://{bucket}/docs": server.settings()}
    storage = replace(server.settings("stranger"), by_uri=by_uri)
    source, key = open_object(f"s3://{bucket}/docs/a.txt", storage)
    assert source.read(key).data == b"x"
