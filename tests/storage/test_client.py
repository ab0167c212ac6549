"""Proves which credentials are used, the same by obstore and Lance, and that no secret is shown."""

import json
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import pytest

from resift.errors import IndexNotFound, MissingExtra, SettingsError, StoreError
from resift.index.storage.client import lance_options, open_bucket
from resift.index.storage.credentials import Credentials, find_credentials
from resift.index.storage.errors import describe
from resift.index.storage.location import Location
from resift.index.versions.published import Versions
from resift.settings import StorageSettings
from storage.conftest import Server
from storage.faulty import Faults, FaultyProxy

lance = pytest.importorskip("lance")
arrow = pytest.importorskip("pyarrow")

SECRET = "marker-of-a-secret"


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for AWS's two shared files, empty so far."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def probe(location: Location) -> None:
    """Send one request: list a little of the prefix."""
    next(iter(obstore.list(open_bucket(location), chunk_size=1)), None)


def write_and_read(bucket: str, storage: StorageSettings) -> None:
    """Write and read an object through obstore and a table through Lance."""
    location = Location(bucket, "pre/fix", storage)
    store = open_bucket(location)
    obstore.put(store, "object", b"x" * 100)
    assert bytes(obstore.get(store, "object").bytes()) == b"x" * 100
    table = arrow.table({"a": [1, 2]})
    options = lance_options(location)
    lance.write_dataset(table, location.child("t.lance"), storage_options=options)
    assert lance.dataset(location.child("t.lance"), storage_options=options).count_rows() == 2


def profile(folder: Path, name: str, **lines: str) -> None:
    section = name if name == "default" else f"profile {name}"
    with (folder / "config").open("a") as file:
        file.write("\n".join([f"[{section}]", *(f"{k} = {v}" for k, v in lines.items()), ""]))


def command(folder: Path, answer: dict[str, Any] | None) -> str:
    """A credential_process that prints this answer, or prints a secret on stderr and fails."""
    script = folder / "command.sh"
    says = f"echo '{json.dumps(answer)}'" if answer else f"echo {SECRET} >&2; exit 1"
    script.write_text(f"#!/bin/sh\necho called >> {folder}/calls\n{says}\n")
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    return str(script)


def keys_until(expiration: str) -> dict[str, Any]:
    keys = {"AccessKeyId": "owner", "SecretAccessKey": "owner-secret"}
    return {"Version": 1, "Expiration": expiration, **keys}


def test_obstore_and_lance_request_encryption(proxy: FaultyProxy, bucket: str) -> None:
    settings = Server(proxy.endpoint).settings()
    storage = StorageSettings(
        settings.endpoint,
        settings.region,
        settings.access_key_id,
        settings.secret_access_key,
        server_side_encryption="aws:kms",
        kms_key_id="key-1",
        bucket_key=True,
    )
    location = Location(bucket, "i", storage)
    for write in (
        lambda: obstore.put(open_bucket(location), "object", b"x"),
        lambda: lance.write_dataset(
            arrow.table({"a": [1]}),
            location.child("t"),
            storage_options=lance_options(location),
        ),
    ):
        proxy.restart()
        try:
            write()
        except Exception as refused:  # the server has no KMS; what it was asked for is the matter
            print(refused)
        headers = [request.headers for request in proxy.seen if request.method == "PUT"]
        prefix = "x-amz-server-side-encryption"
        assert headers
        assert headers[0][prefix] == "aws:kms"
        assert headers[0][f"{prefix}-aws-kms-key-id"] == "key-1"
        assert headers[0][f"{prefix}-bucket-key-enabled"] == "true"


def test_a_session_token_goes_with_every_request(proxy: FaultyProxy) -> None:
    storage = StorageSettings(proxy.endpoint, "us-east-1", "owner", "owner-secret", "token-1")
    location = Location("bucket", "i", storage)
    with pytest.raises(Exception, match="Error performing"):  # the server never gave that token
        probe(location)
    with pytest.raises(ValueError, match="Error performing"):
        lance.dataset(location.child("t"), storage_options=lance_options(location))
    assert len(proxy.seen) > 1
    assert {request.headers["x-amz-security-token"] for request in proxy.seen} == {"token-1"}
    assert all(request.path.startswith("/bucket") for request in proxy.seen)


def test_a_bucket_in_the_hosts_name_is_put_there_once() -> None:
    for endpoint in ("http://localhost:9", "http://bucket.localhost:9"):
        storage = StorageSettings(endpoint, "r", "a", SECRET, virtual_hosted=True)
        location = Location("bucket", "i", storage)
        assert lance_options(location)["aws_endpoint"] == "http://bucket.localhost:9"
        with pytest.raises(Exception, match=r"GET http://bucket\.localhost:9/[?]") as refused:
            probe(location)
        assert SECRET not in str(refused.value)


def test_settings_win_over_the_environment(
    server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    write_and_read(bucket, server.settings())


def test_a_named_profile_gives_keys_region_and_endpoint(
    server: Server, bucket: str, aws_files: Path
) -> None:
    profile(aws_files, "work", region="eu-north-1", endpoint_url=server.endpoint)
    (aws_files / "credentials").write_text(
        "[work]\naws_access_key_id = owner\naws_secret_access_key = owner-secret\n"
    )
    storage = StorageSettings(profile="work")
    write_and_read(bucket, storage)
    assert lance_options(Location(bucket, "", storage))["aws_region"] == "eu-north-1"
    assert open_bucket(Location(bucket, "", storage)).config["region"] == "eu-north-1"


def test_the_default_profile_is_used_if_its_file_exists_and_no_keys_are_given(
    server: Server, bucket: str, aws_files: Path
) -> None:
    assert find_credentials(StorageSettings()) is None
    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner-secret"}
    profile(aws_files, "default", region="us-east-1", **keys)
    write_and_read(bucket, StorageSettings(server.endpoint))
    assert find_credentials(server.settings()) is None


def test_a_profiles_command_runs_again_when_its_keys_expire(
    server: Server, bucket: str, aws_files: Path
) -> None:
    for expires, calls in (("2099-01-01T00:00:00Z", 1), ("2000-01-01T00:00:00Z", 2)):
        (aws_files / "config").unlink(missing_ok=True)
        (aws_files / "calls").unlink(missing_ok=True)
        profile(
            aws_files,
            "work",
            credential_process=command(aws_files, keys_until(expires)),
            region="r",
        )
        credentials = find_credentials(StorageSettings(server.endpoint, profile="work"))
        assert isinstance(credentials, Credentials)
        assert (aws_files / "calls").read_text().count("called") == 1
        if calls == 1:
            assert (
                credentials()["access_key_id"]
                == credentials.options()["aws_access_key_id"]
                == "owner"
            )
            write_and_read(bucket, StorageSettings(server.endpoint, profile="work"))
        else:
            with pytest.raises(SettingsError, match=r"AWS profile 'work': .* \(RuntimeError\)"):
                credentials()
            with pytest.raises(Exception, match="credential provider") as refused:
                probe(Location(bucket, "", StorageSettings(server.endpoint, profile="work")))
            assert "the AWS profile gives no keys any more" in describe(refused.value)
            assert (aws_files / "calls").read_text().count("called") > 1


def test_a_profile_without_credentials_is_reported_in_one_line(aws_files: Path) -> None:
    profile(aws_files, "empty", region="r")
    profile(aws_files, "failing", credential_process=command(aws_files, None))
    for name, reason in (
        ("absent", "no such profile"),
        ("empty", "gives no credentials"),
        ("failing", "CredentialRetrievalError"),
    ):
        with pytest.raises(SettingsError, match=reason) as refused:
            open_bucket(Location("bucket", "", StorageSettings(profile=name)))
        message = str(refused.value)
        assert message.startswith(f"AWS profile '{name}': ") and "\n" not in message
        assert SECRET not in message
        assert refused.value.__cause__ is None


def test_without_botocore_a_named_profile_is_refused_and_shared_files_are_ignored(
    aws_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(aws_files, "default", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(MissingExtra, match=r"pip install 'resift\[aws\]'"):
        open_bucket(Location("bucket", "", StorageSettings(profile="work")))
    assert find_credentials(StorageSettings()) is None


def test_a_patient_store_outlasts_what_ends_an_impatient_one(
    proxy: FaultyProxy, bucket: str
) -> None:
    location = Location(bucket, "", Server(proxy.endpoint).settings())
    proxy.restart(Faults(slow_down_until=6))
    with pytest.raises(Exception, match="503"):
        obstore.put(open_bucket(location), "a", b"x")
    assert len(proxy.seen) == 5
    proxy.restart(Faults(slow_down_until=12))
    obstore.put(open_bucket(location, patient=True), "a", b"x")
    assert len(proxy.seen) == 13


def test_obstore_and_lance_retry_temporary_failures(proxy: FaultyProxy, bucket: str) -> None:
    proxy.restart(Faults(slow_down_every=4, reset_every=7))
    write_and_read(bucket, Server(proxy.endpoint).settings())
    assert len(proxy.seen) > 7


def ways_in(location: Location) -> list[Callable[[], object]]:
    """A write and a listing, each of which sends a request."""
    return [
        lambda: obstore.put(open_bucket(location), "a", b"x"),
        lambda: probe(location),
    ]


def through_lance(location: Location) -> None:
    lance.dataset(location.child("t"), storage_options=lance_options(location))


@pytest.mark.parametrize(
    ("status", "code", "phrase"),
    [
        ("403 Forbidden", "ExpiredToken", "the session token has expired"),
        ("403 Forbidden", "RequestTimeTooSkewed", "this machine's clock is wrong"),
        ("403 Forbidden", "KMS.DisabledException", "the KMS key cannot be used"),
        ("403 Forbidden", "QuotaExceeded", "the quota is used up"),
        ("400 Bad Request", "InvalidToken", "the session token is not known there"),
        ("416 Range Not Satisfiable", "InvalidRange", "an object changed while it was read"),
    ],
)
def test_a_refusal_is_explained_without_a_secret(
    proxy: FaultyProxy, bucket: str, status: str, code: str, phrase: str
) -> None:
    proxy.restart(Faults(refusal=(status, code)))
    storage = StorageSettings(proxy.endpoint, "us-east-1", "owner", SECRET, f"{SECRET}-token")
    for way in ways_in(Location(bucket, "", storage)):
        with pytest.raises(Exception, match=code) as refused:
            way()
        assert phrase in describe(refused.value)
        assert SECRET not in str(refused.value) + repr(refused.value)


@pytest.mark.parametrize(
    ("faults", "phrase"),
    [
        (Faults(slow_down_every=1), "the store asks for fewer requests"),
        (Faults(reset_every=1), "the connection is cut again and again"),
    ],
)
def test_a_lasting_failure_is_explained_without_a_secret(
    proxy: FaultyProxy, bucket: str, faults: Faults, phrase: str
) -> None:
    proxy.restart(faults)
    storage = StorageSettings(proxy.endpoint, "us-east-1", "owner", SECRET)
    for way in ways_in(Location(bucket, "", storage)):
        with pytest.raises(Exception, match="retries") as refused:
            way()
        assert phrase in describe(refused.value)
        assert SECRET not in str(refused.value) + repr(refused.value)


def test_no_secret_shows_in_settings_stores_and_refused_signatures(
    server: Server, bucket: str
) -> None:
    storage = StorageSettings(server.endpoint, "us-east-1", "owner", SECRET)
    location = Location(bucket, "", storage)
    shown = [repr(storage), repr(open_bucket(location))]
    ways: list[Callable[[], object]] = [*ways_in(location)]
    ways.append(partial(through_lance, location))
    for way in ways:
        with pytest.raises(Exception, match="SignatureDoesNotMatch") as refused:
            way()
        shown += [str(refused.value), repr(refused.value), describe(refused.value)]
    assert SECRET not in "".join(shown)


def test_credentials_are_looked_up_once_and_again_when_aws_files_change(
    server: Server, bucket: str, aws_files: Path
) -> None:
    answer = keys_until("2099-01-01T00:00:00Z")
    profile(aws_files, "work", credential_process=command(aws_files, answer), region="r")
    storage = StorageSettings(server.endpoint, profile="work")
    for _ in range(5):
        open_bucket(Location(bucket, "", storage))
        lance_options(Location(bucket, "", storage))
    assert (aws_files / "calls").read_text().count("called") == 1
    profile(aws_files, "other", region="r")
    assert find_credentials(storage) is not None
    assert (aws_files / "calls").read_text().count("called") == 2


def test_a_failed_lookup_of_credentials_is_not_remembered(aws_files: Path) -> None:
    storage = StorageSettings(profile="work")
    with pytest.raises(SettingsError, match="no such profile"):
        find_credentials(storage)
    (aws_files / "credentials").write_text(
        "[work]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    assert find_credentials(storage) is not None


def test_a_writer_outlasts_what_ends_a_reader(proxy: FaultyProxy, bucket: str) -> None:
    """Both list and read the versions of a shard; a writer's work would be for nothing."""
    reader = Versions(Location(bucket, "index", Server(proxy.endpoint).settings()))
    writer = reader.patient()
    questions: list[tuple[int, Callable[[Versions], object]]] = [
        (4, lambda versions: versions.numbers()),
        (6, lambda versions: versions.get(1)),
    ]
    for refused, ask in questions:
        proxy.restart(Faults(slow_down_until=refused))
        with pytest.raises(StoreError, match="fewer requests"):
            ask(reader.shard(0))
        proxy.restart(Faults(slow_down_until=refused))
        with suppress(IndexNotFound):
            assert ask(writer.shard(0)) == []
        assert len(proxy.seen) > refused
