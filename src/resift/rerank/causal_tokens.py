"""A query and documents → the token ids that a causal reranker reads.

The query's row is the prefix that all documents share: the beginning of the prompt and the query. A
document's row is the document and the end of the prompt; only the document is cut. Knows no model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from tokenizers import Tokenizer

from resift.errors import ArtifactError
from resift.rerank.causal_prompt import CausalPrompt
from resift.rerank.text_tokens import TextTokens, Wanted
from resift.rerank.tokenization import (
    MIN_DOCUMENT_TOKENS,
    Ids,
    TokenRow,
    Tokens,
    too_long,
    unreadable,
)

_NONE = np.empty(0, np.int64)


class PromptTokens(Tokens):
    """A tokenizer with a prompt and a limit, which counts all of a pair's tokens."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, prompt: CausalPrompt) -> None:
        """Raises `ArtifactError` if the tokenizer does not have the prompt's tokens."""
        super().__init__(tokenizer, max_tokens, known_only=False)
        self._prompt = prompt
        self._prefix, self._middle, self._suffix = (
            np.array(ids, np.int64) for ids in (prompt.prefix, prompt.middle, prompt.suffix)
        )
        highest = max([*prompt.prefix, *prompt.middle, *prompt.suffix], default=0)
        if highest >= tokenizer.get_vocab_size():
            raise ArtifactError(
                f"its prompt has the token {highest}, its tokenizer {tokenizer.get_vocab_size()} "
                "tokens; convert the checkpoint again"
            )
        around = prompt.before_query + prompt.after_query
        self._around = len(self._encode(around).ids) if around else 0
        special = len(self._prefix) + len(self._middle) + len(self._suffix)
        self._room = max_tokens - special - self._around - MIN_DOCUMENT_TOKENS

    def read(
        self, texts: Sequence[str], wanted: Wanted = "count", most: int | None = None
    ) -> Iterator[TextTokens | None]:
        """Each document's tokens, as after the prompt's white space; none of a blank one."""
        before = self._prompt.before_document
        joined = [before + text if text.strip() else "" for text in texts]
        for tokens in super().read(joined, wanted, most):
            if tokens is not None and tokens.ends is not None:
                tokens = replace(tokens, ends=self._shifted(tokens.ends))
            yield tokens

    def head(self, query: str) -> TokenRow:
        """The prefix that a query's documents share. Raises `QueryError` if it is too long."""
        if not query.strip():
            raise unreadable()
        text = self._prompt.before_query + query + self._prompt.after_query
        (tokens,) = (part for part in super().read([text], "beginning") if part is not None)
        count = max(tokens.total - self._around, 1)
        if count > self._room:
            raise too_long(count, tokens.counted, max(self._room, 0))
        ids = np.concatenate([self._prefix, tokens.ids, self._middle])
        return TokenRow(ids, len(ids), count, 0, len(query))

    def pairs(
        self, head: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        """One row per document, without the prefix; the document is cut to `max_tokens`."""
        return self._rows(texts, tokens, _NONE, self._suffix, len(head.ids))

    def _ends(self, text: str, tokens: int) -> Ids:
        return self._shifted(super()._ends(self._prompt.before_document + text, tokens))

    def _shifted(self, ends: Ids) -> Ids:
        """Ends in a text, from those after the prompt's white space."""
        result: Ids = np.maximum(ends - len(self._prompt.before_document), 0)
        return result
