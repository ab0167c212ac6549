"""Proves by which names a server may be called."""

import pytest

from resift.serve.hosts import Hosts
from resift.serve.options import ServeOptions

LOCAL = Hosts(ServeOptions(allowed_hosts=("Search.example", "proxy.example:9000")))


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:8080", "127.3.2.1", "[::1]:8080",
     "[::1]", "search.example", "SEARCH.example:443", "proxy.example:9000", "", None],
)  # fmt: skip
def test_a_local_server_has_the_names_of_loopback_and_those_that_are_allowed(
    host: str | None,
) -> None:
    assert LOCAL.accepts(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example:80",
     "10.0.0.1", "[fd00::1]:8080", "proxy.example", "proxy.example:9001", "[", ":", "x@localhost"],
)  # fmt: skip
def test_a_local_server_has_no_other_name(host: str) -> None:
    assert not LOCAL.accepts(host)


def test_a_server_for_other_machines_has_any_name() -> None:
    assert Hosts(ServeOptions(host="0.0.0.0")).accepts("search.example")
