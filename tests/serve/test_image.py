"""Proves that deploy/Dockerfile makes an image that serves, as far as can be without Docker.

Its steps run in a new folder, with packages from the package index.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx2
import pytest

from serve import deploy_files
from serve.deploy_files import ROOT, image_command, instructions, last, serve_options
from serve.processes import started


def test_the_image_serves_at_its_port_and_may_write_to_its_folder_for_caches() -> None:
    options = serve_options(json.loads(last("CMD")))
    assert str(options.port) == last("EXPOSE") and not options.is_local
    user, group = last("USER").split(":")
    assert user.isdecimal() and int(user) > 0, "Kubernetes must see that it is not root"
    folder = last("ENV").removeprefix("RESIFT_CACHE_DIR=")
    assert last("RUN") == f"install --directory --owner={user} --group={group} {folder}"
    container = deploy_files.service("resift", STORE_SECRET="a-secret")
    assert container["environment"]["RESIFT_CACHE_DIR"] == folder


def test_the_lock_of_the_image_is_that_of_the_tests_and_is_whole() -> None:
    pins = {name: _pins(ROOT / f"locks/{name}.txt") for name in ("serve", "dev", "ray")}
    assert pins["serve"] and pins["serve"] <= pins["dev"]
    assert pins["serve"] < pins["ray"] and "ray" in {name for name, _ in pins["ray"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["build"]]
    wanted += [
        entry for extra in ("index", "serve", "mcp", "hub", "aws") for entry in extras[extra]
    ]
    names = {re.split(r"[^\w.-]", entry)[0].lower() for entry in wanted} - {"resift"}
    assert names <= {name for name, _ in pins["serve"]}


def _pins(lock: Path) -> set[tuple[str, str]]:
    return set(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.M))


def test_the_image_gets_the_files_that_it_copies() -> None:
    sent = [line.removeprefix("!") for line in _lines("Dockerfile.dockerignore") if line[0] == "!"]
    copied = [
        source
        for name, entry in instructions()
        if name == "COPY" and not entry.startswith("--from")
        for source in entry.split()[:-1]
    ]
    assert sorted(copied) == sorted(sent)
    assert all((ROOT / source).exists() for source in copied)


def _lines(name: str) -> list[str]:
    return [line for line in deploy_files.text(name).splitlines() if line and line[0] != "#"]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_steps_of_the_image_install_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = run_steps(tmp_path)
    program = "import resift; print(resift.__file__, end='')"
    where = subprocess.run(
        [installed / "bin/python", "-c", program], capture_output=True, text=True
    )
    assert where.stdout.startswith(str(installed)), where.stderr
    resift, *arguments = image_command()
    assert (installed / Path(resift).relative_to("/opt/resift")).is_file()
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    check = [part.replace("/opt/resift", str(installed)) for part in check]
    monkeypatch.setattr(sys, "executable", str(installed / "bin/python"))
    listening = [argument.replace("0.0.0.0", "127.0.0.1") for argument in arguments[1:]]
    environment = {"RESIFT_CACHE_DIR": str(tmp_path / "cache")}
    with started(tmp_path / "log", *listening, **environment) as server:
        port = server.url.rpartition(":")[2]
        check = [part.replace("8080", port) for part in check]
        assert subprocess.run(check).returncode == 0
        body = {"query": "reset password", "documents": ["a cat", "press reset password"]}
        hits = httpx2.post(f"{server.url}/v1/rank", json=body).json()["hits"]
        assert hits[0]["text"] == "press reset password"
        server.stop()
    assert subprocess.run(check, capture_output=True).returncode != 0


def run_steps(folder: Path) -> Path:
    """Run the steps of the first stage in folders below `folder`; where resift was installed."""
    installed, build = folder / "installed", folder / "build"
    build.mkdir()
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    stages = 0
    for name, entry in instructions():
        stages += name == "FROM"
        if stages > 1:
            return installed
        if name == "ARG":
            variable, _, value = entry.partition("=")
            environment[variable] = value
        if name == "COPY":
            *sources, target = entry.split()
            for source in sources:
                _copy(ROOT / source, build / (source if target == "./" else target))
        if name == "RUN":
            step = entry.replace("/opt/resift", str(installed))
            done = subprocess.run(
                step, shell=True, cwd=build, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, (step, done.stderr[-2000:])
    raise AssertionError("the Dockerfile has one stage only")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
