"""A fake S3 on loopback that lists any keys, or answers with no listing at all."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from resift.settings import StorageSettings

BUCKET = "b"
Answer = tuple[int, bytes]
Query = Mapping[str, str]


class FakeS3(ThreadingHTTPServer):
    """`objects` by key, `archived` keys among them; `listing` may answer for a listing instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.archived: set[str] = set()
        self.page = 1000
        self.listing: Callable[[Query], Answer | None] = lambda query: None
        self.listings = 0

    @property
    def settings(self) -> StorageSettings:
        endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        return StorageSettings(endpoint, "us-east-1", "owner", "owner-secret")

    def listed(self, query: Query) -> Answer:
        """A page as S3 gives it."""
        keys = sorted(key for key in self.objects if key.startswith(query["prefix"]))
        at = int(query.get("continuation-token", "0"))
        some = keys[at : at + self.page]
        return 200, listing(
            {key: self.objects[key] for key in some},
            str(at + self.page) if at + self.page < len(keys) else None,
        )


def listing(objects: Mapping[str, bytes], following: str | None = None, count: int = -1) -> bytes:
    """A page of these objects."""
    contents = "".join(
        f"<Contents><Key>{quote(key)}</Key><Size>{len(data)}</Size><ETag>&quot;{_etag(data)}&quot;"
        f"</ETag><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>"
        for key, data in objects.items()
    )
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{token}"
        f"<KeyCount>{len(objects) if count < 0 else count}</KeyCount>"
        f"<EncodingType>url</EncodingType>{contents}</ListBucketResult>"
    ).encode()


def refusal(code: str, **more: str) -> bytes:
    """An error answer of S3; `more` may quote a key."""
    fields = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in more.items())
    return f"<?xml version='1.0'?><Error><Code>{code}</Code>{fields}</Error>".encode()


@contextmanager
def fake_s3_server() -> Iterator[FakeS3]:
    """A running server."""
    with FakeS3() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeS3

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        if "list-type" in query:
            self.server.listings += 1
            self._answer(*(self.server.listing(query) or self.server.listed(query)))
            return
        key = unquote(url.path).removeprefix(f"/{BUCKET}/")
        if key in self.server.archived:
            self._answer(403, refusal("InvalidObjectState", Key=key))
        elif key in self.server.objects:
            self._answer(200, self.server.objects[key], _etag(self.server.objects[key]))
        else:
            self._answer(404, refusal("NoSuchKey", Key=key))

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, etag: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


def _etag(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()
