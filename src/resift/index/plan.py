"""What a sync would do, without doing it: a sample is read and embedded, the rest reckoned."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from resift.errors import SourceError, Unreadable, Vanished
from resift.index.deletion_guard import DeletionGuard
from resift.index.diff import Diff, below
from resift.index.embed import Embedder, is_remote
from resift.index.parsing.formats import NO_TEXT
from resift.index.report import by_file
from resift.index.run import read
from resift.index.source_options import SourceOptions
from resift.index.sources.listing import SourceObject
from resift.index.sources.source import Source
from resift.index.sync import (
    IndexHandle,
    Models,
    SourceComparison,
    SyncConsent,
    look,
    refuse_empty,
    refuse_place,
)
from resift.index.writer import COMMIT_PASSAGES

_NOTHING = SyncConsent()
_SAMPLE_OBJECTS = 200
_SAMPLE_BYTES = 8 << 20
_SAMPLE_PASSAGES = 256
# What a sync asks of the index whatever it does, and for each commit: 45 to 51 requests with one
# commit, 107 with ten (LOG.md, 2026-11-23).
_REQUESTS_TO_PUBLISH = 40
_REQUESTS_TO_COMMIT = 7


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync would do. Counts are of objects, unless they say otherwise.

    Of the objects to be read `sampled` were read now; `passages` to be embedded and `seconds` are
    reckoned from those, by bytes, and are exact for nothing but them. A server's embedder is sent
    nothing: `embeds_elsewhere`, and `seconds` are without it. `requests` go to the source and to
    the index, those of this plan not counted. `refusal` is why a sync would stop, as far as that
    is known before all is read; None where it would not. `skipped` and `partly_read` are those of
    a `SyncReport`.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    bytes: int
    passages: int
    seconds: float
    requests: int
    sampled: int
    skipped: tuple[tuple[str, str], ...]
    passed_over: Mapping[str, int] = field(default_factory=dict, hash=False)
    embeds_elsewhere: bool = False
    refusal: str | None = None
    partly_read: tuple[str, ...] = ()


@dataclass
class _Sample:
    """What reading some of the objects has shown."""

    passages: int = 0
    seconds: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    without_text: dict[str, str] = field(default_factory=dict)
    partly_read: list[str] = field(default_factory=list)


def plan(
    source: Source,
    place: IndexHandle,
    models: Models,
    source_options: SourceOptions | None = None,
    *,
    allowed: SyncConsent = _NOTHING,
) -> SyncPlan:
    """Compare, read a sample, and reckon; raise what a sync would raise before it reads."""
    compared = look(source, place, models, source_options)
    refuse_place(source, place, compared.before)
    listing = compared.listing
    diff = compared.diff(source, compared.published)
    refuse_empty(source, listing, diff)
    to_read = diff.to_read
    sample = _sample(to_read)
    tried = _try(source, sample, models.embedder, compared.source_options)
    share = sum(item.size for item in to_read) / max(1, sum(item.size for item in sample))
    if len(sample) == len(to_read):
        share = 1.0
    count = round(tried.passages * share)
    requests = listing.requests + len(to_read)
    if diff:
        commits = 1 + count // COMMIT_PASSAGES
        requests += _REQUESTS_TO_PUBLISH + commits * _REQUESTS_TO_COMMIT
    return SyncPlan(
        added=len(diff.added),
        changed=len(diff.changed),
        deleted=sum(1 for entry in diff.gone if entry.passages),
        unchanged=sum(1 for entry in diff.unchanged if entry.passages),
        bytes=sum(item.size for item in to_read),
        passages=count,
        seconds=tried.seconds * share,
        requests=requests,
        sampled=len(sample),
        skipped=by_file((*tried.skipped, *listing.odd, *listing.unseen)),
        partly_read=tuple(sorted(tried.partly_read)),
        passed_over=listing.passed_over,
        embeds_elsewhere=is_remote(models.embedder),
        refusal=None if allowed.deletes else _refusal(source, compared, diff, tried),
    )


def _sample(items: tuple[SourceObject, ...]) -> list[SourceObject]:
    """All objects, or some from everywhere in the listing."""
    step = max(1, -(-len(items) // _SAMPLE_OBJECTS))
    sample: list[SourceObject] = []
    size = 0
    for item in items[::step]:
        if sample and size + item.size > _SAMPLE_BYTES:
            break
        sample.append(item)
        size += item.size
    return sample


def _refusal(source: Source, compared: SourceComparison, diff: Diff, tried: _Sample) -> str | None:
    """Why a sync would stop: for what is gone, or for what the sample has no text of any more."""
    indexed = below(source.uri, compared.published)
    emptied = [
        (indexed[uri], reason)
        for uri, reason in tried.without_text.items()
        if uri in indexed and indexed[uri].passages
    ]
    came = len(diff.added) + len(diff.changed) - len(tried.without_text)
    return DeletionGuard(source.uri, indexed).why_not(diff, emptied, new=came)


def _try(
    source: Source, items: list[SourceObject], embedder: Embedder, source_options: SourceOptions
) -> _Sample:
    """Read a sample, and embed some of its passages."""
    tried = _Sample()
    if not items:
        return tried
    started = time.perf_counter()
    texts: list[str] = []
    for found, outcome in read(source, items, source_options):
        uri = found.item.uri
        if isinstance(outcome, Unreadable | Vanished):
            tried.skipped.append((uri, str(outcome)))
            continue
        problems = (str(outcome),) if isinstance(outcome, SourceError) else outcome.problems
        documents = () if isinstance(outcome, SourceError) else outcome.documents
        passages = [f"{own.title}\n{piece.text}" for own in documents for piece in own.chunks]
        if not passages:
            problems = problems or (NO_TEXT,)
            tried.without_text[uri] = problems[0]
        elif problems:
            tried.partly_read.append(uri)
        tried.skipped += [(uri, problem) for problem in problems]
        texts += passages
    tried.passages, tried.seconds = len(texts), time.perf_counter() - started
    some = texts[:: max(1, len(texts) // _SAMPLE_PASSAGES)][:_SAMPLE_PASSAGES]
    if some and not is_remote(embedder):
        embedder.embed(some[:8])  # what is only slow the first time does not count
        started = time.perf_counter()
        embedder.embed(some)
        tried.seconds += (time.perf_counter() - started) * len(texts) / len(some)
    return tried
