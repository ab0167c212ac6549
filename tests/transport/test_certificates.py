"""Proves that a file of the user's adds to what a process trusts, and takes nothing from it."""

import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resift.errors import SettingsError
from resift.transport import certificates
from resift.transport.certificates import bundle, trust_in_lance
from storage.tls import Authority


def authority(folder: Path) -> Authority:
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """The only authority of a system whose certificates are one file, as on RHEL and macOS."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    system = authority(tmp_path / "system")
    use_as_system(monkeypatch, str(system.file), str(tmp_path / "no folder"))
    yield system


def use_as_system(monkeypatch: pytest.MonkeyPatch, file: str, folder: str) -> None:
    paths = SimpleNamespace(
        openssl_cafile_env="SSL_CERT_FILE",
        openssl_cafile=file,
        openssl_capath_env="SSL_CERT_DIR",
        openssl_capath=folder,
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(certificates, "_TRUSTED_BY_LANCE", {})


def trusted(path: str) -> list[bytes]:
    """The certificates in a file, as a client of TLS reads them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return sorted(context.get_ca_certs(binary_form=True))


def of(*authorities: Authority) -> list[bytes]:
    return sorted(trusted(str(each.file))[0] for each in authorities)


def test_lance_and_all_of_the_process_trust_the_systems_authorities_too(
    system: Authority, tmp_path: Path
) -> None:
    corporate = authority(tmp_path / "corporate")
    trust_in_lance(str(corporate.file))
    file = os.environ["SSL_CERT_FILE"]
    assert trusted(file) == of(system, corporate)
    assert "SSL_CERT_DIR" not in os.environ
    context = ssl.create_default_context()  # as urllib does
    assert sorted(context.get_ca_certs(binary_form=True)) == of(system, corporate)
    assert os.stat(file).st_mode & 0o77 == 0
    trust_in_lance(str(corporate.file))
    assert os.environ["SSL_CERT_FILE"] == file


def test_a_second_file_adds_to_the_first_one(system: Authority, tmp_path: Path) -> None:
    first, second = authority(tmp_path / "1"), authority(tmp_path / "2")
    trust_in_lance(str(first.file))
    trust_in_lance(str(second.file))
    assert trusted(os.environ["SSL_CERT_FILE"]) == of(system, first, second)
    assert trusted(bundle(str(second.file))) == of(system, second)  # for a client of its own


def test_a_file_that_was_cleaned_up_or_changed_is_written_again(
    system: Authority, tmp_path: Path
) -> None:
    corporate = authority(tmp_path / "corporate")
    trust_in_lance(str(corporate.file))
    os.unlink(os.environ["SSL_CERT_FILE"])
    trust_in_lance(str(corporate.file))
    assert trusted(os.environ["SSL_CERT_FILE"]) == of(system, corporate)
    renewed = Authority(tmp_path / "corporate")
    os.utime(renewed.file, ns=(1, 1))
    trust_in_lance(str(renewed.file))
    assert trusted(os.environ["SSL_CERT_FILE"]) == of(system, renewed)


def test_a_file_of_the_users_is_used_if_it_has_the_authorities(
    system: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corporate = authority(tmp_path / "corporate")
    both = tmp_path / "both.pem"
    both.write_bytes(system.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    with pytest.raises(SettingsError, match=r"write both files' certificates into the one"):
        trust_in_lance(str(corporate.file))
    both.write_bytes(system.file.read_bytes() + corporate.file.read_bytes().replace(b"\n", b"\r\n"))
    trust_in_lance(str(corporate.file))
    assert os.environ["SSL_CERT_FILE"] == str(both)


def test_hashed_names_of_a_folder_are_the_systems_too(
    system: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corporate, other = authority(tmp_path / "corporate"), authority(tmp_path / "other")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0123abcd.0").write_bytes(system.file.read_bytes())
    (folder / "0123abcd.1").write_bytes(b"no certificate")
    (folder / "not read.pem").write_bytes(other.file.read_bytes())
    use_as_system(monkeypatch, str(tmp_path / "none"), f"{tmp_path / 'none'}{os.pathsep}{folder}")
    assert trusted(bundle(str(corporate.file))) == of(system, corporate)


def test_where_python_knows_no_file_the_usual_ones_are_read(
    system: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corporate = authority(tmp_path / "corporate")
    use_as_system(monkeypatch, str(tmp_path / "absent"), "")
    monkeypatch.setattr(certificates, "_USUAL_FILES", (str(system.file),))
    assert trusted(bundle(str(corporate.file))) == of(system, corporate)


def test_clients_that_trust_one_file_get_the_systems_authorities(
    system: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("google.auth")
    from resift.index.storage import az_access, gs_access
    from resift.settings import GsSettings

    corporate = authority(tmp_path / "corporate")
    options: dict[str, Any] = {}
    identity = SimpleNamespace(DefaultAzureCredential=options.update)
    monkeypatch.setitem(sys.modules, "azure.identity", identity)
    monkeypatch.setattr(gs_access, "_load", lambda _auth, _settings, request: request)
    az_access._find_tokens(str(corporate.file))
    tokens = gs_access._look_up(GsSettings(), str(corporate.file))
    for path in (options["connection_verify"], tokens._request.session.verify):
        assert trusted(path) == of(system, corporate)


def test_without_a_folder_for_temporary_files_the_remedy_is_told(
    system: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corporate = authority(tmp_path / "corporate")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match=r"^ca_file: no temporary file .* set TMPDIR"):
        trust_in_lance(str(corporate.file))


def test_the_file_is_gone_after_its_process_and_not_before(tmp_path: Path) -> None:
    corporate = authority(tmp_path / "corporate")
    code = (
        "import os, sys; from resift.transport.certificates import trust_in_lance\n"
        f"trust_in_lance({str(corporate.file)!r}); path = os.environ['SSL_CERT_FILE']\n"
        "if os.fork() == 0: sys.exit()\n"
        "os.wait(); print(path, os.path.exists(path))"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SSL_CERT")}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ
    )
    path, existed = told.stdout.rsplit(maxsplit=1)
    assert existed == "True" and not os.path.exists(path)
