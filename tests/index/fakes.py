"""Stand-ins that need no model and no second process: hashed words, parsers in this process."""

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from resift.errors import SourceError
from resift.index.parsing.chunking import chunk_document
from resift.index.parsing.documents import ChunkedFile
from resift.index.parsing.formats import parse
from resift.index.parsing.options import ParseOptions

T = TypeVar("T")
WORD = re.compile(r"\w+|[^\w\s]")


class HashingEmbedder:
    """Bag of hashed words: texts with shared words are near. Counts the embedded texts."""

    def __init__(self, fingerprint: str = "hashing-64", dim: int = 64) -> None:
        self.name = fingerprint
        self.fingerprint = fingerprint
        self.dim = dim
        self.embedded = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in WORD.findall(text.lower()):
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1.0
        self.embedded += len(texts)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-9), dtype=np.float32)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


class InProcessParsers:
    """`ParserPool` without processes: the same files come out the same, cut by words."""

    def __init__(self, options: ParseOptions) -> None:
        self._options = options

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def map(
        self, files: Iterable[tuple[T, str, bytes | SourceError]]
    ) -> Iterator[tuple[T, ChunkedFile | SourceError]]:
        for item, key, data in files:
            yield item, self._outcome(key, data)

    def _outcome(self, key: str, data: bytes | SourceError) -> ChunkedFile | SourceError:
        if isinstance(data, SourceError):
            return data
        try:
            parsed = parse(key, data, self._options)
            documents = tuple(
                chunk_document(document, token_starts) for document in parsed.documents
            )
            return ChunkedFile(documents, parsed.problems)
        except SourceError as error:
            return error


def token_starts(text: str) -> NDArray[np.int64]:
    return np.array([match.start() for match in WORD.finditer(text)], dtype=np.int64)
