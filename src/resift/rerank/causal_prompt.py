"""The prompt of a causal reranker: what its model reads around a query and a document.

A row is ``prefix + tokens(before_query + query + after_query) + middle``, which is the same for all
documents, then ``tokens(before_document + document) + suffix``. Knows no tokenizer and no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from resift.rerank.values import token_ids


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
        ids = [token_ids(values, "a prompt's ids") for values in (prefix, middle, suffix)]
        return cls(ids[0], before_query, after_query, ids[1], before_document, ids[2])
