"""Models as lists of stages. A stage takes a batch of rows and gives a logit for each row.

*Cross-encoder*: reads query and document as one sequence through all layers.
*Late-interaction model*: the same encoder reads query and document separately. The first stage
compares their token states. In the second one, cross-attention layers let the query's tokens attend
to the document's and add to the logit.
*Multi-vector model*: an encoder that reads both separately, and MaxSim (`multi_vector.py`).
*Causal reranker*: a decoder that reads a prompt with both texts (`causal.py`).
A stage passes `Batch.states` on to the next stage; those of the last stage are dropped.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import Pooling
from resift.rerank.batching import padded_length, schedule
from resift.rerank.graph_checks import NEXT_STATES
from resift.rerank.graph_runs import TokenStates, readable, run, run_pairs, run_rows, stored
from resift.rerank.late_interaction import (
    LateInteractionWeights,
    content_mask,
    mean_states,
    unit,
)
from resift.rerank.runtimes import Session
from resift.rerank.terms import TermEncoder
from resift.rerank.text_tokens import TextTokens, Wanted
from resift.rerank.tokenization import Ids, TokenRow, Tokens, pad

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that run together.

    `states`, ``(rows, positions, layers * dim)``, and `logits`, ``(rows,)``, are from the stage
    before. Both are None before the first stage, unless the documents' states are precomputed. For
    a late-interaction model `queries` has the query's token states for each row, and `means` are
    the documents' unit mean vectors, ``(rows, dim)``, from its first stage.
    """

    rows: Sequence[TokenRow]
    queries: Sequence[TokenStates | None] = ()
    states: TokenStates | None = None
    logits: Floats | None = None
    means: Floats | None = None


class Stage(Protocol):
    """One step of a model. Threads may share it."""

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        """The same rows with new states, and a logit for each, ``(rows,)``."""


class Model(ABC):
    """A model as the engine sees it: tokenising, token states, and stages.

    `stages` are in running order; `runtime` names the runtime that runs them. `state_bytes` is the
    size of a token's states between stages, 0 without states. `state_type` is the type of the
    states that a document has without a query, None for a cross-encoder. With `shares_prefix`, the
    query's row precedes the rows of all documents and is no part of them.
    """

    stages: Sequence[Stage]
    runtime: str
    state_bytes: int = 0
    state_type: np.dtype[Any] | None = None
    shares_prefix: bool = False

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    @abstractmethod
    def query_row(self, query: str) -> TokenRow:
        """The query's tokens, computed once a call. Raises `QueryError` if they are too many."""

    @abstractmethod
    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        """One row per document; with `tokens` of the documents they are not tokenised again."""

    def tokens(
        self, texts: Sequence[str], wanted: Wanted, most: int | None = None
    ) -> Iterator[TextTokens | None]:
        """Each document's tokens in order, of a long one over `most`, by default `max_tokens`.

        None in between, to check a deadline.
        """
        return self._tokens.read(texts, wanted, most)

    def ends(self, text: str, tokens: TextTokens) -> Ids:
        """The character at which each token of a text ends, ``(n,)``, ascending."""
        return self._tokens.ends(text, tokens)

    def are_text_tokens(self, ids: Ids) -> bool:
        """Whether all ids are in the vocabulary and none is a special token."""
        return self._tokens.are_text_tokens(ids)

    def are_unknown(self, ids: Ids) -> NDArray[np.bool_]:
        """Which ids, ``(n,)``, are the token of unknown words."""
        return self._tokens.are_unknown(ids)

    def query_states(self, query: TokenRow) -> TokenStates | None:
        """The query's token states, computed once a call; None for a cross-encoder."""
        return None

    def document_states(
        self, texts: Sequence[str], tokens: Sequence[TextTokens]
    ) -> Iterator[tuple[int, TokenStates]]:
        """(index, token states) of each document, in any order; nothing for a cross-encoder."""
        return iter(())


class CrossEncoder(Model):
    """A classic cross-encoder; `prompt` is put before every query."""

    def __init__(self, tokens: Tokens, *sessions: Session, prompt: str = "") -> None:
        super().__init__(tokens)
        self._prompt = prompt
        self.runtime = sessions[0].runtime
        self.stages = [CrossEncoderStage(session) for session in sessions]
        if len(sessions) > 1:
            probe = stored(run_rows(sessions[0], tokens.single([""]))[NEXT_STATES])
            self.state_bytes = probe.shape[-1] * probe.itemsize

    def query_row(self, query: str) -> TokenRow:
        return self._tokens.head(self._prompt + query)

    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        return self._tokens.pairs(query, texts, tokens)


@dataclass(frozen=True, slots=True)
class CrossEncoderStage:
    """A group of layers: token ids, or states of the stage before, in; states and a logit out.

    The last stage gives no states.
    """

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        feeds: dict[str, NDArray[Any]] = {**pad(batch.rows)}
        if batch.states is not None:
            feeds["states"] = readable(batch.states)
        outputs = run(self.session, feeds)
        states = outputs.get(NEXT_STATES)
        return replace(batch, states=None if states is None else stored(states)), outputs["logits"]


class TwoSidedModel(Model):
    """An encoder that reads query and document separately; documents can be precomputed."""

    def __init__(self, tokens: Tokens, encoder: Session, terms: TermEncoder | None = None) -> None:
        super().__init__(tokens)
        self._encoder, self._terms = encoder, terms
        self.runtime = encoder.runtime
        probe = encode(encoder, tokens.single([""]), terms)
        self.state_bytes = probe.shape[-1] * probe.itemsize
        self.state_type = probe.dtype

    def query_row(self, query: str) -> TokenRow:
        return self._tokens.whole_query(query)

    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        return self._tokens.single(texts, tokens)

    def document_states(
        self, texts: Sequence[str], tokens: Sequence[TextTokens]
    ) -> Iterator[tuple[int, TokenStates]]:
        return encode_each(self._encoder, self._tokens.single(texts, tokens), self._terms)


class LateInteractionModel(TwoSidedModel):
    """An encoder, late interaction, and cross-attention layers if the model has them.

    With `terms`, the last columns of its token states are term states.
    """

    def __init__(
        self,
        tokens: Tokens,
        encoder: Session,
        late: Session,
        weights: LateInteractionWeights,
        cross_attention: Session | None = None,
        *,
        terms: TermEncoder | None = None,
    ) -> None:
        super().__init__(tokens, encoder, terms)
        self._weights = weights
        self.stages = [LateInteractionStage(encoder, late, weights, terms)]
        if cross_attention is not None:
            self.stages = [*self.stages, CrossAttentionStage(cross_attention)]

    def query_states(self, query: TokenRow) -> TokenStates:
        states: TokenStates = encode(self._encoder, [query], self._terms)[0][: len(query.ids)]
        return states

    def term_parts(self, query: str, texts: Sequence[str]) -> Floats:
        """What term matching adds to the logit of each text, ``(texts,)``; 0 without it."""
        parts = np.zeros(len(texts), np.float32)
        if self._terms is not None:
            terms = self._terms.of_query(self._tokens.whole_query(query))
            beginnings = [part for part in self.tokens(texts, "beginning") if part is not None]
            rows = self._tokens.single(texts, beginnings)
            for group in schedule([len(row.ids) for row in rows]):
                batch = self._terms.states(pad([rows[index] for index in group.rows]))
                for index, states in zip(group.rows, batch, strict=True):
                    exact = self._terms.exact(states[: len(rows[index].ids)])
                    parts[index] = self._weights.terms * terms.feature(exact)
        return parts


@dataclass(frozen=True, slots=True)
class LateInteractionStage:
    """Encodes the documents, unless they are precomputed, and compares them with the query."""

    encoder: Session
    late: Session
    weights: LateInteractionWeights
    terms: TermEncoder | None = None

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        states = batch.states
        if states is None:
            states = encode(self.encoder, batch.rows, self.terms)
        outputs = self.compare(_query_states(batch), states, batch.rows)
        out = replace(batch, states=states, means=outputs["means"])
        return out, self.weights.logits(outputs["features"])

    def compare(
        self, queries: Sequence[TokenStates], states: TokenStates, rows: Sequence[TokenRow]
    ) -> dict[str, NDArray[Any]]:
        """The ``features`` and ``means`` of each row's query and document (`late_graph`)."""
        feeds = cross_attention_feeds(queries, states, rows)
        if self.terms is not None:
            feeds |= self.terms.feeds([query[:, -self.terms.dim :] for query in queries])
        return run_pairs(self.late, feeds)


@dataclass(frozen=True, slots=True)
class CrossAttentionStage:
    """Query tokens attend to document tokens; adds a residual to the logit of the stage before."""

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        if batch.states is None or batch.logits is None:
            raise ValueError(
                "cross-attention needs the states and logits of the stage before: this is a bug"
            )
        feeds = cross_attention_feeds(_query_states(batch), batch.states, batch.rows)
        feeds["logits"] = batch.logits
        return batch, batch.logits + run_pairs(self.session, feeds)["residual"]


class Encoder:
    """An encoder on its own, for embedders: texts in, arrays in input order out.

    Threads may share it.
    """

    def __init__(self, tokens: Tokens, session: Session) -> None:
        self._tokens = tokens
        self._session = session
        self.runtime = session.runtime

    def states(self, texts: Sequence[str]) -> Iterator[Floats]:
        """Token states of each text, ``(tokens, dim)``, special tokens included."""
        states_by_index: dict[int, Floats] = {}
        for indices, batch, mask in self._batches(texts):
            for index, states, tokens in zip(indices, batch, mask.sum(axis=1), strict=True):
                states_by_index[index] = states[:tokens].copy()
        yield from (states_by_index[index] for index in range(len(texts)))

    def vectors(self, texts: Sequence[str], pooling: Pooling) -> Floats:
        """A unit vector per text, ``(n, dim)``, for at least one text.

        A graph that pools gives one state a text, whatever the pooling.
        """
        vector_by_index: dict[int, Floats] = {}
        for indices, states, mask in self._batches(texts):
            is_pooled = pooling == "cls" or states.shape[1] == 1
            vectors = unit(states[:, 0]) if is_pooled else mean_states(states, mask)
            vector_by_index.update(zip(indices, vectors, strict=True))
        return np.stack([vector_by_index[index] for index in range(len(texts))])

    def _batches(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], Floats, NDArray[np.int64]]]:
        """(indices, states, mask) of each batch."""
        beginnings = [part for part in self._tokens.read(texts, "beginning") if part is not None]
        rows = self._tokens.single(texts, beginnings)
        for group in schedule([len(row.ids) for row in rows]):
            indices = [int(index) for index in group.rows]
            feeds = pad([rows[index] for index in indices])
            yield indices, run(self._session, feeds, ["states"])["states"], feeds["attention_mask"]


def encode(
    encoder: Session, rows: Sequence[TokenRow], terms: TermEncoder | None = None
) -> TokenStates:
    """Token states of rows, ``(rows, positions, layers * dim)``, in their stored type.

    With `terms`, term states follow in each token's columns.
    """
    name = "layers" if "layers" in encoder.outputs else "states"
    feeds = pad(rows)
    states = stored(run(encoder, feeds, [name])[name])
    return states if terms is None else np.concatenate([states, terms.states(feeds)], axis=2)


def encode_each(
    encoder: Session, rows: Sequence[TokenRow], terms: TermEncoder | None = None
) -> Iterator[tuple[int, TokenStates]]:
    """(index, token states) of each row without padding, in the order of batches."""
    for group in schedule([len(row.ids) for row in rows]):
        batch = encode(encoder, [rows[index] for index in group.rows], terms)
        for index, states in zip(group.rows, batch, strict=True):
            yield int(index), states[: len(rows[index].ids)].copy()


def _query_states(batch: Batch) -> list[TokenStates]:
    """The query's states for each row."""
    queries = [states for states in batch.queries if states is not None]
    if len(queries) != len(batch.rows):
        raise ValueError(
            "a late-interaction model's batch needs the query's states for each row: this is a bug"
        )
    return queries


def cross_attention_feeds(
    queries: Sequence[TokenStates], states: TokenStates, rows: Sequence[TokenRow]
) -> dict[str, NDArray[Any]]:
    """Inputs of a graph that reads the states of each row's query and document.

    `queries` are ``(tokens, layers * dim)`` each, `states` ``(rows, positions, layers * dim)``.
    """
    kind = np.int8 if states.dtype == np.int8 else np.float32
    positions = padded_length(max(len(query) for query in queries))
    query_states = np.zeros((len(rows), positions, states.shape[2]), kind)
    query_mask = np.zeros((len(rows), positions), np.int64)
    for number, query in enumerate(queries):
        query_states[number, : len(query)] = query
        query_mask[number, : len(query)] = 1
    mask = pad(rows)["attention_mask"]
    return {
        "query_states": query_states,
        "query_mask": query_mask,
        "query_own": content_mask(query_mask).astype(np.int64),
        "states": readable(states),
        "attention_mask": mask,
        "own": content_mask(mask).astype(np.int64),
    }
