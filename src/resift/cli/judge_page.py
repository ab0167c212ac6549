"""Judging on a web page that only this machine can open, at a secret URL.

Other web pages cannot send requests through the user's browser: the Host header must name this
server (against DNS rebinding), the path begins with a secret, and keys are sent as JSON, which a
form cannot do. The page loads nothing from other hosts, and inserts documents as text.
"""

import json
import secrets
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from resift.cli.judge_text import harmless, marked
from resift.cli.output import print_status, printable
from resift.errors import InputError, ResiftError
from resift.evaluation.judging import QUIT, JudgingItem, JudgingSession

ADDRESS = "127.0.0.1"
MAX_BYTES = 10_000  # of a request: a key and two ids
ASSETS = {
    "": ("judge.html", "text/html; charset=utf-8"),
    "judge.js": ("judge.js", "text/javascript; charset=utf-8"),
    "judge.css": ("judge.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def judge_on_page(session: JudgingSession, port: int) -> None:
    """Serve the page until ``q`` is pressed there or Ctrl-C here; return at once if all is judged.

    Raises `InputError` if the port cannot be used, and any error of the first pool.
    """
    if session.current() is None:
        return
    try:
        server = JudgeServer(session, port)
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port}: cannot be used ({error}); 0 takes a free one") from error
    with server:
        try:
            print_status(f"judge at {server.url}  (q there or Ctrl-C here ends the session)")
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return


class JudgeServer(ThreadingHTTPServer):
    """Serves one session to anyone who has the URL; a browser may open several connections."""

    daemon_threads = True

    def __init__(self, session: JudgingSession, port: int) -> None:
        self.session = session
        self.lock = threading.Lock()
        self.token = secrets.token_urlsafe(24)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """Bind as the base class does, but without a DNS lookup of the host name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]


class _BadRequest(Exception):
    """A refused request, with the status and message to respond with."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer
    server_version, sys_version = "resift", ""
    timeout = 30  # seconds after which a silent connection is closed
    _is_last = False

    def do_GET(self) -> None:
        self._respond(self._get)

    def do_POST(self) -> None:
        self._respond(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal shows only the URL."""

    def _respond(self, handle: Callable[[str, bytes], tuple[bytes, str]]) -> None:
        kind = "application/json"
        try:
            body = self._body()
            data, kind = handle(self._name(), body)
            status = HTTPStatus.OK
        except _BadRequest as error:
            status, data = error.status, _json({"error": str(error)})
        except InputError as error:
            status, data = HTTPStatus.BAD_REQUEST, _json({"error": str(error)})
        except ResiftError as error:
            status, data = HTTPStatus.INTERNAL_SERVER_ERROR, _json({"error": str(error)})
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        if self._is_last:  # in a thread, since shutdown waits for the server loop
            threading.Thread(target=self.server.shutdown).start()

    def _name(self) -> str:
        """The path below the secret. Refuses requests from other pages and without the secret."""
        port = self.server.server_port
        host = self.headers.get("Host", "")
        if host not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            raise _BadRequest(HTTPStatus.FORBIDDEN, f"host {host!r}: not this server's name")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise _BadRequest(HTTPStatus.FORBIDDEN, f"origin {origin!r}: not this page")
        token, _, name = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _BadRequest(HTTPStatus.FORBIDDEN, "wrong address: use the URL in the terminal")
        return name

    def _body(self) -> bytes:
        """The request's body. Read before a refusal, since unread bytes would lose the response."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise _BadRequest(HTTPStatus.BAD_REQUEST, f"Content-Length {length!r}: not a number")
        if int(length) > MAX_BYTES:
            raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BYTES} bytes")
        return self.rfile.read(int(length))

    def _get(self, name: str, body: bytes) -> tuple[bytes, str]:
        if name == "item":
            with self.server.lock:
                return _json(state(self.server.session)), "application/json"
        if name not in ASSETS:
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"{name!r}: no such page")
        file, kind = ASSETS[name]
        return files("resift.cli").joinpath("page", file).read_bytes(), kind

    def _post(self, name: str, body: bytes) -> tuple[bytes, str]:
        if name != "press":
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"{name!r}: no such page")
        key, shown = _pressed(self.headers.get_content_type(), body)
        if key == QUIT:
            self._is_last = True
            return _json({"ended": True, "judged": self.server.session.judged}), "application/json"
        with self.server.lock:
            item = self.server.session.current()
            if shown != (None if item is None else [item.query_id, item.document.id]):
                raise _BadRequest(HTTPStatus.CONFLICT, "another candidate is next now")
            self.server.session.press(key)
            return _json(state(self.server.session)), "application/json"


def state(session: JudgingSession) -> dict[str, Any]:
    """The session as the page shows it, with the next item if there is one."""
    item = session.current()
    session_state: dict[str, Any] = {"grades": session.grades, "judged": session.judged}
    return session_state if item is None else session_state | {"item": _item(item)}


def _item(item: JudgingItem) -> dict[str, Any]:
    document = item.document
    return {
        "shown": [item.query_id, document.id],
        "query": printable(item.query),
        "id": printable(document.id),
        "title": marked(printable(document.title), item.query),
        "text": marked(harmless(document.text), item.query),
        "number": item.number,
        "count": item.count,
        "query_number": item.query_number,
        "queries": item.queries,
        "problems": item.problems,
        "taken_back": item.taken_back,
    }


def _pressed(kind: str, body: bytes) -> tuple[str, Any]:
    """The pressed key, and the ids of the query and document that were shown."""
    if kind != "application/json":
        raise _BadRequest(
            HTTPStatus.BAD_REQUEST, f"Content-Type {kind!r}: expected application/json"
        )
    try:
        pressed = json.loads(body)
        key, shown = pressed["key"], pressed["shown"]
    except (ValueError, KeyError, TypeError) as error:
        raise _BadRequest(
            HTTPStatus.BAD_REQUEST, "expected a JSON object with key and shown"
        ) from error
    if not isinstance(key, str):
        raise _BadRequest(HTTPStatus.BAD_REQUEST, f"key {key!r}: expected a character")
    return key, shown


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
