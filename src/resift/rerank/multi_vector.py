"""Multi-vector models (ColBERT): a vector for each token, and the sum of the best matches.

Late interaction as published: each token of the query, expansion included, is compared with each
token of the document; the logit is the sum of its best cosines (MaxSim,
https://arxiv.org/abs/2004.12832). Documents' token vectors can be computed before any query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact
from resift.rerank.batching import padded_length
from resift.rerank.graph_checks import check_graphs
from resift.rerank.graph_runs import TokenStates, readable, run, run_pairs
from resift.rerank.models import Batch, Floats, TwoSidedModel, encode
from resift.rerank.runtimes import Session, open_session
from resift.rerank.token_vectors import TokenVectors
from resift.rerank.tokenization import Ids, TokenRow, Tokens, load_tokenizer, pad

FILES = 2  # the encoder, and the comparison of token vectors


def load_multi_vector(
    artifact: Artifact, reading: TokenVectors, runtime: str | None, threads: int
) -> "MultiVectorModel":
    """Open a multi-vector model in a runtime. Raises `ArtifactError` if it cannot rank."""
    if len(artifact.stages) != FILES:
        raise ArtifactError(
            f"{artifact.folder}: a multi-vector model of {len(artifact.stages)} files, this resift "
            f"runs {FILES}; use the resift that made it"
        )
    tokenizer = load_tokenizer(artifact.tokenizer)
    sessions = [open_session(stage, runtime, threads) for stage in artifact.stages]
    check_graphs(artifact, sessions)
    return MultiVectorModel(tokenizer, artifact.manifest.max_tokens, reading, *sessions)


class MultiVectorModel(TwoSidedModel):
    """An encoder with a projection, and MaxSim."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        reading: TokenVectors,
        encoder: Session,
        maxsim: Session,
    ) -> None:
        """`max_tokens` limits a document; a query may be longer if its expansion is."""
        super().__init__(Tokens(tokenizer, max_tokens, marker=reading.document_marker), encoder)
        longest = max(max_tokens, reading.query_length)
        self._queries = Tokens(tokenizer, longest, marker=reading.query_marker)
        self._reading = reading
        self.stages = [MaxSimStage(encoder, maxsim, reading)]

    def query_row(self, query: str) -> TokenRow:
        return self._queries.whole_query(query)

    def query_states(self, query: TokenRow) -> TokenStates:
        """Vectors of the query's tokens and its expansion, int8 or float32.

        Those that are not compared are zero.
        """
        feeds, tokens = query_feeds(self._reading, query)
        ids = feeds["input_ids"][0, :tokens]
        states: TokenStates = run(self._encoder, feeds, ["states"])["states"][0, :tokens].copy()
        states[np.isin(ids, self._reading.query_skiplist)] = 0
        return states


@dataclass(frozen=True, slots=True)
class MaxSimStage:
    """Encodes the documents, unless they are precomputed, and compares them with the query."""

    encoder: Session
    maxsim: Session
    reading: TokenVectors

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        states = encode(self.encoder, batch.rows) if batch.states is None else batch.states
        feeds = pad(batch.rows)
        is_compared = ~np.isin(feeds["input_ids"], self.reading.document_skiplist)
        queries = _padded(batch.queries, len(batch.rows))
        outputs = run_pairs(
            self.maxsim,
            {
                "query_states": readable(queries),
                "query_own": np.any(queries != 0, axis=-1).astype(np.int64),
                "states": readable(states),
                "own": feeds["attention_mask"] * is_compared.astype(np.int64),
            },
        )
        return replace(batch, states=states), outputs["logits"]


def query_feeds(reading: TokenVectors, query: TokenRow) -> tuple[dict[str, Ids], int]:
    """The encoder's inputs for a query with its expansion, and how many tokens these are."""
    ids, mask = reading.query_ids(query.ids)
    feeds = pad([replace(query, ids=ids, second=len(ids))])
    feeds["attention_mask"][0, : len(mask)] = mask
    return feeds, len(ids)


def _padded(queries: Sequence[TokenStates | None], rows: int) -> TokenStates:
    """The query's vectors for each row, ``(rows, positions, dim)``; padding is zero."""
    present = [states for states in queries if states is not None]
    if len(present) != rows:
        raise ValueError(
            "a multi-vector model's batch needs the query's states for each row: this is a bug"
        )
    positions = padded_length(max(len(states) for states in present))
    padded = np.zeros((rows, positions, present[0].shape[1]), present[0].dtype)
    for number, states in enumerate(present):
        padded[number, : len(states)] = states
    return padded
