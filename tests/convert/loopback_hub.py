"""A real HTTP server on the loopback that speaks as much of the hub's protocol as a download needs.

One repository at one commit: its file list, and each file's HEAD and GET. All else is 404, with
the header by which the client tells an unknown repository from an unknown commit.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves `folder` as `repository`; `fetched` are the names of files that were read."""

    def __init__(self, folder: Path, repository: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.repository = repository
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        name = self.server.repository
        if path.startswith(f"/{name}/resolve/{COMMIT}/"):
            self._file(path.removeprefix(f"/{name}/resolve/{COMMIT}/"))
        elif path == f"/api/models/{name}/tree/{COMMIT}":
            self._send(200, json.dumps(self._files()).encode())
        elif path == f"/api/models/{name}/revision/{COMMIT}":
            files = [{"rfilename": file["path"]} for file in self._files()]
            answer = {"id": name, "sha": COMMIT, "private": False, "siblings": files}
            self._send(200, json.dumps(answer).encode())
        else:
            known = path.startswith(f"/api/models/{name}/")
            code = "RevisionNotFound" if known else "RepoNotFound"
            self._send(404, b'{"error": "not found"}', {"X-Error-Code": code})

    def _files(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _oid(file)}
            for file in sorted(self.server.folder.iterdir())
        ]

    def _file(self, name: str) -> None:
        file = self.server.folder / name
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET":
            self.server.fetched.append(name)
        headers = {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": COMMIT}
        self._send(200, file.read_bytes(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def serve(folder: Path, repository: str) -> Iterator[Hub]:
    """The server, running in a thread until the block ends."""
    with Hub(folder, repository) as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
