"""Long documents as windows: their records, and what the document has of them.

The best window's logit is the document's, and its characters are the span. Knows no runtime.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from resift.rerank.artifact import Exit
from resift.rerank.early_exit import EarlyExit, may_be_best
from resift.rerank.models import Model
from resift.rerank.precompute import EncodedDocument, digest
from resift.rerank.state import CallState, DocumentState, Floats
from resift.rerank.text_tokens import TextTokens
from resift.rerank.tokenization import TokenRow
from resift.rerank.windows import MAX_DOCUMENT_TOKENS, SIZES, choose, split


def make_windows(model: Model, query: TokenRow, document: DocumentState) -> None:
    """Give a document whose row was cut the windows to read instead.

    Its states, which are those of the cut row, are not used.
    """
    if document.encoded is None:
        return
    row, tokens = document.row, document.encoded.tokens
    ids = tokens.ids[:MAX_DOCUMENT_TOKENS]
    ends = model.ends(document.text, TextTokens(ids, tokens.ends))
    room = row.seen + row.unknown
    windows = split(document.text, ends, SIZES.window(room), SIZES.overlap)
    windows = choose(ids, windows, query.ids, SIZES.count(room))
    parts = [TextTokens(ids[window.begin : window.end]) for window in windows]
    rows = model.rows(query, [document.text] * len(parts), parts)
    document.windows = [
        DocumentState(
            document.index,
            "",
            replace(row, start=window.start, end=window.stop),
            EncodedDocument(part),
            begin=window.begin,
            document=document,
        )
        for window, row, part in zip(windows, rows, parts, strict=True)
        if row.seen
    ]


def mode_key(early_exit: EarlyExit | None) -> str:
    """What decides a long document's logit besides the pair, for the cache of scores.

    An early exit prunes windows by its tolerance, within the document.
    """
    pruned = "" if early_exit is None else f" tolerance {early_exit.tolerance!r}"
    return f"{SIZES} {MAX_DOCUMENT_TOKENS}{pruned}"


def has_all_tokens(tokens: TextTokens, most: int) -> bool:
    """Whether these are a text's tokens, or at least `most` of them."""
    return (tokens.counted and not tokens.rest) or len(tokens.ids) >= most


def digest_of(window: DocumentState, document_digest: bytes) -> bytes:
    """The key of a window in the cache of token states."""
    size = window.row.seen + window.row.unknown
    return digest(f"{document_digest.hex()} {window.begin} {size}")


def combine(document: DocumentState) -> None:
    """Give a document the logits and the mean vector of its windows so far.

    Of each stage it has the best logit, as soon as all windows that are left went through it; of
    the first stage at once, so that a deadline leaves what is known.
    """
    logits: list[float] = []
    for stage in range(max((len(window.logits) for window in document.windows), default=0)):
        known = [window.logits[stage] for window in document.windows if len(window.logits) > stage]
        if stage and len(known) + _left_out(document, stage) < len(document.windows):
            break
        logits.append(max(known))
    document.logits = tuple(logits)
    means = [window.mean for window in document.windows if window.mean is not None]
    if means:
        document.mean = _unit(np.sum(means, axis=0))


def prune_windows(records: Sequence[DocumentState], exit_: Exit, tolerance: float) -> None:
    """After an exit, prune the windows that cannot be the best of their document any more."""
    by_document: dict[int, list[DocumentState]] = {}
    for record in records:
        if record.document is not None and not record.pruned:
            by_document.setdefault(record.index, []).append(record)
    for windows in by_document.values():
        logits = np.array([window.logit for window in windows])
        for window, possible in zip(windows, may_be_best(exit_, tolerance, logits), strict=True):
            window.pruned = not possible


def by_turn(records: Sequence[DocumentState]) -> list[list[DocumentState]]:
    """The first windows of all documents, the second ones, and so on.

    Under a deadline they run in this order, so that no document waits for many windows of another.
    """
    turns: list[list[DocumentState]] = []
    counts: dict[int, int] = {}
    for record in records:
        turn = counts.get(record.index, 0)
        counts[record.index] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(record)
    return turns


def settle(model: Model, state: CallState) -> None:
    """After the last stage: which characters and how many tokens of long documents were read."""
    for document in state.documents.values():
        if document.windows and document.cached is None:
            _settle(model, state, document)


def _settle(model: Model, state: CallState, document: DocumentState) -> None:
    read = [window for window in document.windows if window.logits]
    if not read or document.encoded is None:
        return
    stage = len(document.logits) - 1
    best = max(
        (window for window in read if len(window.logits) > stage),
        key=lambda window: window.logits[stage],
    )
    tokens = document.encoded.tokens
    was_read = np.zeros(len(tokens.ids), bool)  # windows overlap: no token counts twice
    for window in read:
        was_read[window.begin : window.begin + window.row.seen + window.row.unknown] = True
    unknown = int((was_read & model.are_unknown(tokens.ids)).sum())
    seen = int(was_read.sum()) - unknown
    dropped = tokens.total - seen - unknown
    document.row = replace(
        best.row,
        ids=best.row.ids[:0],
        seen=seen,
        unknown=unknown,
        dropped=dropped,
        counted=tokens.counted,
        windows=len(read),
    )
    document.precomputed = all(window.precomputed for window in read)
    state.statuses[document.index] = "cut" if dropped else "ok"


def _left_out(document: DocumentState, stage: int) -> int:
    """How many windows will not go through a stage any more."""
    return sum(
        (window.pruned or window.failed) and len(window.logits) <= stage
        for window in document.windows
    )


def _unit(vector: Floats) -> Floats:
    unit: Floats = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
    return unit
