"""Models as lists of stages. A stage takes a batch of rows in and gives rows and a logit a row out.

*joint*: query and document in one sequence through all layers.
*split*: both through the same encoder apart, then meeting: in late interaction, the first exit,
and in layers that read the query again, over the document, and add to its logit.
What a stage leaves in `Batch.states` is what the next one reads; the last one's are dropped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact
from resift.rerank.batching import padded_length, schedule
from resift.rerank.graph_checks import NEXT_STATES, check_graphs
from resift.rerank.late_interaction import LateInteractionWeights, own_tokens
from resift.rerank.runtimes import Session, open_session
from resift.rerank.tokenization import Ids, TokenRow, Tokens, load_tokenizer, pad
from resift.rerank.windows import TextTokens, Wanted

Floats = NDArray[np.float32]
TokenStates = NDArray[Any]
"""Token states as they are kept, ``(..., tokens, layers * dim)``: int8, whose scales the model's
files know, or float16. Fresh or kept, a pair's logit is computed from them, so it is the same."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that run together.

    `states` is ``(rows, positions, layers * dim)`` and `logits` ``(rows,)`` from the stage before,
    None before the first, unless the documents' states were kept: then it has no encoding to do.
    `queries` has each row's query half where the model is split. `means` are then the documents'
    unit mean vectors, ``(rows, dim)``, which the first stage leaves.
    """

    rows: Sequence[TokenRow]
    queries: Sequence[TokenStates | None] = ()
    states: TokenStates | None = None
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

    @property
    def state_type(self) -> np.dtype[Any] | None:
        """Of a document's half that can be kept; None where it has none without a query."""

    def read(self, query: str) -> TokenRow:
        """The query's tokens, once a call. Raises `QueryError` for one that does not fit whole."""

    def tokens(self, texts: Sequence[str], wanted: Wanted) -> Iterator[TextTokens | None]:
        """Each document's own tokens in order; None now and then, to look at the clock."""

    def has(self, ids: Ids) -> bool:
        """Whether a text can have these tokens."""

    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        """One row a document; `tokens` are their own, where they are known."""

    def halves(
        self, texts: Sequence[str], tokens: Sequence[TextTokens]
    ) -> Iterator[tuple[int, TokenStates]]:
        """Documents' halves with their places, in no order; nothing where they have none."""

    def half(self, query: TokenRow) -> TokenStates | None:
        """The query's half, computed once a call; None where rows hold the query."""


class CrossEncoder:
    """A classic cross-encoder; `prompt` stands before every query."""

    def __init__(self, tokens: Tokens, *sessions: Session, prompt: str = "") -> None:
        self._tokens = tokens
        self._prompt = prompt
        self.runtime = sessions[0].runtime
        self.state_bytes = 0
        self.state_type = None
        self.stages: Sequence[Stage] = [CrossEncoderStage(session) for session in sessions]
        if len(sessions) > 1:
            probe = _narrow(run_rows(sessions[0], tokens.single([""]))[NEXT_STATES])
            self.state_bytes = probe.shape[-1] * probe.itemsize

    def read(self, query: str) -> TokenRow:
        return self._tokens.head(self._prompt + query)

    def tokens(self, texts: Sequence[str], wanted: Wanted) -> Iterator[TextTokens | None]:
        return self._tokens.read(texts, wanted)

    def has(self, ids: Ids) -> bool:
        return self._tokens.has(ids)

    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        return self._tokens.pairs(query, texts, tokens)

    def halves(
        self, texts: Sequence[str], tokens: Sequence[TextTokens]
    ) -> Iterator[tuple[int, TokenStates]]:
        return iter(())

    def half(self, query: TokenRow) -> None:
        return None


@dataclass(frozen=True, slots=True)
class CrossEncoderStage:
    """A group of layers: token ids or the states before in, states and an estimate out.

    The last one has no states to hand on, and its estimate is the logit.
    """

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        feeds: dict[str, NDArray[Any]] = {**pad(batch.rows)}
        if batch.states is not None:
            feeds["states"] = _wide(batch.states)
        found = run(self.session, feeds)
        states = found.get(NEXT_STATES)
        kept = None if states is None else _narrow(states)
        return replace(batch, states=kept), found["logits"]


class LateInteractionModel:
    """Two halves from one encoder that meet in late interaction and, with `meeting`, above it."""

    def __init__(
        self,
        tokens: Tokens,
        encoder: Session,
        late: Session,
        weights: LateInteractionWeights,
        meeting: Session | None = None,
    ) -> None:
        self._tokens = tokens
        self._encoder = encoder
        self.runtime = encoder.runtime
        probe = encoded(encoder, tokens.single([""]))
        self.state_bytes = probe.shape[-1] * probe.itemsize
        self.state_type = probe.dtype
        self.stages: Sequence[Stage] = [LateInteractionStage(encoder, late, weights)]
        if meeting is not None:
            self.stages = [*self.stages, CrossAttentionStage(meeting)]

    def read(self, query: str) -> TokenRow:
        return self._tokens.whole_query(query)

    def tokens(self, texts: Sequence[str], wanted: Wanted) -> Iterator[TextTokens | None]:
        return self._tokens.read(texts, wanted)

    def has(self, ids: Ids) -> bool:
        return self._tokens.has(ids)

    def rows(
        self, query: TokenRow, texts: Sequence[str], tokens: Sequence[TextTokens] | None = None
    ) -> list[TokenRow]:
        return self._tokens.single(texts, tokens)

    def halves(
        self, texts: Sequence[str], tokens: Sequence[TextTokens]
    ) -> Iterator[tuple[int, TokenStates]]:
        rows = self._tokens.single(texts, tokens)
        for group in schedule([len(row.ids) for row in rows]):
            states = encoded(self._encoder, [rows[place] for place in group.rows])
            for place, own in zip(group.rows, states, strict=True):
                yield int(place), own[: len(rows[place].ids)].copy()

    def half(self, query: TokenRow) -> TokenStates:
        half: TokenStates = encoded(self._encoder, [query])[0][: len(query.ids)]
        return half


@dataclass(frozen=True, slots=True)
class LateInteractionStage:
    """The document's half, where it was not kept, and the first that it has to do with a query."""

    encoder: Session
    late: Session
    weights: LateInteractionWeights

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        states = encoded(self.encoder, batch.rows) if batch.states is None else batch.states
        found = meet(self.late, cross_attention_feeds(_halves(batch), states, batch.rows))
        out = replace(batch, states=states, means=found["means"])
        return out, self.weights.logits(found["features"])


@dataclass(frozen=True, slots=True)
class CrossAttentionStage:
    """The query is read again, over the document; what comes out is added to the logit before."""

    session: Session

    def __call__(self, batch: Batch) -> tuple[Batch, Floats]:
        if batch.states is None or batch.logits is None:
            raise ValueError("a meeting needs the states and logits of the stage before: a bug")
        feeds = cross_attention_feeds(_halves(batch), batch.states, batch.rows)
        feeds["logits"] = batch.logits
        return batch, batch.logits + meet(self.session, feeds)["residual"]


def encoded(encoder: Session, rows: Sequence[TokenRow]) -> TokenStates:
    """What is kept of each row's tokens, ``(rows, positions, layers * dim)``."""
    name = "layers" if "layers" in encoder.outputs else "states"
    return _narrow(run(encoder, pad(rows), [name])[name])


def _narrow(states: TokenStates) -> TokenStates:
    """As they are kept: int8 is as it came, float32 is halved."""
    return states if states.dtype == np.int8 else states.astype(np.float16)


def _wide(states: TokenStates) -> TokenStates:
    """As a graph reads them."""
    return states if states.dtype == np.int8 else states.astype(np.float32)


def _halves(batch: Batch) -> list[TokenStates]:
    """Each row's query half."""
    halves = [query for query in batch.queries if query is not None]
    if len(halves) != len(batch.rows):
        raise ValueError(
            "a late-interaction model's batch needs the query's half for each row: this is a bug"
        )
    return halves


def cross_attention_feeds(
    queries: Sequence[TokenStates], states: TokenStates, rows: Sequence[TokenRow]
) -> dict[str, NDArray[Any]]:
    """A meeting's inputs: each row's query half beside its states.

    `queries` are ``(tokens, layers * dim)`` each, `states` ``(rows, positions, layers * dim)``.
    """
    kind = np.int8 if states.dtype == np.int8 else np.float32
    positions = padded_length(max(len(query) for query in queries))
    half = np.zeros((len(rows), positions, states.shape[2]), kind)
    half_mask = np.zeros((len(rows), positions), np.int64)
    for place, query in enumerate(queries):
        half[place, : len(query)] = query
        half_mask[place, : len(query)] = 1
    mask = pad(rows)["attention_mask"]
    return {
        "query_states": half,
        "query_mask": half_mask,
        "query_own": own_tokens(half_mask).astype(np.int64),
        "states": _wide(states),
        "attention_mask": mask,
        "own": own_tokens(mask).astype(np.int64),
    }


def meet(session: Session, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Run a graph in which halves meet; a single row goes as two of the same.

    ONNX Runtime sums a single row in another order, and its logit would be another in its last bit.
    """
    rows = len(feeds["states"])
    if rows > 1:
        return run(session, feeds)
    both = {name: np.concatenate([given, given]) for name, given in feeds.items()}
    return {name: given[:rows] for name, given in run(session, both).items()}


def run_rows(session: Session, rows: Sequence[TokenRow]) -> dict[str, NDArray[Any]]:
    """Pad rows and run them."""
    return run(session, pad(rows))


def run(
    session: Session, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Run a batch with those of its inputs that the model has; `outputs` None gives all of them."""
    return session.run({name: feeds[name] for name in session.inputs}, outputs)


def load_model(artifact: Artifact, runtime: str | None = None, threads: int = 0) -> Model:
    """An artifact's stages, opened in a runtime. Raises `ArtifactError` for a wrong head."""
    manifest = artifact.manifest
    if manifest.kind == "embedder":
        raise ArtifactError(
            f"{artifact.folder}: an embedder, which reads no pairs; name it as RESIFT_EMBEDDER, "
            "or convert a cross-encoder"
        )
    if (
        manifest.kind == "late_interaction" and not 2 <= len(artifact.stages) <= 3
    ):  # some would not be run
        raise ArtifactError(
            f"{artifact.folder}: a late-interaction model of {len(artifact.stages)} files, this resift runs "
            "2 or 3; use the resift that made it"
        )
    tokens = Tokens(load_tokenizer(artifact.tokenizer), manifest.max_tokens)
    sessions = [open_session(stage, runtime, threads) for stage in artifact.stages]
    check_graphs(artifact, sessions)
    if manifest.late_interaction is None:
        return CrossEncoder(tokens, *sessions, prompt=manifest.query_prompt)
    encoder, late, *meeting = sessions
    return LateInteractionModel(tokens, encoder, late, manifest.late_interaction, *meeting)
