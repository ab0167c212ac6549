"""Judging on a web page, which this machine alone can open and only with the URL that is printed.

Whatever a browser here is made to send by some other page is refused: the host must be this
server's own (so that no foreign name leads here), the path begins with a secret, and a key is JSON,
which no form can send. The page loads nothing from elsewhere, and texts go into it as text.
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
from resift.cli.output import printable, say
from resift.errors import InputError, ResiftError
from resift.evaluation.judging import Judging, Sheet

ADDRESS = "127.0.0.1"
QUIT = "q"
MOST_BYTES = 10_000  # of a request: a key and two ids
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


def judge_on_page(judging: Judging, port: int) -> None:
    """Serve the page until ``q`` is pressed there, or Ctrl-C here; not where nothing is left.

    Raises `InputError` where the port cannot be had, and what the first pool raises.
    """
    if judging.sheet() is None:
        return
    try:
        server = JudgeServer(judging, port)
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port}: cannot be used ({error}); 0 takes a free one") from error
    with server:
        try:
            say(f"judge at {server.url}  (q there, or Ctrl-C here, ends it)")
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return


class JudgeServer(ThreadingHTTPServer):
    """One judging for whoever has the URL; a browser may hold several connections."""

    daemon_threads = True

    def __init__(self, judging: Judging, port: int) -> None:
        self.judging = judging
        self.lock = threading.Lock()
        self.token = secrets.token_urlsafe(24)
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """As the base class does, without asking a name server for our name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]


class _BadRequest(Exception):
    """A request that gets a status and a line."""

    def __init__(self, status: HTTPStatus, line: str) -> None:
        super().__init__(line)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer
    server_version, sys_version = "resift", ""
    timeout = 30  # seconds that a silent connection may hold a thread
    _is_last = False

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is the judge's."""

    def _answer(self, handle: Callable[[str, bytes], tuple[bytes, str]]) -> None:
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
        if self._is_last:  # now that the page was told; from a thread, since it waits for the loop
            threading.Thread(target=self.server.shutdown).start()

    def _name(self) -> str:
        """What is asked for below the secret, of those who may options."""
        port = self.server.server_port
        host = self.headers.get("Host", "")
        if host not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            raise _BadRequest(HTTPStatus.FORBIDDEN, f"host {host!r}: not this server's name")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise _BadRequest(HTTPStatus.FORBIDDEN, f"origin {origin!r}: not this page")
        token, _, name = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _BadRequest(HTTPStatus.FORBIDDEN, "wrong address: take the URL in the terminal")
        return name

    def _body(self) -> bytes:
        """Read before anything is refused: a connection closed on unread bytes loses the answer."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise _BadRequest(HTTPStatus.BAD_REQUEST, f"Content-Length {length!r}: no number")
        if int(length) > MOST_BYTES:
            raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_BYTES} bytes")
        return self.rfile.read(int(length))

    def _get(self, name: str, body: bytes) -> tuple[bytes, str]:
        if name == "sheet":
            with self.server.lock:
                return _json(sheet_json(self.server.judging)), "application/json"
        if name not in ASSETS:
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"{name!r}: no such page")
        file, kind = ASSETS[name]
        return files("resift.cli").joinpath("page", file).read_bytes(), kind

    def _post(self, name: str, body: bytes) -> tuple[bytes, str]:
        if name != "press":
            raise _BadRequest(HTTPStatus.NOT_FOUND, f"{name!r}: no such page")
        key, seen = _pressed(self.headers.get_content_type(), body)
        if key == QUIT:
            self._is_last = True
            return _json({"ended": True, "judged": self.server.judging.judged}), "application/json"
        with self.server.lock:
            sheet = self.server.judging.sheet()
            if seen != (None if sheet is None else [sheet.query_id, sheet.document.id]):
                raise _BadRequest(HTTPStatus.CONFLICT, "another candidate is shown by now")
            self.server.judging.press(key)
            return _json(sheet_json(self.server.judging)), "application/json"


def sheet_json(judging: Judging) -> dict[str, Any]:
    """What the page shows: the next candidate, or that there is none."""
    sheet = judging.sheet()
    state: dict[str, Any] = {"grades": judging.grades, "judged": judging.judged}
    return state if sheet is None else state | {"sheet": _sheet(sheet)}


def _sheet(sheet: Sheet) -> dict[str, Any]:
    document = sheet.document
    return {
        "seen": [sheet.query_id, document.id],
        "query": printable(sheet.query),
        "id": printable(document.id),
        "title": marked(printable(document.title), sheet.query),
        "text": marked(harmless(document.text), sheet.query),
        "number": sheet.number,
        "count": sheet.count,
        "query_number": sheet.query_number,
        "queries": sheet.queries,
        "problems": sheet.problems,
        "taken_back": sheet.taken_back,
    }


def _pressed(kind: str, body: bytes) -> tuple[str, Any]:
    """The key, and the query and document that it was pressed for."""
    if kind != "application/json":
        raise _BadRequest(
            HTTPStatus.BAD_REQUEST, f"Content-Type {kind!r}: expected application/json"
        )
    try:
        pressed = json.loads(body)
        key, seen = pressed["key"], pressed["seen"]
    except (ValueError, KeyError, TypeError) as error:
        raise _BadRequest(
            HTTPStatus.BAD_REQUEST, "expected a JSON object with key and seen"
        ) from error
    if not isinstance(key, str):
        raise _BadRequest(HTTPStatus.BAD_REQUEST, f"key {key!r}: expected a character")
    return key, seen


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
