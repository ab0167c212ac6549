"""By which names a server may be called that only its own machine can reach.

A web page elsewhere may point a name of its own at this machine (DNS rebinding): a browser then
takes this server for a part of that page. The header ``Host`` gives it away.
"""

import ipaddress

from resift.serve.options import ServeOptions


class Hosts:
    """The names of a server: those of loopback, its own, and the allowed ones.

    A server that other machines can reach has any name.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._is_local = options.is_local
        self._names = {"localhost", options.host, *(name.lower() for name in options.allowed_hosts)}

    def accepts(self, host: str | None) -> bool:
        """Whether a ``Host`` header, with or without a port, names this server.

        A request without one is accepted: no browser sends it.
        """
        if not self._is_local or not host:
            return True
        host = host.lower()
        name = _without_port(host)
        return host in self._names or name in self._names or _is_loopback(name)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
