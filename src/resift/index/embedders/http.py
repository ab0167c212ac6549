"""Vectors from a server that speaks OpenAI's embeddings protocol: ``POST {base}/embeddings``.

Knows what is asked and what makes an answer; `endpoint.py` carries it there and back.
"""

import base64
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from resift.errors import EmbedderError, InputError
from resift.index.embedders.endpoint import Endpoint, EndpointRefused, RetryLimits
from resift.index.embedders.keys import Keys, authorise, is_loopback

BATCH_TEXTS = 32  # what text-embeddings-inference takes by default, the least of the known servers
BATCH_CHARACTERS = 64_000
SHORTEST = 200  # characters: what is shorter is not refused for its length
BULK = RetryLimits(timeout_s=60, tries=6, longest_wait_s=60)
QUERY = RetryLimits(timeout_s=10, tries=2, longest_wait_s=2)  # somebody waits for the answer

NO_KEYS = Keys()
_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float32]


class HttpEmbedder:
    """One model of a server. Nothing is sent before the first text or the first look at `dim`.

    `spec` is ``http(s)://[user:password@]host[:port][/path]#model``. A user in it is sent as basic
    authentication, else what `keys` holds for that host as a bearer token. Methods raise
    `EmbedderError`.
    """

    def __init__(
        self,
        spec: str,
        keys: Keys = NO_KEYS,
        *,
        bulk: RetryLimits = BULK,
        query: RetryLimits = QUERY,
    ) -> None:
        base, self._model, user = _parts(spec)
        self.name = f"{base}#{self._model}"
        self.fingerprint = f"openai-compatible {self.name}"
        url = urlsplit(base)
        sent = authorise(url, user, keys)
        self._endpoint = Endpoint(
            f"{base}/embeddings", sent.header, sent.secrets, is_here=is_loopback(url.hostname)
        )
        self._bulk, self._query = bulk, query
        self._dim: int | None = None
        self._lock = threading.Lock()

    @property
    def dim(self) -> int:
        """Length of a vector; the server is asked once where no text has told it yet."""
        return self._dim or len(self._vectors(["dimension"], self._query)[0])

    def embed(self, texts: Sequence[str]) -> Floats:
        """Unit vectors in input order, ``(n, dim)``, batch by batch."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return np.concatenate([self._taken(batch) for batch in batches(texts)])

    def embed_query(self, query: str) -> Floats:
        """The unit vector of a query, ``(dim,)``; gives up earlier than `embed`."""
        vector: Floats = self._vectors([query], self._query)[0]
        return vector

    def _taken(self, texts: Sequence[str]) -> Floats:
        """Vectors of a batch, of which a text that the server refuses costs itself only.

        Of a text that is too long the first half is tried, and so on; one of which nothing is taken
        has a vector of zeros, which no search finds, and is logged.
        """
        try:
            return self._vectors(texts, self._bulk)
        except EndpointRefused as error:
            dim = self.dim  # raises where nothing is taken from us at all
            if len(texts) > 1:
                middle = len(texts) // 2
                return np.concatenate([self._taken(texts[:middle]), self._taken(texts[middle:])])
            if len(texts[0]) > SHORTEST:
                return self._taken([texts[0][: len(texts[0]) // 2]])
            _LOG.warning("a text beginning %r has no vector: %s", texts[0][:40], error)
            return np.zeros((1, dim), np.float32)

    def _vectors(self, texts: Sequence[str], limits: RetryLimits) -> Floats:
        body = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        answer = self._endpoint.post(body, limits)
        try:
            vectors = unit_vectors(answer, len(texts))
        except ValueError as error:
            raise EmbedderError(f"{self.name}: {error}; is it an embeddings server?") from error
        found = vectors.shape[1]
        with self._lock:
            expected = self._dim = self._dim or found
        if found != expected:
            raise EmbedderError(
                f"{self.name}: a vector of {found} numbers, where it gave {expected} before; "
                "is another model served there now?"
            )
        return vectors


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbours, as many as one request may carry; a text over the bound goes alone."""
    start, characters = 0, 0
    for place, text in enumerate(texts):
        characters += len(text)
        full = place - start == BATCH_TEXTS or characters > BATCH_CHARACTERS
        if full and place > start:
            yield texts[start:place]
            start, characters = place, len(text)
    yield texts[start:]


def unit_vectors(answer: Any, count: int) -> Floats:
    """The vectors of an answer in the order of its indexes, made unit, ``(count, dim)``.

    Raises `ValueError` for an answer that has not one vector of numbers for each text.
    """
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a JSON object with a list of objects in data")
    if len(rows) != count:
        raise ValueError(f"{len(rows)} vectors for {count} texts")
    indexes = [row.get("index", place) for place, row in enumerate(rows)]
    if any(place not in indexes for place in range(count)):
        raise ValueError(f"expected the indexes 0 to {count - 1}, each once")
    try:
        vectors = np.array(
            [_numbers(rows[indexes.index(place)].get("embedding")) for place in range(count)],
            float,
        )
    except (TypeError, ValueError, OverflowError):  # text, null, or rows of several lengths
        vectors = np.empty(0)
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError("expected an embedding of numbers for each text, all as long")
    with np.errstate(over="ignore"):  # what is too large is infinite, and refused as that
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise ValueError("a vector of zeros, or with a number that is infinite or none")
    return np.asarray(vectors / norms, np.float32)


def _numbers(embedding: Any) -> Any:
    """An embedding as it came; some servers give float32 in base64 unasked."""
    if not isinstance(embedding, str):
        return embedding
    return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")


def _parts(spec: str) -> tuple[str, str, str | None]:
    """(base without user and slash at its end, model, ``user:password``)."""
    url, _, model = spec.partition("#")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        usable = False
    if not usable or parts.query or not model or not re.fullmatch(r"[!-~]+", url):
        raise InputError(
            f"{spec.rpartition('@')[2]!r}: expected a URL with a host and, behind #, a model, "
            "such as http://host/v1#model"
        )
    user, _, host = parts.netloc.rpartition("@")
    path = parts.path.rstrip("/").removesuffix("/embeddings")
    return f"{parts.scheme}://{host.lower()}{path}", model, unquote(user) or None
