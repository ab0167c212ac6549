"""Models as lists of stages. A stage takes a batch of rows in and gives rows and a logit a row out.

*joint*: query and document in one sequence through all layers.
*split*: both through the same encoder apart, then meeting: in late interaction, the first exit,
and in layers that read the query again, over the document, and add to its logit.
What a stage leaves in `Batch.states` is what the next one reads; the last one's are dropped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact
from resift.rerank.late_interaction import (
    FEATURES,
    LateInteractionWeights,
    QueryStates,
    features,
    mean_states,
    own_tokens,
    query_states,
)
from resift.rerank.pairs import TokenRow, Tokens, load_tokenizer, pad
from resift.rerank.runtimes import Session, open_session
from resift.rerank.schedule import padded_length

NEXT_STATES = "next_states"
"""What a joint model's stage calls the states that it hands on; the next one reads `states`."""

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that run together.

    `states` is ``(rows, positions, layers * dim)`` and `logits` ``(rows,)`` from the stage before,
    None before the first. States are in 16 bits wherever they are kept, so that a pair's logit is
    the same by every way: they are layer-normed, and memory is what many candidates cost.
    `queries` has each row's query half where the model is split: rows of several calls run
    together, and those of one call hold the same object. `means` are then the documents' unit mean
    vectors, ``(rows, dim)``, which the first stage leaves.
    """

    rows: Sequence[TokenRow]
    queries: Sequence[QueryStates | None] = ()
    states: Halves | None = None
    logits: Floats | None = None
    means: Floats | None = None


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

    @property
    def state_bytes(self) -> int:
        """What is kept of a token between stages; 0 where nothing is."""

    def read(self, query: str) -> TokenRow:
        """The query's tokens, once a call. Raises `QueryError` for one that does not fit whole."""

    def rows(self, query: TokenRow, texts: Sequence[str]) -> list[TokenRow]:
        """One row a document."""

    def half(self, query: TokenRow) -> QueryStates | None:
        """The query's half, computed once a call; None where rows hold the query."""


class JointModel:
    """A classic cross-encoder."""

    def __init__(self, tokens: Tokens, *sessions: Session) -> None:
        self._tokens = tokens
        self.runtime = sessions[0].runtime
        self.state_bytes = 0
        self.stages: Sequence[Stage] = [JointStage(session) for session in sessions]
        if len(sessions) > 1:
            probe = run_rows(sessions[0], tokens.single([""]))[NEXT_STATES]
            self.state_bytes = probe.shape[-1] * np.dtype(np.float16).itemsize

    def read(self, query: str) -> TokenRow:
        return self._tokens.head(query)

    def rows(self, query: TokenRow, texts: Sequence[str]) -> list[TokenRow]:
        return self._tokens.pairs(query, texts)

    def half(self, query: TokenRow) -> None:
        return None


@dataclass(frozen=True, slots=True)
class JointStage:
    """A group of layers: token ids or the states before in, states and an estimate out.

    The last one has no states to hand on, and its estimate is the logit.
    """

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        feeds: dict[str, NDArray[Any]] = {**pad(batch.rows)}
        if batch.states is not None:
            feeds["states"] = batch.states.astype(np.float32)
        found = run(self.session, feeds)
        states = found.get(NEXT_STATES)
        kept = None if states is None else states.astype(np.float16)
        return replace(batch, states=kept), found["logits"]


class SplitModel:
    """Two halves from one encoder that meet in late interaction and, with `meeting`, above it."""

    def __init__(
        self,
        tokens: Tokens,
        session: Session,
        weights: LateInteractionWeights,
        meeting: Session | None = None,
    ) -> None:
        self._tokens = tokens
        self._session = session
        self.runtime = session.runtime
        self.state_bytes = 0
        self.stages: Sequence[Stage] = [LateInteractionStage(session, weights)]
        if meeting is not None:
            probe = layers(run_rows(session, tokens.single([""])))
            self.state_bytes = probe.shape[-1] * np.dtype(np.float16).itemsize
            self.stages = [*self.stages, MeetingStage(meeting)]

    def read(self, query: str) -> TokenRow:
        return self._tokens.whole_query(query)

    def rows(self, query: TokenRow, texts: Sequence[str]) -> list[TokenRow]:
        return self._tokens.single(texts)

    def half(self, query: TokenRow) -> QueryStates:
        found = run_rows(self._session, [query])
        size = len(query.ids)
        return query_states(found["states"][0][:size], layers(found)[0][:size])


@dataclass(frozen=True, slots=True)
class LateInteractionStage:
    """The document's half, and the meeting."""

    session: Session
    weights: LateInteractionWeights

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        feeds = pad(batch.rows)
        found = run(self.session, feeds)
        mask = feeds["attention_mask"]
        means = mean_states(found["states"], mask)
        own = np.empty((len(batch.rows), len(FEATURES)), np.float32)
        for query, rows in _by_query(batch):
            own[rows] = features(query, found["states"][rows], mask[rows], means[rows])
        kept = layers(found).astype(np.float16)
        return replace(batch, states=kept, means=means), self.weights.logits(own)


@dataclass(frozen=True, slots=True)
class MeetingStage:
    """The query is read again, over the document; what comes out is added to the logit before."""

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        if batch.states is None or batch.logits is None:
            raise ValueError("a meeting needs the states and logits of the stage before: a bug")
        feeds = meeting_feeds(_halves(batch), batch.states, batch.rows, batch.logits)
        return batch, batch.logits + run(self.session, feeds)["residual"]


def layers(found: Mapping[str, Floats]) -> Floats:
    """Of what an encoder gave: the states a meeting reads, or the last ones where none follows."""
    return found.get("layers", found["states"])


def _halves(batch: Batch) -> list[QueryStates]:
    """Each row's query half."""
    halves = [query for query in batch.queries if query is not None]
    if len(halves) != len(batch.rows):
        raise ValueError("a split model's batch needs the query's half for each row: this is a bug")
    return halves


def _by_query(batch: Batch) -> Iterator[tuple[QueryStates, slice]]:
    """Neighbouring rows of the same query, with it."""
    first = 0
    for _, own in groupby(_halves(batch), key=id):
        rows = list(own)
        yield rows[0], slice(first, first + len(rows))
        first += len(rows)


def meeting_feeds(
    queries: Sequence[QueryStates], states: Halves, rows: Sequence[TokenRow], logits: Floats
) -> dict[str, NDArray[Any]]:
    """A meeting's inputs: each row's query half beside its states and its logit so far.

    `states` is ``(rows, positions, layers * dim)``, `logits` ``(rows,)``.
    """
    positions = padded_length(max(len(query.layers) for query in queries))
    half = np.zeros((len(rows), positions, states.shape[2]), np.float32)
    half_mask = np.zeros((len(rows), positions), np.int64)
    for place, query in enumerate(queries):
        half[place, : len(query.layers)] = query.layers
        half_mask[place, : len(query.layers)] = 1
    mask = pad(rows)["attention_mask"]
    return {
        "query_states": half,
        "query_mask": half_mask,
        "query_own": own_tokens(half_mask).astype(np.int64),
        "states": states.astype(np.float32),
        "attention_mask": mask,
        "own": own_tokens(mask).astype(np.int64),
        "logits": logits,
    }


def run_rows(session: Session, rows: Sequence[TokenRow]) -> dict[str, Floats]:
    """Pad rows and run them."""
    return run(session, pad(rows))


def run(session: Session, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Run a batch with those of its inputs that the model has."""
    return session.run({name: feeds[name] for name in session.inputs})


def load_model(artifact: Artifact, runtime: str | None = None, threads: int = 0) -> Model:
    """An artifact's stages, opened in a runtime."""
    manifest = artifact.manifest
    if manifest.kind == "split" and len(artifact.stages) > 2:  # running some would be wrong
        raise ArtifactError(
            f"{artifact.folder}: a split model of {len(artifact.stages)} stages, this resift runs "
            "2; use the resift that made it"
        )
    tokens = Tokens(load_tokenizer(artifact.tokenizer), manifest.max_tokens)
    sessions = [open_session(stage, runtime, threads) for stage in artifact.stages]
    if manifest.late_interaction is None:
        if ["states" in session.inputs for session in sessions] != [
            n > 0 for n in range(len(sessions))
        ]:
            raise ArtifactError(
                f"{artifact.folder}: its stages do not follow one another; convert it again"
            )
        return JointModel(tokens, *sessions)
    return SplitModel(tokens, sessions[0], manifest.late_interaction, *sessions[1:])
