"""Models as lists of stages. A stage takes a batch of rows in and gives rows and a logit a row out.

*joint*: query and document in one sequence through all layers.
*split*: both through the same encoder apart, then meeting in late interaction.
What a stage leaves in `Batch.states` is what the next one reads; the last one's are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact
from resift.rerank.late_interaction import (
    LateInteractionWeights,
    QueryStates,
    features,
    query_states,
)
from resift.rerank.pairs import TokenRow, Tokens, load_tokenizer, pad
from resift.rerank.runtimes import Session, open_session

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that run together.

    `states` is ``(rows, positions, dim)`` from the stage before, None before the first.
    `query` is the query's half where the model is split.
    """

    rows: Sequence[TokenRow]
    query: QueryStates | None = None
    states: Floats | None = None


class Stage(Protocol):
    """One step of a model. Threads may share it."""

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        """Rows in; the same rows and a logit a row, ``(rows,)``, out."""


class Model(Protocol):
    """Tokenising, the query's half, and the stages: all that the engine needs."""

    @property
    def stages(self) -> Sequence[Stage]:
        """In the order in which they run."""

    @property
    def runtime(self) -> str:
        """Name and version of what runs them."""

    def rows(self, query: str, texts: Sequence[str]) -> list[TokenRow]:
        """One row a document. Raises `QueryError` for a query that does not fit whole."""

    def query(self, query: str) -> QueryStates | None:
        """The query's half, computed once a call; None where rows hold the query."""


class JointModel:
    """A classic cross-encoder."""

    def __init__(self, tokens: Tokens, session: Session) -> None:
        self._tokens = tokens
        self.runtime = session.runtime
        self.stages: Sequence[Stage] = [JointStage(session)]

    def rows(self, query: str, texts: Sequence[str]) -> list[TokenRow]:
        return self._tokens.pairs(query, texts)

    def query(self, query: str) -> None:
        return None


@dataclass(frozen=True, slots=True)
class JointStage:
    """All layers and the head: token ids in, final logits out."""

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        return batch, run_rows(self.session, batch.rows)["logits"]


class SplitModel:
    """Two halves from one encoder that meet in late interaction."""

    def __init__(self, tokens: Tokens, session: Session, weights: LateInteractionWeights) -> None:
        self._tokens = tokens
        self._session = session
        self.runtime = session.runtime
        self.stages: Sequence[Stage] = [LateInteractionStage(session, weights)]

    def rows(self, query: str, texts: Sequence[str]) -> list[TokenRow]:
        return self._tokens.single(texts)

    def query(self, query: str) -> QueryStates:
        row = self._tokens.whole_query(query)
        return query_states(run_rows(self._session, [row])["states"][0][: len(row.ids)])


@dataclass(frozen=True, slots=True)
class LateInteractionStage:
    """The document's half, and the meeting."""

    session: Session
    weights: LateInteractionWeights

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        if batch.query is None:
            raise ValueError("a split model's batch needs the query's half: this is a bug")
        feeds = pad(batch.rows)
        states = run(self.session, feeds)["states"]
        logits = self.weights.logits(features(batch.query, states, feeds["attention_mask"]))
        return replace(batch, states=states), logits


def run_rows(session: Session, rows: Sequence[TokenRow]) -> dict[str, Floats]:
    """Pad rows and run them."""
    return run(session, pad(rows))


def run(session: Session, feeds: dict[str, NDArray[np.int64]]) -> dict[str, Floats]:
    """Run a batch with those of its inputs that the model has."""
    return session.run({name: feeds[name] for name in session.inputs})


def load_model(artifact: Artifact, runtime: str | None = None, threads: int = 0) -> Model:
    """An artifact's stages, opened in a runtime."""
    manifest = artifact.manifest
    if len(artifact.stages) != 1:  # the format has room for more, and running some would be wrong
        raise ArtifactError(
            f"{artifact.folder}: a model of {len(artifact.stages)} stages, this resift runs one; "
            "use the resift that made it"
        )
    tokens = Tokens(load_tokenizer(artifact.tokenizer), manifest.max_tokens)
    session = open_session(artifact.stages[0], runtime, threads)
    if manifest.late_interaction is None:
        return JointModel(tokens, session)
    return SplitModel(tokens, session, manifest.late_interaction)
