"""Proves that the unit of systemd and the Kubernetes manifest fit the server.

That is: its options, ports, paths, folders, and the times that it takes to stop.
"""

import json
import re
import select
import shutil
import socket
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resift.serve.keys import Keys
from resift.serve.options import ServeOptions
from resift.serve.server import DRAIN_S
from resift.serve.service import Service
from serve import deploy_files
from serve.deploy_files import documents, serve_options, settings, unit
from serve.processes import started
from serve.running import running

KEYS_FOLDER = "/etc/resift"
LOADING = "MemoryDenyWriteExecute", "ProcSubset", "PrivateNetwork", "IPAddressDeny"
"""Options of units that would keep the server from loading a model, or from being asked."""

systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")


@pytest.fixture(scope="module")
def kinds() -> dict[str, Any]:
    """The objects of the Kubernetes manifest by kind."""
    return {document["kind"]: document for document in documents("kubernetes.yaml")}


@pytest.fixture(scope="module")
def pod(kinds: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = kinds["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


@systemd
def test_systemd_accepts_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "resift"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = tmp_path / "resift.service"
    file.write_text(deploy_files.text("resift.service").replace("/opt/resift", str(tmp_path)))
    verify = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True)
    assert (verify.returncode, verify.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(file)]
    security = subprocess.run(command, capture_output=True, text=True)
    assert security.returncode == 0, security.stdout[-300:]


def test_the_unit_runs_resift_and_waits_for_open_requests() -> None:
    values = unit()
    assert values["ExecStart"] == ["/opt/resift/bin/resift serve $SERVE_OPTIONS"]
    assert "SERVE_OPTIONS=" in values["Environment"]
    assert int(values["TimeoutStopSec"][0]) > DRAIN_S
    assert not set(LOADING) & set(values)


def test_the_unit_explains_options_that_the_server_has(caplog: pytest.LogCaptureFixture) -> None:
    comments = re.findall(r"^#   (\w+)=(.*)$", deploy_files.text("resift.service"), re.M)
    example = dict(comments)
    options = serve_options(["serve", *example.pop("SERVE_OPTIONS").split()])
    assert options.indexes and options.is_local
    del example["SupplementaryGroups"]
    (folder,) = unit()["CacheDirectory"]
    example["RESIFT_CACHE_DIR"] = f"/var/cache/{folder}"
    assert f"RESIFT_CACHE_DIR=%C/{folder}" in unit()["Environment"]
    assert settings(example, caplog).cache_dir == "/var/cache/resift"


@pytest.mark.parametrize("release", ["1.30", "latest"])
def test_kubernetes_knows_every_field(release: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    objects = documents("kubernetes.yaml")
    assert [entry["kind"] for entry in objects] == ["Deployment", "Service", "PodDisruptionBudget"]
    for entry in objects:
        known = schemas.latest_version() if release == "latest" else release
        schemas.validate(entry, known, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    (_, wrong, _) = documents("kubernetes.yaml")
    wrong["spec"]["port"] = 80
    with pytest.raises(schemas.ValidationError):
        schemas.validate(wrong, schemas.latest_version(), strict=True)


def test_labels_select_the_pods(kinds: dict[str, Any], pod: dict[str, Any]) -> None:
    deployment = kinds["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    (spread,) = pod["topologySpreadConstraints"]
    for selector in (deployment["selector"], spread["labelSelector"]):
        assert selector == {"matchLabels": labels}
    assert kinds["Service"]["spec"]["selector"] == labels
    assert kinds["PodDisruptionBudget"]["spec"]["selector"] == {"matchLabels": labels}
    assert kinds["PodDisruptionBudget"]["spec"]["maxUnavailable"] < deployment["replicas"]


def test_the_service_leads_to_the_port_of_the_server(
    kinds: dict[str, Any], container: dict[str, Any]
) -> None:
    options = serve_options(container["args"])
    (port,) = container["ports"]
    (entry,) = kinds["Service"]["spec"]["ports"]
    assert options.port == port["containerPort"] and not options.is_local
    assert entry["targetPort"] == port["name"]
    assert options.allowed_hosts == (kinds["Service"]["metadata"]["name"],)


def test_probes_ask_paths_that_need_no_key(
    container: dict[str, Any], tmp_path: Path, service: Service
) -> None:
    kinds = ("startup", "readiness", "liveness")
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in kinds}
    assert [probe["path"] for probe in probes.values()] == ["/health", "/ready", "/health"]
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-a-caller\n")
    with running(service, ServeOptions(keys=keys)) as url:
        for probe in probes.values():
            assert probe["port"] in [port["name"] for port in container["ports"]]
            assert httpx2.get(url + probe["path"]).status_code == 200
        assert httpx2.get(f"{url}/v1/indexes").status_code == 401


def test_a_pod_that_goes_has_time_for_open_requests(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep > container["readinessProbe"]["periodSeconds"]
    assert sleep + DRAIN_S < pod["terminationGracePeriodSeconds"]


def test_a_pod_runs_as_the_user_of_the_image_and_writes_to_its_volumes_only(
    pod: dict[str, Any], container: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    user = pod["securityContext"]
    assert user["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == deploy_files.last("USER")
    assert user["fsGroup"] == user["runAsGroup"], "volumes belong to the group"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == set(volumes)
    loaded = settings({entry["name"]: entry["value"] for entry in container["env"]}, caplog)
    cache = volumes[mounts[str(loaded.cache_dir)]]["emptyDir"]["sizeLimit"]
    assert int(cache.removesuffix("Gi")) > loaded.cache_gb
    assert container["resources"]["requests"]["ephemeral-storage"] == cache
    cores = container["resources"]["limits"]["cpu"]
    assert cores.isdecimal() and cores == container["resources"]["requests"]["cpu"]
    assert container["image"] == f"resift:{deploy_files.version()}"


def test_a_changed_secret_changes_the_keys(
    pod: dict[str, Any], container: dict[str, Any], tmp_path: Path
) -> None:
    (path,) = [entry for entry in container["args"] if entry.startswith("--keys=")]
    (mount,) = [entry for entry in container["volumeMounts"] if entry["name"] == "keys"]
    folder, _, name = path.removeprefix("--keys=").rpartition("/")
    assert mount["mountPath"] == folder == KEYS_FOLDER
    assert "subPath" not in mount, "such a file never changes"
    secret = next(volume["secret"] for volume in pod["volumes"] if volume["name"] == "keys")
    command = f"kubectl create secret generic {secret['secretName']} --from-file={name} "
    assert command in deploy_files.text("kubernetes.yaml")

    # As the kubelet does: a link to a file below a link, which is replaced.
    def put(version: str, key: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / name).write_text(f"{key}\n")
        (tmp_path / "..new").symlink_to(version)
        (tmp_path / "..new").replace(tmp_path / "..data")

    put("..1", "the-key-of-yesterday")
    (tmp_path / name).symlink_to(f"..data/{name}")
    keys = Keys(tmp_path / name)
    assert keys.accepts("the-key-of-yesterday")
    put("..2", "the-key-of-today")
    assert keys.accepts("the-key-of-today") and not keys.accepts("the-key-of-yesterday")


@pytest.mark.long
def test_a_server_that_stops_closes_its_port_while_it_answers(tmp_path: Path) -> None:
    """So whoever sends requests to it must know before: therefore the sleep of preStop."""
    texts = [f"{row} " + "the office is closed on sundays " * 40 for row in range(150)]
    body = json.dumps({"query": "office", "documents": texts})
    with started(tmp_path / "log") as server:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        asking = HTTPConnection(*address, timeout=60)
        asking.request("POST", "/v1/rank", body, {"content-type": "application/json"})
        assert httpx2.get(f"{server.url}/health").status_code == 200
        server.process.terminate()
        while _accepts(address):
            time.sleep(0.01)
        assert not select.select([asking.sock], [], [], 0)[0], "it is not answered yet"
        answer = asking.getresponse()
        assert answer.status == 200 and len(json.load(answer)["hits"]) == len(texts)
        asking.close()


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
