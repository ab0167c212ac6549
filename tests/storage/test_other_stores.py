"""Proves that Google Cloud Storage and Azure hold sources and indexes as S3 does.

The servers are small peers of both protocols, which enforce preconditions and signatures.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore
import pytest

from index.fakes import HashingEmbedder
from resift.errors import (
    IndexNotFound,
    InputError,
    MissingExtra,
    SettingsError,
    SourceError,
    StoreError,
    UnsafeStore,
)
from resift.index.sources.source import open_source
from resift.index.storage import doctor
from resift.index.storage.bucket_listing import BucketListing
from resift.index.storage.client import open_bucket
from resift.index.storage.doctor import examine, refuse_unsafe
from resift.index.storage.location import locate
from resift.index.table.store import Store
from resift.settings import AzSettings, GsSettings, StorageSettings
from storage.azure_peer import ACCOUNT, KEY, SAS, TOKEN, AzurePeer
from storage.corpus import Corpus
from storage.gcs_peer import CarelessGcsPeer, GcsPeer
from storage.peer import Answer, Request, error, running

pytest.importorskip("google.auth")

DOCUMENTS = {f"{n} ü+%.txt": f"Document {n} of words{n % 7} and things." for n in range(20)}


class CarelessAzurePeer(AzurePeer):
    """Ignores preconditions."""

    def _put(self, container: str, key: str, request: Request) -> Answer:
        headers = {name: v for name, v in request.headers.items() if not name.startswith("if-")}
        return super()._put(container, key, replace(request, headers=headers))


KINDS: dict[str, tuple[Any, Any]] = {
    "gs": (GcsPeer, CarelessGcsPeer),
    "az": (AzurePeer, CarelessAzurePeer),
}


@dataclass(frozen=True)
class Running:
    """A running peer with one bucket."""

    scheme: str
    peer: Any
    bucket: str

    @property
    def root(self) -> str:
        return f"{self.scheme}://{self.bucket}"

    def corpus(self) -> Corpus:
        return Corpus(self.root, self.peer.settings)


@pytest.fixture(params=KINDS)
def running_store(request: pytest.FixtureRequest) -> Iterator[Running]:
    peer = KINDS[request.param][0]()
    with running(peer):
        yield Running(request.param, peer, peer.new_bucket())


@pytest.fixture(params=KINDS)
def careless(request: pytest.FixtureRequest) -> Iterator[Running]:
    peer = KINDS[request.param][1]()
    with running(peer):
        yield Running(request.param, peer, peer.new_bucket())


def refusal(answer: Answer) -> Any:
    return lambda request: None if request.path == "/token" else answer


def test_documents_are_indexed_searched_cited_and_changed(running_store: Running) -> None:
    corpus = running_store.corpus()
    corpus.write(DOCUMENTS)
    index = corpus.index()
    assert index.sync(corpus.docs).added == len(DOCUMENTS)
    assert index.sync(corpus.docs).unchanged == len(DOCUMENTS)
    hit = index.search("words3 and things", rerank=False)[0]
    assert hit.id.startswith(f"{running_store.root}/docs/") and hit.citation
    assert index.verify_citation(hit).status == "verified"
    corpus.write({"3 ü+%.txt": "Another text.", "new.txt": "A new one of words3."})
    corpus.delete("10 ü+%.txt")
    report = index.sync(corpus.docs)
    assert (report.added, report.changed, report.deleted) == (1, 1, 1)
    assert len(corpus.index().versions()) == 2
    index.rollback(1)
    index.clean(keep=1, older_than_days=0)
    assert len(corpus.rows()) == len(DOCUMENTS)


def test_a_citation_holds_for_equal_content_that_was_written_again(running_store: Running) -> None:
    corpus = running_store.corpus()
    corpus.write(DOCUMENTS)
    index = corpus.index()
    index.sync(corpus.docs)
    hit = index.search("words3 and things", rerank=False)[0]
    name = hit.id.partition("/docs/")[2].partition("#")[0]
    corpus.write({name: DOCUMENTS[name]})  # another ETag or generation, the same text
    expected = {"gs": "verified", "az": "still_there"}  # ETags are of the content, or of a write
    assert index.verify_citation(hit).status == expected[running_store.scheme]
    corpus.write({name: "Nothing of the kind."})
    assert index.verify_citation(hit).status == "changed"


def test_a_version_is_published_by_one_of_two_writers(running_store: Running) -> None:
    corpus = running_store.corpus()
    corpus.write(DOCUMENTS)
    corpus.index().sync(corpus.docs)
    version = corpus.newest()
    versions = corpus.versions
    first = replace(version, number=2, manifest="manifests/first.parquet")
    second = replace(version, number=2, manifest="manifests/second.parquet")
    assert versions.publish(first, {}) and not versions.publish(second, {})
    assert versions.get(2).manifest == first.manifest


def test_a_correct_store_is_safe_and_left_clean(
    running_store: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LISTED_OBJECTS", 40)
    running_store.peer.page = 13
    diagnosis = examine(f"{running_store.root}/some/where", running_store.peer.settings)
    assert [check for check in diagnosis.checks if not check.ok] == []
    assert diagnosis.is_safe and running_store.peer.objects[running_store.bucket] == {}


def test_a_store_that_ignores_preconditions_is_refused(
    careless: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LISTED_OBJECTS", 20)
    diagnosis = examine(f"{careless.root}/index", careless.peer.settings)
    assert diagnosis.verdict.startswith("unsafe: create once: an existing object can be created")
    with pytest.raises(UnsafeStore, match=rf"run  resift doctor {careless.root}/index"):
        refuse_unsafe(locate(f"{careless.root}/index", careless.peer.settings))
    assert careless.peer.objects[careless.bucket] == {}


def test_what_could_not_be_written_does_not_hide_why(running_store: Running) -> None:
    peer = running_store.peer
    peer.fault = lambda request: error(403, "AccessDenied") if request.method == "PUT" else None
    location = locate(f"{running_store.root}/index", peer.settings)
    with pytest.raises(StoreError, match=r"index: access denied"):
        refuse_unsafe(location)
    checks = {check.name: check for check in examine(location.uri, peer.settings).checks}
    assert "access denied" in checks["create once"].detail and checks["clean up"].ok


def test_keys_are_listed_as_they_are_over_all_pages(running_store: Running) -> None:
    keys = ["docs/a//b.txt", "docs/tab\t.txt", "docs/a&b<c>.txt", "docs/ü %41.txt"]
    keys += [f"docs/{n:03}.txt" for n in range(10)]
    peer = running_store.peer
    for key in keys:
        peer.store(running_store.bucket, key, b"text")
    peer.page = 3
    location = locate(f"{running_store.root}/docs", peer.settings)
    pages = list(BucketListing(location).pages("docs/"))
    assert sorted(item.key for page in pages for item in page) == sorted(keys)
    assert len(pages) == 5
    listing = open_source(location.uri, peer.settings).list()
    assert [item.key for item in listing.objects][-2:] == ["a&b<c>.txt", "ü %41.txt"]
    assert len(listing.unsupported) == 2  # they have no path that obstore can read
    fetched = open_source(location.uri, peer.settings).read_many(listing.objects)
    assert [getattr(content, "data", None) for _, content in fetched] == [b"text"] * 12


def test_folders_of_a_hierarchical_namespace_are_no_documents() -> None:
    with running(peer := AzurePeer()):
        bucket = peer.new_bucket()
        peer.store(bucket, "docs/folder", b"")
        peer.store(bucket, "docs/folder/a.txt", b"text")
        listing = open_source(f"az://{bucket}/docs", peer.settings).list()
        assert [item.key for item in listing.objects] == ["folder/a.txt"]
        assert listing.count == 1


def test_an_index_is_searched_from_its_copy_while_the_store_is_down(
    running_store: Running, tmp_path: Path
) -> None:
    corpus = running_store.corpus()
    corpus.write(DOCUMENTS)
    corpus.index().sync(corpus.docs)
    index = corpus.index(cache_dir=str(tmp_path))
    wanted = [hit.id for hit in index.search("words3", rerank=False)]
    running_store.peer.fault = refusal(error(503, "ServerBusy"))
    ranking = corpus.index(cache_dir=str(tmp_path)).search("words3", rerank=False)
    assert [hit.id for hit in ranking] == wanted
    assert any("was read from its copy on this disk" in note for note in ranking.receipt.notes)


REMEDIES = {
    "gs": ("GOOGLE_SERVICE_ACCOUNT_KEY", "Storage Object"),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "Storage Blob Data"),
}


@pytest.mark.parametrize(
    ("status", "codes", "phrase"),
    [
        (403, {"gs": "AccessDenied", "az": "AuthorizationPermissionMismatch"}, "access denied"),
        (429, {"gs": "TooManyRequests", "az": "ServerBusy"}, "asks for fewer requests"),
        (404, {"gs": "NoSuchBucket", "az": "ContainerNotFound"}, "there is no such"),
    ],
)
def test_a_refusal_is_a_line_with_the_stores_own_remedy(
    running_store: Running,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    codes: dict[str, str],
    phrase: str,
) -> None:
    monkeypatch.setattr("resift.index.storage.bucket_listing._SECONDS", 0.3)
    scheme, peer = running_store.scheme, running_store.peer
    peer.fault = refusal(error(status, codes[scheme]))
    with pytest.raises(SourceError, match=f"^{running_store.root}/docs: .*{phrase}") as source:
        open_source(f"{running_store.root}/docs", peer.settings).list()
    with pytest.raises(StoreError, match=f"^{running_store.root}/index: .*{phrase}") as store:
        running_store.corpus().versions.newest()
    for caught in (source, store):
        message = str(caught.value)
        assert "\n" not in message and "AWS" not in message and len(message) < 300
        assert status != 403 or all(words in message for words in REMEDIES[scheme])
    verdict = examine(f"{running_store.root}/index", peer.settings).verdict if status != 429 else ""
    assert "AWS" not in verdict


def test_an_absent_index_is_not_found(running_store: Running) -> None:
    with pytest.raises(IndexNotFound, match="no index there"):
        running_store.corpus().versions.find()


def test_a_store_that_does_not_answer_is_named_by_its_own_setting() -> None:
    nobody = {
        "gs": StorageSettings(gs=GsSettings(endpoint="http://127.0.0.1:9")),
        "az": StorageSettings(
            az=AzSettings(ACCOUNT, account_key=KEY, endpoint="http://127.0.0.1:9/a")
        ),
    }
    names = {"gs": "STORAGE_EMULATOR_HOST", "az": "AZURE_STORAGE_ENDPOINT"}
    for scheme, storage in nobody.items():
        verdict = examine(f"{scheme}://bucket/i", storage).verdict
        assert "no service listens there" in verdict and names[scheme] in verdict


def test_google_credentials_are_read_from_a_file_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    with running(peer := GcsPeer()):
        bucket = peer.new_bucket()
        file = tmp_path / "user.json"
        file.write_text(peer.credentials)
        given = StorageSettings(gs=GsSettings(credentials_file=str(file), endpoint=peer.url))
        obstore.put(open_bucket(locate(f"gs://{bucket}", given)), "a.txt", b"x")
        assert list(peer.objects[bucket]) == ["a.txt"]
        peer.fault = lambda request: error(400, "invalid") if request.path == "/token" else None
        for text in (
            peer.credentials.replace('"1"', '"the-secret"'),
            '{"type": "the-secret"}',
            "{the-secret",
            peer.credentials.replace("PRIVATE KEY", "the-secret"),
        ):
            bad = StorageSettings(gs=GsSettings(credentials_json=text, endpoint=peer.url))
            with pytest.raises(SettingsError, match=r"^(Google Cloud|GOOGLE_SERVICE)") as caught:
                open_source(f"gs://{bucket}/docs", bad).list()
            message = str(caught.value)
            assert "secret" not in message and "\n" not in message


AZURE_KEYS: dict[str, dict[str, str]] = {
    "a SAS token": {"account_name": ACCOUNT, "sas_token": f"?{SAS}"},
    "a connection string": {
        "connection_string": f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={{}}"
    },
    "a connection string with a SAS token": {
        "connection_string": f"BlobEndpoint={{}};AccountName={ACCOUNT};SharedAccessSignature={SAS}"
    },
}


@pytest.mark.parametrize("given", AZURE_KEYS.values(), ids=AZURE_KEYS)
def test_azure_accepts_each_kind_of_key(given: dict[str, str]) -> None:
    with running(peer := AzurePeer()):
        bucket = peer.new_bucket()
        values = {name: value.replace("{}", peer.endpoint) for name, value in given.items()}
        az = AzSettings(**({"endpoint": peer.endpoint} | values))  # type: ignore[arg-type]
        for root in (f"az://{bucket}", f"abfss://{bucket}@{ACCOUNT}.dfs.core.windows.net"):
            corpus = Corpus(root, StorageSettings(az=az))
            corpus.write({"a.txt": "A document of words."})
            corpus.index().sync(corpus.docs)
            hits = corpus.index().search("words", rerank=False)
            assert [hit.id for hit in hits] == [f"{root}/docs/a.txt#0"]
            peer.objects[bucket].clear()


class Identity:
    """What azure-identity gives: tokens, or an error with more than a user should see."""

    def __init__(self, **options: object) -> None:
        self.options = options

    def get_token(self, scope: str) -> Any:
        assert scope == "https://storage.azure.com/.default"
        return SimpleNamespace(token=TOKEN, expires_on=time.time() + 3600)


class NoIdentity(Identity):
    def get_token(self, scope: str) -> Any:
        raise RuntimeError("the s3cret of a command")


def test_azure_accepts_the_tokens_of_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.storage.lookups.CACHED_S", 1e-9)
    with running(peer := AzurePeer()):
        bucket = peer.new_bucket()
        storage = StorageSettings(az=AzSettings(ACCOUNT, endpoint=peer.endpoint))
        module = SimpleNamespace(DefaultAzureCredential=Identity)
        monkeypatch.setitem(sys.modules, "azure.identity", module)
        corpus = Corpus(f"az://{bucket}", storage)
        corpus.write({"a.txt": "A document of words."})
        corpus.index().sync(corpus.docs)
        assert len(corpus.index().search("words", rerank=False)) == 1
        module.DefaultAzureCredential = NoIdentity
        with pytest.raises(SettingsError, match=r"^Azure: no token .* or run az login") as refused:
            open_source(corpus.docs, storage).list()
        verdict = examine(corpus.index_uri, storage).verdict
        assert (
            verdict.startswith("unsafe: reach: Azure: no token")
            and "s3cret" not in str(refused.value) + verdict
        )


def test_a_long_sync_renews_the_token_that_lance_has(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count()

    class Renewed(Identity):
        def get_token(self, scope: str) -> Any:
            token = f"{TOKEN}-{next(numbers)}"
            return SimpleNamespace(token=token, expires_on=time.time() + 3600)

    monkeypatch.setattr("resift.index.table.store._RENEW_AFTER_S", -1.0)
    monkeypatch.setattr("resift.index.storage.lookups.CACHED_S", 1e-9)
    module = SimpleNamespace(DefaultAzureCredential=Renewed)
    monkeypatch.setitem(sys.modules, "azure.identity", module)
    with running(peer := AzurePeer()):
        bucket = peer.new_bucket()
        location = locate(
            f"az://{bucket}/i", StorageSettings(az=AzSettings(ACCOUNT, endpoint=peer.endpoint))
        )
        store = Store.open(location, HashingEmbedder())
        before = {request.headers["authorization"] for request in peer.seen}
        peer.seen.clear()
        store.refresh()
        used = {request.headers["authorization"] for request in peer.seen}
    assert used and not used & before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "^az://container: no account is named: set AZURE_STORAGE_ACCOUNT_NAME or AZURE"),
        ({"account_name": "UPPER"}, "is not an account's name"),
        ({"account_name": "acct", "account_key": "not base64 s3cret"}, "not in base64"),
        ({"account_name": "acct", "sas_token": "s3cret"}, "has no signature"),
        ({"connection_string": "s3cret"}, "names no account"),
        ({"account_name": "acct", "account_key": KEY, "endpoint": "nowhere"}, "is not an endpoint"),
    ],
)
def test_unusable_settings_of_azure_are_refused_in_a_line(
    given: dict[str, Any], message: str
) -> None:
    location = locate("az://container/p", StorageSettings(az=AzSettings(**given)))
    for use in (open_bucket, BucketListing):
        with pytest.raises(SettingsError, match=message) as caught:
            use(location)
        told = str(caught.value)
        assert told.startswith(("AZURE_STORAGE_", "az://container: ")) and "s3cret" not in told


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, uri, az in (
        ("google.auth", "gs://bucket/p", AzSettings()),
        ("azure.identity", "az://container/p", AzSettings(ACCOUNT)),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        storage = StorageSettings(gs=GsSettings(credentials_json="{}"), az=az)
        with pytest.raises(MissingExtra, match=rf"pip install 'resift\[{uri[:2]}\]'"):
            open_source(uri, storage).list()


def test_the_key_of_an_account_is_not_sent_to_another_one() -> None:
    az = AzSettings("firstacct", account_key=KEY)
    uri = "abfss://docs@secondacct.dfs.core.windows.net/p"
    with pytest.raises(SettingsError, match=r"firstacct is not the account of abfss://docs@second"):
        open_bucket(locate(uri, StorageSettings(az=az)))


def test_a_variable_that_lance_would_prefer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    storage = StorageSettings(az=AzSettings(ACCOUNT, sas_token=SAS))
    with pytest.raises(SettingsError, match=r"^AZURE_STORAGE_ACCOUNT_KEY: is set too"):
        open_bucket(locate("az://container/p", storage))


def test_a_public_bucket_is_read_without_keys(running_store: Running) -> None:
    corpus = running_store.corpus()
    corpus.write(DOCUMENTS)
    corpus.index().sync(corpus.docs)
    peer = running_store.peer
    peer.public.add(running_store.bucket)
    peer.seen.clear()
    anybody = StorageSettings(
        gs=GsSettings(endpoint=peer.url, skip_signature=True),
        az=AzSettings(ACCOUNT, endpoint=f"{peer.url}/{ACCOUNT}", skip_signature=True),
    )
    seen = Corpus(running_store.root, anybody)
    assert len(open_source(seen.docs, anybody).list().objects) == len(DOCUMENTS)
    assert seen.index().search("words3", rerank=False)
    assert not any("authorization" in request.headers for request in peer.seen)
    with pytest.raises(InputError):
        locate("gs://")


def test_secrets_are_in_no_representation() -> None:
    storage = StorageSettings(
        gs=GsSettings(credentials_json="s3cret-json"),
        az=AzSettings("a", "s3cret-key", "s3cret-sas", "s3cret-connection"),
        by_uri={"az://c": AzSettings("b", "s3cret-other")},
    )
    assert "s3cret" not in repr(storage) + repr(locate("az://con/p", storage))
