"""``resift index --ray`` in this process, and what it says where there is no cluster."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from cli.command import Resift
from cli.conftest import resift as resift
from resift.jobs.cluster import checked_address


def test_the_command_builds_an_index_of_shards_on_a_cluster(
    tmp_path: Path, resift: Resift, ray_cluster: Any
) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(6):
        (documents / f"{number}.md").write_text(f"# Leave {number}\n\nAsk Ann.\n")
    index = tmp_path / "index"
    options = ("--index", index, "--ray", ray_cluster.address)
    done = resift("index", documents, *options, "--shards", 2, "--worker-cpus", 1, "--json")
    assert (done.code, json.loads(done.out)["added"]) == (0, 6), done.err
    again = resift("index", documents, *options, "--workers", 1)
    assert "6 unchanged" in again.out
    searched = resift("search", "leave 3", "--index", index, "--no-rerank", "--json")
    assert json.loads(searched.out)["hits"][0]["id"].endswith("3.md#0")


def test_a_cluster_that_nobody_runs_is_named_at_once(tmp_path: Path, resift: Resift) -> None:
    (tmp_path / "a.txt").write_text("a text\n")
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = resift("index", tmp_path, "--index", tmp_path / "i", "--ray", address)
    assert done.code == 1
    assert "no Ray cluster can be reached there (connection refused)" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--workers", "2"), "--workers 2: is for --ray"),
        (("--ray", "here"), "--ray 'here': expected auto, local, HOST:PORT"),
        (("--ray", "local", "--workers", "0"), "--workers 0: expected a whole number from 1"),
        (("--ray", "local", "--worker-cpus", "-1"), "--worker-cpus -1: expected"),
        (
            ("--ray", "local", "--dry-run"),
            "--ray local: leave it out with --dry-run, --every and --watch",
        ),
        (("--ray=h:99999",), "--ray 'h:99999': expected a port"),
        (("--ray", "ray://h:10001"), "Ray Data does not work through Ray's client server"),
    ],
)
def test_wrong_options_are_named(
    options: tuple[str, ...], message: str, tmp_path: Path, resift: Resift
) -> None:
    done = resift("index", tmp_path, "--index", tmp_path / "i", *options)
    assert done.code == 1
    assert message in done.err


@pytest.mark.parametrize("address", ["auto", "local", "10.0.0.1:6379", "ray://h:10001", "[::1]:1"])
def test_addresses_of_clusters_are_accepted(address: str) -> None:
    assert checked_address(address) == address
