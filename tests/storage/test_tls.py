"""Proves that a store behind a private authority is used with `ca_file`, and refused without."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from resift.errors import SettingsError, SourceError
from resift.index.sources.source import open_source
from resift.index.storage.doctor import examine
from resift.settings import GsSettings, Settings, StorageSettings
from resift.transport.certificates import read_authorities, trust_in_lance
from resift.transport.endpoint import Endpoint, EndpointError, RetryLimits
from storage.conftest import DOCUMENTS, Server
from storage.corpus import Corpus
from storage.gcs_peer import GcsPeer
from storage.peer import running
from storage.tls import Authority, tls_before


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    return Authority(tmp_path)


@pytest.fixture
def endpoint(server: Server, authority: Authority) -> Iterator[str]:
    with tls_before(server.endpoint, authority.context()) as endpoint:
        yield endpoint


def test_an_index_is_made_and_searched_behind_a_private_authority(
    endpoint: str, authority: Authority, bucket: str
) -> None:
    settings = Settings(storage=Server(endpoint).settings(), ca_file=str(authority.file))
    corpus = Corpus(f"s3://{bucket}", settings.storage)
    corpus.write(DOCUMENTS)
    corpus.index().sync(corpus.docs)
    assert corpus.index().search("words3 and things", rerank=False)
    trusted = Path(os.environ["SSL_CERT_FILE"]).read_bytes()  # by Lance
    assert authority.file.read_bytes() in trusted and len(trusted) > authority.file.stat().st_size


def test_without_its_authority_a_store_is_refused_with_the_remedy(
    endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.storage.bucket_listing._SECONDS", 0.3)
    storage = Server(endpoint).settings()
    with pytest.raises(SourceError, match=r"certificate is not trusted: .* RESIFT_CA_FILE"):
        open_source(f"s3://{bucket}/docs", storage).list()
    verdict = examine(f"s3://{bucket}/i", storage).verdict
    assert "its certificate is not trusted" in verdict


def test_googles_protocol_is_spoken_behind_a_private_authority(authority: Authority) -> None:
    with running(peer := GcsPeer()), tls_before(peer.url, authority.context()) as endpoint:
        bucket = peer.new_bucket()
        given = peer.settings
        gs = GsSettings(credentials_json=given.gs.credentials_json, endpoint=endpoint)
        storage = StorageSettings(gs=gs, ca_file=str(authority.file))
        corpus = Corpus(f"gs://{bucket}", storage)
        corpus.write({"a.txt": "A document of words."})
        corpus.index().sync(corpus.docs)
        assert len(corpus.index().search("words", rerank=False)) == 1


def test_the_embedders_server_may_have_the_same_authority(
    endpoint: str, authority: Authority
) -> None:
    limits = RetryLimits(5.0, 1, 0.1)
    with pytest.raises(EndpointError, match="certificate"):
        Endpoint(f"{endpoint}/embeddings").post({}, limits)
    with pytest.raises(EndpointError) as answered:  # by S3, which has no embeddings
        Endpoint(f"{endpoint}/embeddings", ca_file=str(authority.file)).post({}, limits)
    assert "certificate" not in str(answered.value).lower()


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\x00\xff"])
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^ca_file='.*authority.pem': .* PEM certificates$"):
        read_authorities(str(file))


def test_a_file_of_the_users_for_all_programs_is_not_replaced(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with pytest.raises(SettingsError, match=r"SSL_CERT_FILE names .* and Lance reads that"):
        trust_in_lance(str(authority.file))
    assert os.environ["SSL_CERT_FILE"] == str(tmp_path / "other.pem")
    link = tmp_path / "link.pem"
    link.symlink_to(authority.file)
    monkeypatch.setenv("SSL_CERT_FILE", str(link))
    trust_in_lance(str(authority.file))


def test_the_setting_is_read_from_its_variables(authority: Authority) -> None:
    for name in ("RESIFT_CA_FILE", "AWS_CA_BUNDLE"):
        settings = Settings.load({name: str(authority.file)})
        assert settings.ca_file == settings.storage.ca_file == str(authority.file)
