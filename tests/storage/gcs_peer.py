"""Google Cloud Storage on loopback, in its XML protocol, with generations as preconditions."""

import json
import uuid
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from resift.settings import GsSettings, StorageSettings
from storage.peer import Answer, Peer, Request, Stored, error, part_of

TOKEN = "ya29.a-token"


class GcsPeer(Peer):
    """Accepts `TOKEN`, which it gives to a service account; public buckets need none."""

    @property
    def settings(self) -> StorageSettings:
        """Settings with the credentials of a service account."""
        return StorageSettings(gs=GsSettings(credentials_json=self.credentials, endpoint=self.url))

    @property
    def credentials(self) -> str:
        """The content of a credentials file that asks this server for tokens."""
        account: dict[str, Any] = {
            "type": "service_account",
            "client_email": "resift@project.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": _private_key(),
            "token_uri": f"{self.url}/token",
        }
        return json.dumps(account)

    def new_bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.objects[name] = {}
        return name

    def answer(self, request: Request) -> Answer:
        if request.path == "/token":
            if b"assertion=" not in request.body:
                return Answer(400, {}, b"{}")
            token = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            return Answer(200, {"Content-Type": "application/json"}, json.dumps(token).encode())
        bucket, _, key = request.path.lstrip("/").partition("/")
        is_signed = request.headers.get("authorization") == f"Bearer {TOKEN}"
        if "authorization" in request.headers and not is_signed:
            return error(401, "AuthenticationRequired")
        if not is_signed and (bucket not in self.public or request.method not in ("GET", "HEAD")):
            return error(403, "AccessDenied")
        if bucket not in self.objects:
            return error(404, "NoSuchBucket")
        if not key:
            return self._list(bucket, request)
        return getattr(self, f"_{request.method.lower()}")(bucket, key, request)  # type: ignore[no-any-return]

    def _list(self, bucket: str, request: Request) -> Answer:
        query = request.query
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        keys = sorted(k for k in self.objects[bucket] if k.startswith(prefix) and k > after)
        size = min(self.page, int(query.get("max-keys", "1000")))
        page, more = keys[:size], len(keys) > size
        encode = quote if query.get("encoding-type") == "url" else escape
        contents = "".join(
            f"<Contents><Key>{encode(key)}</Key>{_fields(self.objects[bucket][key])}</Contents>"
            for key in page
        )
        following = (
            f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        )
        encoding = "<EncodingType>url</EncodingType>" if encode is quote else ""
        body = (
            "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult "
            f"xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Name>{bucket}</Name>{encoding}"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{following}{contents}"
            "</ListBucketResult>"
        )
        return Answer(200, {"Content-Type": "application/xml"}, body.encode())

    def _get(self, bucket: str, key: str, request: Request) -> Answer:
        stored = self.objects[bucket].get(key)
        if stored is None or request.query.get("generation", str(stored.generation)) != str(
            stored.generation
        ):
            return error(404, "NoSuchKey")
        return part_of(stored.data, request, _headers(stored))

    _head = _get

    def _put(self, bucket: str, key: str, request: Request) -> Answer:
        stored = self.objects[bucket].get(key)
        expected = request.headers.get("x-goog-if-generation-match")
        if expected is not None and expected != str(stored.generation if stored else 0):
            return error(412, "PreconditionFailed")
        return Answer(200, _headers(self.store(bucket, key, request.body)))

    def _delete(self, bucket: str, key: str, request: Request) -> Answer:
        return Answer(204) if self.objects[bucket].pop(key, None) else error(404, "NoSuchKey")


@lru_cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


class CarelessGcsPeer(GcsPeer):
    """Ignores preconditions, as gateways do that speak the protocol in part."""

    def _put(self, bucket: str, key: str, request: Request) -> Answer:
        return Answer(200, _headers(self.store(bucket, key, request.body)))


def _headers(stored: Stored) -> dict[str, str]:
    return {
        "ETag": f'"{stored.md5}"',
        "Last-Modified": stored.modified_http,
        "x-goog-generation": str(stored.generation),
    }


def _fields(stored: Stored) -> str:
    return (
        f"<Generation>{stored.generation}</Generation>"
        f"<LastModified>{stored.modified.isoformat()}</LastModified>"
        f"<ETag>&quot;{stored.md5}&quot;</ETag><Size>{len(stored.data)}</Size>"
    )
