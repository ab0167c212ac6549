"""Causal rerankers: decoders that read a prompt with query and document, and answer yes or no.

Their prefix, the prompt up to the document, is run once a call. Its keys and values are the query's
states; documents read them, so that a document costs its own tokens and the end of the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import Artifact
from resift.rerank.batching import padded_length
from resift.rerank.causal_prompt import CausalPrompt
from resift.rerank.causal_tokens import PromptTokens
from resift.rerank.graph_checks import check_graphs
from resift.rerank.graph_runs import TokenStates, run
from resift.rerank.models import Batch, Floats, Model
from resift.rerank.runtimes import Session, open_session
from resift.rerank.text_tokens import TextTokens
from resift.rerank.tokenization import TokenRow, load_tokenizer, pad

_SHARED = ("past", "past_mask", "present_tokens")
"""Inputs that a batch's rows share."""


def load_causal(
    artifact: Artifact, prompt: CausalPrompt, runtime: str | None, threads: int
) -> "CausalModel":
    """Open a causal reranker in a runtime. Raises `ArtifactError` if it cannot rank."""
    tokenizer = load_tokenizer(artifact.tokenizer)
    tokens = PromptTokens(tokenizer, artifact.manifest.max_tokens, prompt)
    sessions = [open_session(stage, runtime, threads) for stage in artifact.stages]
    check_graphs(artifact, sessions)
    return CausalModel(tokens, *sessions)


class CausalModel(Model):
    """A decoder with a prompt."""

    shares_prefix = True

    def __init__(self, tokens: PromptTokens, session: Session) -> None:
        super().__init__(tokens)
        self._session = session
        self.runtime = session.runtime
        self.stages = [CausalStage(session)]

    def query_row(self, query: str) -> TokenRow:
        return self._tokens.head(query)

    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        return self._tokens.pairs(query, texts, tokens)

    def query_states(self, query: TokenRow) -> TokenStates:
        """Keys and values of the prefix, float32 ``(layers * 2, key heads, tokens, size)``."""
        return _run(self._session, [query], None, len(query.ids), "present")


@dataclass(frozen=True, slots=True)
class CausalStage:
    """All layers: documents after the prefix of their query. Queries run one after another."""

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        rows_of: dict[int, list[int]] = {}
        for number, states in enumerate(batch.queries):
            rows_of.setdefault(id(states), []).append(number)
        if sum(map(len, rows_of.values())) != len(batch.rows):
            raise ValueError(
                "a causal reranker's batch needs its query's states for each row: this is a bug"
            )
        logits = np.empty(len(batch.rows), np.float32)
        for numbers in rows_of.values():
            past = batch.queries[numbers[0]]
            rows = [batch.rows[number] for number in numbers]
            logits[numbers] = _run(self.session, rows, past, 1, "logits")
        return batch, logits


def _run(
    session: Session, rows: Sequence[TokenRow], past: TokenStates | None, present: int, output: str
) -> NDArray[Any]:
    """An output of the graph for rows after a prefix, None before it."""
    feeds: dict[str, NDArray[Any]] = {**pad(rows), **_past_feeds(session, past)}
    feeds["present_tokens"] = np.array([present], np.int64)
    return run(session, feeds, [output], shared=_SHARED)[output]


def _past_feeds(session: Session, past: TokenStates | None) -> dict[str, NDArray[Any]]:
    """Keys and values, padded; one masked step of zeros without a past."""
    if past is None:
        shape = session.outputs["present"] or ()
        layers, heads, _, size = (axis or 0 for axis in shape)
        past = np.zeros((layers, heads, 0, size), np.float32)
    tokens = past.shape[2]
    positions = padded_length(tokens)
    padded = np.zeros((*past.shape[:2], positions, past.shape[3]), np.float32)
    padded[:, :, :tokens] = past
    mask = np.zeros((1, positions), np.int64)
    mask[0, :tokens] = 1
    return {"past": padded, "past_mask": mask}
