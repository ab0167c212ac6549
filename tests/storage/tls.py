"""TLS in front of a server on loopback, with a certificate of an authority that nobody knows."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import trustme


class Authority:
    """An authority of its own; `file` is its certificate in PEM, which a client is to trust."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA(organization_name="resift's tests")
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def context(self) -> ssl.SSLContext:
        """A server's context, with a certificate for this machine."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        return context


@contextmanager
def tls_before(endpoint: str, context: ssl.SSLContext) -> Iterator[str]:
    """Yield an ``https://`` endpoint that passes all bytes on to `endpoint`."""
    behind = urlsplit(endpoint)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=connect, args=(client,), daemon=True).start()

        def connect(client: socket.socket) -> None:
            with suppress(OSError), client:
                with (
                    context.wrap_socket(client, server_side=True) as front,
                    socket.create_connection((behind.hostname, behind.port)) as back,
                ):
                    pump = threading.Thread(target=pass_on, args=(front, back), daemon=True)
                    pump.start()
                    pass_on(back, front)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until either side ends."""
    with suppress(OSError), source.makefile("rb", buffering=0) as reader:
        with target.makefile("wb", buffering=0) as writer:
            shutil.copyfileobj(reader, writer, 1 << 16)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
