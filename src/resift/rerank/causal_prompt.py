"""The prompt of a causal reranker: what its model reads around a query and a document.

A row is ``prefix + tokens(before_query + query + after_query) + middle``, which is the same for all
documents, then ``tokens(before_document + document) + suffix``. Knows no tokenizer and no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LAST_TOKEN = 1 << 31


@dataclass(frozen=True, slots=True)
class CausalPrompt:
    """Parts of a prompt: ids where special tokens may be, texts where a tokenizer may join them.

    `before_document` is white space or empty, so that no document hides it.
    """

    prefix: tuple[int, ...]
    before_query: str
    after_query: str
    middle: tuple[int, ...]
    before_document: str
    suffix: tuple[int, ...]

    @classmethod
    def of(
        cls,
        prefix: Sequence[int],
        before_query: str,
        after_query: str,
        middle: Sequence[int],
        before_document: str,
        suffix: Sequence[int],
    ) -> "CausalPrompt":
        """Read from JSON. Raises `ValueError`."""
        texts = (before_query, after_query, before_document)
        if not all(isinstance(text, str) for text in texts) or before_document.strip():
            raise ValueError(f"a prompt's texts {texts!r}, expected text, the last one white space")
        return cls(
            _ids(prefix), before_query, after_query, _ids(middle), before_document, _ids(suffix)
        )


def _ids(values: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not all(
        type(value) is int and 0 <= value < LAST_TOKEN for value in values
    ):
        raise ValueError(f"a prompt's ids {str(values)[:40]}, expected whole numbers from 0")
    return tuple(values)
