"""Azure Blob Storage on loopback, with ETags as preconditions and signatures that are checked."""

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from resift.settings import AzSettings, StorageSettings
from storage.peer import Answer, Peer, Request, Stored, error, part_of

ACCOUNT = "resifttest"
KEY = base64.b64encode(b"the account's key").decode()
SAS = "sv=2026-01-01&ss=b&sp=rwdlc&sig=a%2Bsignature%3D"
TOKEN = "eyJ.a-token"
# The headers that a signature covers, in order.
_SIGNED = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type"),
    *("date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)


class AzurePeer(Peer):
    """Accepts requests signed by `KEY`, with `SAS`, or with a token that begins with `TOKEN`."""

    @property
    def settings(self) -> StorageSettings:
        return StorageSettings(az=AzSettings(ACCOUNT, account_key=KEY, endpoint=self.endpoint))

    @property
    def endpoint(self) -> str:
        return f"{self.url}/{ACCOUNT}"

    def new_bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.objects[name] = {}
        return name

    def answer(self, request: Request) -> Answer:
        account, _, rest = request.path.lstrip("/").partition("/")
        container, _, key = rest.partition("/")
        if account != ACCOUNT:
            return error(400, "InvalidUri")
        if refusal := self._refusal(request, container):
            return refusal
        if container not in self.objects:
            return error(404, "ContainerNotFound")
        if request.query.get("comp") == "list":
            return self._list(container, request)
        if request.query.get("comp") == "batch":
            return self._batch(request)
        return getattr(self, f"_{request.method.lower()}")(container, key, request)  # type: ignore[no-any-return]

    def _refusal(self, request: Request, container: str) -> Answer | None:
        given = request.headers.get("authorization", "")
        if given.startswith("SharedKey "):
            is_valid = hmac.compare_digest(given, f"SharedKey {ACCOUNT}:{_signature(request)}")
        elif given:
            is_valid = given.startswith(f"Bearer {TOKEN}")
        elif "sig" in request.query:
            is_valid = request.query["sig"] == "a+signature="
        else:
            is_read = request.method in ("GET", "HEAD") and container in self.public
            return None if is_read else error(409, "PublicAccessNotPermitted")
        return None if is_valid else error(403, "AuthenticationFailed")

    def _list(self, container: str, request: Request) -> Answer:
        prefix, after = request.query.get("prefix", ""), request.query.get("marker", "")
        keys = sorted(k for k in self.objects[container] if k.startswith(prefix) and k > after)
        size = min(self.page, int(request.query.get("maxresults", "1000")))
        page, more = keys[:size], len(keys) > size
        blobs = "".join(_blob(key, self.objects[container][key]) for key in page)
        following = escape(page[-1]) if more else ""
        body = (
            '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults '
            f'ContainerName="{container}"><Blobs>{blobs}</Blobs>'
            f"<NextMarker>{following}</NextMarker></EnumerationResults>"
        )
        return Answer(200, {"Content-Type": "application/xml"}, body.encode())

    def _get(self, container: str, key: str, request: Request) -> Answer:
        stored = self.objects[container].get(key)
        if stored is None:
            return error(404, "BlobNotFound")
        return part_of(stored.data, request, _headers(stored))

    _head = _get

    def _put(self, container: str, key: str, request: Request) -> Answer:
        stored = self.objects[container].get(key)
        if request.headers.get("if-none-match") == "*" and stored:
            return error(409, "BlobAlreadyExists")
        expected = request.headers.get("if-match")
        if expected and (stored is None or expected != _headers(stored)["ETag"]):
            return error(412, "ConditionNotMet")
        return Answer(201, _headers(self.store(container, key, request.body)))

    def _delete(self, container: str, key: str, request: Request) -> Answer:
        return Answer(202) if self.objects[container].pop(key, None) else error(404, "BlobNotFound")

    def _batch(self, request: Request) -> Answer:
        """Deletions of several objects, each answered in a part of one body."""
        parts = []
        for number, path in enumerate(re.findall(rb"DELETE (\S+) HTTP/1.1", request.body)):
            inner = Request("DELETE", _unquoted(path), path.decode(), {}, {}, b"")
            _, container, key = inner.path.lstrip("/").split("/", 2)
            answer = self._delete(container, key, inner)
            word = "Accepted" if answer.status == 202 else "Not Found"
            code = "" if answer.status == 202 else "x-ms-error-code: BlobNotFound\r\n"
            parts.append(
                f"--batch\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {answer.status} {word}\r\n{code}x-ms-request-id: {number}\r\n\r\n"
            )
        body = ("".join(parts) + "--batch--\r\n").encode()
        return Answer(202, {"Content-Type": "multipart/mixed; boundary=batch"}, body)


def _unquoted(path: bytes) -> str:
    return unquote(path.decode().partition("?")[0])


def _signature(request: Request) -> str:
    """The signature of a request by the rules of Shared Key."""
    headers: Mapping[str, str] = request.headers
    values = [headers.get(name, "") for name in _SIGNED]
    values[2] = "" if values[2] == "0" else values[2]
    values[5] = "" if "x-ms-date" in headers else values[5]
    signed = sorted(name for name in headers if name.startswith("x-ms-"))
    resource = f"/{ACCOUNT}{request.raw_path}" + "".join(
        f"\n{name.lower()}:{request.query[name]}" for name in sorted(request.query)
    )
    lines = [
        request.method,
        *values,
        *(f"{name}:{headers[name].strip()}" for name in signed),
        resource,
    ]
    digest = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def _headers(stored: Stored) -> dict[str, str]:
    return {
        "ETag": f'"0x8{stored.generation:014X}"',
        "Last-Modified": stored.modified_http,
        "x-ms-blob-type": "BlockBlob",
    }


def _blob(key: str, stored: Stored) -> str:
    is_valid_xml = all(character >= " " for character in key)
    name = f"<Name>{escape(key)}</Name>"
    if not is_valid_xml:
        name = f'<Name Encoded="true">{quote(key)}</Name>'
    is_folder = stored.data == b"" and "." not in key  # of a hierarchical namespace
    kind = "<ResourceType>directory</ResourceType>" if is_folder else ""
    return (
        f"<Blob>{name}<Properties><Last-Modified>{stored.modified_http}</Last-Modified>"
        f"<Etag>0x8{stored.generation:014X}</Etag><Content-Length>{len(stored.data)}"
        f"</Content-Length><Content-Type>text/plain</Content-Type>{kind}</Properties></Blob>"
    )
