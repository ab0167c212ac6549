"""The options of a server, checked once. Picklable, because worker processes get them."""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from resift.errors import InputError
from resift.files import reason
from resift.serve.admission import MAX_QUEUE_TOKENS
from resift.serve.keys import Keys

PORT = 8080


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What ``resift serve`` was asked for. Raises `InputError` for invalid values."""

    models: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = PORT
    keys: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    workers: int = 1
    max_queue_tokens: int = MAX_QUEUE_TOKENS
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65_536:
            raise InputError(f"port={self.port}: expected 0 to 65535; 0 is any free port")
        if not 1 <= self.workers <= 64:
            raise InputError(f"workers={self.workers}: expected 1 to 64 processes")
        if self.max_queue_tokens < 1_000:
            raise InputError(
                f"max_queue_tokens={self.max_queue_tokens}: expected at least 1,000 tokens"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            if self.tls_key is None:
                raise InputError(f"tls_cert={self.tls_cert}: needs its key; give --tls-key")
            raise InputError(f"tls_key={self.tls_key}: needs its certificate; give --tls-cert")
        self._check_tls()
        if self.keys is not None:
            Keys.check(self.keys)

    def _check_tls(self) -> None:
        if self.tls_cert is None or self.tls_key is None:
            return
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls_cert, self.tls_key, password="")  # asks for none
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            cause = reason(error) if isinstance(error, OSError) else error
            raise InputError(
                f"tls_cert={self.tls_cert}, tls_key={self.tls_key}: cannot be used ({cause})"
            ) from error

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def url(self, port: int) -> str:
        """The address of the server at a port, for a caller on this machine."""
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls_cert else 'http'}://{host}:{port}"
