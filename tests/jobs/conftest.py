"""A Ray cluster of two nodes of one CPU each, in processes of this machine."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ray_serve() -> Any:
    """The module ``ray.serve``. Its import warns of what Ray's own code uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("ray.serve")


@pytest.fixture(scope="session")
def ray_cluster(ray_serve: Any) -> Iterator[Any]:
    """A ``ray.cluster_utils.Cluster``; nobody is connected to it. Its `address` is ``HOST:PORT``.

    Its sockets and its address file are in a folder of its own, with a path that is short enough
    for sockets.
    """
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DEDUP_LOGS", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))  # for classes of tests
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            cluster.add_node(num_cpus=1)
            yield cluster
        finally:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
