"""A real HTTP server on the loopback that speaks as much of the hub's protocol as a download needs.

One repository with commits, branches and tags: its file list, each file's HEAD and GET, small files
behind a relative redirect, large ones behind a redirect to a "CDN", another host name with ranges
that must not be shown the token. Tokens, consent, faults and cut connections are set by the test.
All else is 404, with the header by which the client tells an unknown repository from an unknown
commit.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
TOKEN = "hf_of_the_author"
OTHER_TOKEN = "hf_of_somebody"
_LARGE = (".safetensors", ".bin", ".onnx", ".h5")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass
class Fault:
    """An answer in place of the right one, to the next `times` requests whose path has `part`."""

    part: str
    status: int
    times: int = 1_000
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Cut:
    """The connection ends after `bytes_sent` of a file, the next `times` times."""

    file: str
    bytes_sent: int
    times: int = 1_000


class Hub(ThreadingHTTPServer):
    """Serves folders as commits of `repository`.

    `fetched` are the names of files that were read, `requests` all requests as (method, path),
    `ranges` the Range headers that the CDN was sent. `access` is "public", "private" or "gated":
    the latter two want `TOKEN`.
    """

    daemon_threads = True

    def __init__(self, folder: Path, repository: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository = repository
        self.commits = {COMMIT: folder}
        self.branches = {"main": COMMIT}
        self.access = "public"
        self.faults: list[Fault] = []
        self.cuts: list[Cut] = []
        self.fetched: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.tokens_at_cdn: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, home: Path, **variables: str) -> dict[str, str]:
        """The environment of a process that uses this hub and keeps all it stores in `home`."""
        environ = {
            name: value for name, value in os.environ.items() if name.lower() not in _PROXIES
        }
        stored = {"HF_HOME": str(home / "hf"), "RESIFT_CACHE_DIR": str(home / "cache")}
        network = {"HF_ENDPOINT": self.url, "NO_PROXY": "127.0.0.1,localhost"}
        return environ | network | stored | variables

    def blobs(self) -> dict[str, Path]:
        """All files, by the SHA-256 of their content."""
        return {_sha256(file): file for folder in self.commits.values() for file in _files(folder)}


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
        hub, name = self.server, self.server.repository
        hub.requests.append((self.command, path))
        fault = next((rule for rule in hub.faults if rule.times and rule.part in path), None)
        if fault is not None:
            fault.times -= 1
            self._send(fault.status, b"", fault.headers)
        elif path.startswith("/cdn/"):
            self._from_cdn(path.removeprefix("/cdn/"))
        elif self._is_let_in(path):
            if path.startswith(f"/{name}/resolve/"):
                self._resolve(*path.removeprefix(f"/{name}/resolve/").split("/", 1))
            elif path.startswith("/api/resolve-cache/"):
                self._small_file(*path.split("/", 6)[5:])
            elif path == f"/api/models/{name}" or path.startswith(f"/api/models/{name}/"):
                self._about(path.removeprefix(f"/api/models/{name}"))
            else:
                self._not_found("RepoNotFound")

    def _is_let_in(self, path: str) -> bool:
        """Whether the token suffices; otherwise answers as the hub does."""
        access, token = self.server.access, self._token()
        is_file = "/resolve" in path
        if token not in ("", TOKEN, OTHER_TOKEN):
            said = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._send(401, b'{"error": "Invalid username or password."}', said)
        elif access == "private" and token != TOKEN:
            body = b'{"error": "Repository not found"}'
            self._send(404 if token else 401, body, {"X-Error-Code": "RepoNotFound"})
        elif access == "gated" and is_file and token != TOKEN:
            self._send(403 if token else 401, b"", {"X-Error-Code": "GatedRepo"})
        else:
            return True
        return False

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _about(self, rest: str) -> None:
        """The commit and the files of a revision, or its files alone."""
        hub = self.server
        _, kind, revision = rest.split("/", 2) if rest else ("", "revision", "main")
        commit = hub.branches.get(revision, revision)
        if commit not in hub.commits:
            self._not_found("RevisionNotFound")
            return
        files = [
            {
                "size": file.stat().st_size,
                "name": _name(file, hub.commits[commit]),
                "oid": _oid(file),
            }
            for file in _files(hub.commits[commit])
        ]
        if kind == "tree":
            tree = [{"type": "file", "path": file["name"]} | file for file in files]
            self._send(200, json.dumps(tree).encode())
            return
        siblings = [
            {"rfilename": file["name"], "size": file["size"], "blobId": file["oid"]}
            for file in files
        ]
        about = {"id": hub.repository, "sha": commit, "private": hub.access == "private",
                 "siblings": siblings}  # fmt: skip
        self._send(200, json.dumps(about).encode())

    def _resolve(self, revision: str, name: str) -> None:
        """Redirect to the bytes of a file, with its hash and size for the client."""
        hub = self.server
        commit = hub.branches.get(revision, revision)
        folder = hub.commits.get(commit)
        file = folder and folder / name
        if file is None or not file.is_file():
            self._not_found("EntryNotFound" if folder else "RevisionNotFound")
            return
        headers = {"X-Repo-Commit": commit}
        if file.suffix in _LARGE:
            digest = _sha256(file)
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(file.stat().st_size)}
            location = f"http://localhost:{hub.server_port}/cdn/{digest}?signature=1"
            self._send(302, b"", headers | {"Location": location})
        else:
            location = f"/api/resolve-cache/models/{hub.repository}/{commit}/{name}"
            headers |= {"ETag": f'"{_oid(file)}"', "X-Linked-Size": str(file.stat().st_size)}
            self._send(307, b"", headers | {"Location": location})

    def _small_file(self, _repository: str, rest: str) -> None:
        commit, name = rest.split("/", 1)
        file = self.server.commits[commit] / name
        self._bytes(name, file, {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": commit})

    def _from_cdn(self, digest: str) -> None:
        hub = self.server
        if self._token():
            hub.tokens_at_cdn.append(self._token())
        file = hub.blobs().get(digest)
        if file is None:
            self._send(403, b"")
            return
        folder = next(root for root in hub.commits.values() if file.is_relative_to(root))
        self._bytes(_name(file, folder), file, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"})

    def _bytes(self, name: str, file: Path, headers: dict[str, str]) -> None:
        """The bytes of a file, or of a range up to its end, perhaps cut short."""
        content, status = file.read_bytes(), 200
        asked = self.headers.get("Range")
        if asked:
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers = headers | {
                "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"
            }
            content, status = content[start:], 206
        cut = next((rule for rule in self.server.cuts if rule.times and rule.file == name), None)
        if self.command == "GET" and cut is not None:
            cut.times -= 1
            self._send(status, content, headers, sent=cut.bytes_sent)
            return
        if self.command == "GET":
            self.server.fetched.append(name)
        self._send(status, content, headers)

    def _not_found(self, code: str) -> None:
        self._send(404, b'{"error": "not found"}', {"X-Error-Code": code})

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        sent: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def serve(folder: Path, repository: str) -> Iterator[Hub]:
    """The server, running in a thread until the block ends."""
    with Hub(folder, repository) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
