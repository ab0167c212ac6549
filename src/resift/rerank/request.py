"""The documents of one call on their way through the stages: which run next, which are done.

Bookkeeping only. The worker holds its lock while it calls anything here.
"""

import time
from collections.abc import Generator, Sequence
from typing import TypeVar

import numpy as np

from resift.rerank.artifact import Exit
from resift.rerank.batching import WAVE, padded_length, waves
from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import EarlyExit, survivors
from resift.rerank.graph_runs import TokenStates
from resift.rerank.long_documents import by_turn, combine, prune_windows
from resift.rerank.state import CallState, DocumentState
from resift.rerank.tokenization import TokenRow

T = TypeVar("T")


class Request:
    """Documents of one call that wait for a stage, run in it, or are done with it.

    They run in portions: a portion goes through all stages before the next one begins, so that the
    token states between stages stay within `portion_tokens`.
    """

    def __init__(
        self,
        query: TokenRow,
        documents: Sequence[DocumentState],
        state: CallState,
        deadline: Deadline,
        exits: Sequence[Exit | None],
        early_exit: EarlyExit | None = None,
        portion_tokens: float | None = None,
    ) -> None:
        """`exits` has one entry for each stage but the last, None for an exit without measurements.

        Documents with precomputed states run first. Cached documents do not run: they take part in
        the early exit with their cached logits of each stage, so that the same candidates are
        pruned with and without a cache.
        """
        self.query = query
        self.query_states: TokenStates | None = None
        self.state = state
        self.deadline = deadline
        self.stage = 0
        self.running = 0
        self.waiting: list[list[DocumentState]] = []
        self.served = 0.0
        self.portion_tokens = 0
        self.held_tokens = 0
        self.started: float | None = None
        self.error: BaseException | None = None
        self.finished = False
        self.closed = False
        self._exits = exits
        self._early_exit = early_exit
        self._cached = [document for document in documents if document.cached is not None]
        for document in self._cached:
            document.logits = ()
        self._passed: list[DocumentState] = []
        self._portion: list[DocumentState] = []
        self._portions = _portions(documents, portion_tokens)
        self._next_portion()

    @property
    def waiting_tokens(self) -> int:
        """Tokens of the records that wait for any stage."""
        groups = [*self._portions, *self.waiting]
        return sum(len(document.row.ids) for group in groups for document in group)

    @property
    def batch_key(self) -> tuple[int, bool, int]:
        """The stage of the first wave, whether it has states, and the query's padded length.

        Waves with equal keys may share a batch.
        """
        has_states = bool(self.waiting) and self.waiting[0][0].states is not None
        return self.stage, has_states, padded_length(len(self.query.ids))

    def lengths(self) -> list[int]:
        """Lengths of the documents of the first wave, equal ones together; empty if none waits."""
        return [document.length for document in self.waiting[0]] if self.waiting else []

    def start(self, part: slice) -> list[DocumentState]:
        """Move documents of the first wave from waiting to running, and return them."""
        if self.started is None:
            self.started = time.perf_counter()
        wave = self.waiting[0]
        documents = wave[part]
        del wave[part]
        if not wave:
            del self.waiting[0]
        self.running += len(documents)
        return documents

    def add_logit(
        self, document: DocumentState, logit: float, states: TokenStates | None, positions: int
    ) -> None:
        """Store the logit that a stage gave a document; the stage computed `positions`."""
        if self.stage == 0 and not document.precomputed:  # later stages read states, not tokens
            self.state.positions += positions
            self.state.tokens += len(document.row.ids)
        document.logits = (*document.logits, logit)
        if states is not None:
            document.states = states
        if document.document is not None:
            combine(document.document)
        self._passed.append(document)
        self.running -= 1

    def fail(self, document: DocumentState, reason: str) -> None:
        """Drop a document that got no logit from its stage."""
        self.state.fail(document, reason)
        self.running -= 1

    def advance(self) -> bool:
        """Go to the next stage or portion once this one is done; True when the request is done."""
        while not self.waiting and not self.running:
            if self.stage < len(self._exits) and self._passed:
                self._next_stage()
            elif self._portions:
                self._next_portion()
            else:
                return True
        return False

    def restore_cached(self) -> None:
        """After an unfinished early exit: give cached documents all their logits back."""
        for document in self._cached:
            if document.cached is not None:
                document.logits = document.cached.logits
                document.pruned = False

    def close(self) -> None:
        """Drop waiting documents and states; the worker ignores the request from now on."""
        self.closed = True
        self.waiting.clear()
        self._portions.clear()
        self._drop_states()

    def _next_stage(self) -> None:
        documents = sorted(self._passed, key=lambda document: (document.index, document.begin))
        self._passed = []
        exit_ = self._exits[self.stage]
        if self._early_exit is not None and exit_ is not None:
            documents = self._survivors(self._early_exit, exit_, documents)
        self.stage += 1
        self._wait(documents)

    def _survivors(
        self, early_exit: EarlyExit, exit_: Exit, documents: Sequence[DocumentState]
    ) -> list[DocumentState]:
        indices = list(dict.fromkeys(document.index for document in documents))
        final = self.state.stages > len(self._exits)
        logits = self.state.logits.astype(np.float64)
        means = self.state.means if early_exit.interpolation.feedback_weight else None
        surviving = set(survivors(early_exit, exit_, indices, logits, final, means))
        for document in documents:
            document.pruned = document.index not in surviving
            if document.document is not None:
                document.document.pruned = document.pruned
        prune_windows(documents, exit_, early_exit.tolerance)
        return [document for document in documents if not document.pruned]

    def _next_portion(self) -> None:
        self._drop_states()
        self.stage, self._passed, self.held_tokens = 0, [], 0
        self._portion = self._portions.pop(0) if self._portions else []
        for document in self._portion:
            if document.precomputed and document.encoded is not None:
                document.states = document.encoded.states
        self.portion_tokens = sum(document.length for document in self._portion)
        self._wait(self._portion)

    def _drop_states(self) -> None:
        for document in self._portion:
            document.states = None

    def _wait(self, documents: Sequence[DocumentState]) -> None:
        """Queue documents for the stage, in waves; under a deadline all first windows first."""
        running = []
        for document in documents:
            if document.cached is not None:
                document.logits = document.cached.logits[: self.stage + 1]
                self._passed.append(document)
            else:
                running.append(document)
        bounded = self.deadline.is_bounded
        self.waiting = [
            wave
            for level in (by_turn(running) if bounded else [running])
            for has_states in (True, False)
            for wave in _waves(level, has_states, WAVE if bounded else None)
        ]


Steps = Generator[Request | None, None, T]
"""A call in steps of a few milliseconds, so that one thread can advance many calls in turn.

A step that yields a request has to wait until the worker has run it. A step that yields None can be
continued at any time.
"""


def _waves(
    documents: Sequence[DocumentState], has_states: bool, size: int | None
) -> list[list[DocumentState]]:
    """The waves of the documents that have states, or of those that have none."""
    group = [document for document in documents if (document.states is not None) == has_states]
    if not group:
        return []
    order = waves([document.length for document in group], size)
    return [[group[number] for number in wave] for wave in order]


def _portions(
    documents: Sequence[DocumentState], max_tokens: float | None
) -> list[list[DocumentState]]:
    """The records of documents, in portions whose padded lengths sum to at most `max_tokens`.

    All windows of a document are in one portion, so that they are compared after each stage.
    """
    portions: list[list[DocumentState]] = [[]]
    size = 0
    for document in documents:
        length = sum(padded_length(record.length) for record in document.records)
        size += length
        if max_tokens is not None and size > max_tokens and portions[-1]:
            portions.append([])
            size = length
        portions[-1].extend(document.records)
    return portions
