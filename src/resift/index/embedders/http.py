"""An embedder behind OpenAI's embeddings protocol: ``POST {base}/embeddings``.

Writes the requests and reads the responses; `transport.endpoint` sends and receives them.
"""

import base64
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from resift.errors import EmbedderError, InputError
from resift.index.embedders.keys import VARIABLE, authorise
from resift.settings import Settings
from resift.transport.endpoint import Endpoint, EndpointError, RetryLimits, Wording
from resift.transport.urls import split_url

BATCH_TEXTS = 32  # text-embeddings-inference's default, the smallest among known servers
BATCH_CHARACTERS = 64_000
MIN_CHARACTERS = 200  # servers do not refuse shorter texts for their length
BULK = RetryLimits(timeout_s=60, tries=6, max_wait_s=60)
QUERY = RetryLimits(timeout_s=10, tries=2, max_wait_s=2)  # somebody is waiting
WORDING = Wording(
    "an embeddings server",
    {
        401: f"set {VARIABLE} to a key that is valid there",
        403: f"set {VARIABLE} to a key that may use this model",
        404: "check the URL, which often ends in /v1, and the model's name",
        405: "check the URL, which often ends in /v1",
    },
)

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float32]


class EmbedderRefused(EmbedderError):
    """The server rejects this request; it may accept another text."""


class HttpEmbedder:
    """One model of a server. Nothing is sent before the first text or the first use of `dim`.

    `spec` is ``http(s)://[user:password@]host[:port][/path]#model``. User and password are sent as
    basic authentication; without them, the settings' key for that host is sent as a bearer token.
    Methods raise `EmbedderError`.
    """

    def __init__(
        self,
        spec: str,
        settings: Settings | None = None,
        *,
        bulk: RetryLimits = BULK,
        query: RetryLimits = QUERY,
    ) -> None:
        base, self._model, user = _parts(spec)
        settings = settings or Settings()
        authorisation = authorise(urlsplit(base), user, settings)
        self.name = f"{base}#{self._model}"
        self.fingerprint = f"openai-compatible {self.name}"
        self._endpoint = Endpoint(
            f"{base}/embeddings", authorisation, settings.ca_file, wording=WORDING
        )
        self._bulk, self._query = bulk, query
        self._opened_with = spec, settings
        self._dim: int | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """A pickle holds the arguments: the copy connects again."""
        return partial(HttpEmbedder, bulk=self._bulk, query=self._query), self._opened_with

    @property
    def dim(self) -> int:
        """The length of a vector; sends one request if nothing has been embedded yet."""
        return self._dim or len(self._vectors(["dimension"], self._query)[0])

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors in input order, ``(n, dim)``; one request a batch."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return np.concatenate([self._embed_batch(batch) for batch in batches(texts)])

    def embed_query(self, query: str) -> Floats:
        """Return the unit vector of a query, ``(dim,)``; gives up earlier than `embed`."""
        vector: Floats = self._vectors([query], self._query)[0]
        return vector

    def _embed_batch(self, texts: Sequence[str]) -> Floats:
        """Embed a batch; a text that the server refuses does not affect the others.

        A refused text is cut to its first half until the server accepts it. A text that is never
        accepted gets a vector of zeros, which no search finds, and is logged.
        """
        try:
            return self._vectors(texts, self._bulk)
        except EmbedderRefused as error:
            dim = self.dim  # raises if the server accepts no text at all
            if len(texts) > 1:
                middle = len(texts) // 2
                parts = (texts[:middle], texts[middle:])
                return np.concatenate([self._embed_batch(part) for part in parts])
            if len(texts[0]) > MIN_CHARACTERS:
                return self._embed_batch([texts[0][: len(texts[0]) // 2]])
            _LOG.warning("a text beginning %r has no vector: %s", texts[0][:40], error)
            return np.zeros((1, dim), np.float32)

    def _vectors(self, texts: Sequence[str], limits: RetryLimits) -> Floats:
        body = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        try:
            response = self._endpoint.post(body, limits)
        except EndpointError as error:
            kind = EmbedderRefused if error.cause == "refused" else EmbedderError
            raise kind(str(error)) from error
        try:
            vectors = unit_vectors(response, len(texts))
        except ValueError as error:
            raise EmbedderError(f"{self.name}: {error}; is it an embeddings server?") from error
        dim = vectors.shape[1]
        with self._lock:
            expected = self._dim = self._dim or dim
        if dim != expected:
            raise EmbedderError(
                f"{self.name}: a vector of {dim} numbers, where it gave {expected} before; "
                "is another model served there now?"
            )
        return vectors


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Group consecutive texts into requests; a text over the limit gets a request of its own."""
    start, characters = 0, 0
    for index, text in enumerate(texts):
        characters += len(text)
        is_full = index - start == BATCH_TEXTS or characters > BATCH_CHARACTERS
        if is_full and index > start:
            yield texts[start:index]
            start, characters = index, len(text)
    yield texts[start:]


def unit_vectors(response: Any, count: int) -> Floats:
    """Return the vectors of a response with unit length, by their indexes, ``(count, dim)``.

    Raise `ValueError` for a response without one vector of numbers for each text.
    """
    rows = response.get("data") if isinstance(response, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a JSON object with a list of objects in data")
    if len(rows) != count:
        raise ValueError(f"{len(rows)} vectors for {count} texts")
    indexes = [row.get("index", position) for position, row in enumerate(rows)]
    if any(index not in indexes for index in range(count)):
        raise ValueError(f"expected the indexes 0 to {count - 1}, each once")
    try:
        vectors = np.array(
            [_numbers(rows[indexes.index(index)].get("embedding")) for index in range(count)],
            float,
        )
    except (TypeError, ValueError, OverflowError):  # text, null, or rows of several lengths
        vectors = np.empty(0)
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError("expected an embedding of numbers for each text, all as long")
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is refused below
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise ValueError("a vector of zeros, or with a number that is infinite or none")
    return np.asarray(vectors / norms, np.float32)


def _numbers(embedding: Any) -> Any:
    """Return an embedding as numbers; some servers send float32 in base64."""
    if not isinstance(embedding, str):
        return embedding
    return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")


def _parts(spec: str) -> tuple[str, str, str | None]:
    """Split into base URL, without user and trailing slash; model; and ``user:password``."""
    url, _, model = spec.partition("#")
    parts = split_url(url)
    if not parts.hostname or parts.query or not model or not re.fullmatch(r"[!-~]+", url):
        raise InputError(
            f"{spec.rpartition('@')[2]!r}: expected a URL with a host and, behind #, a model, "
            "such as http://host/v1#model"
        )
    user, _, host = parts.netloc.rpartition("@")
    path = parts.path.rstrip("/").removesuffix("/embeddings")
    return f"{parts.scheme}://{host.lower()}{path}", model, unquote(user) or None
