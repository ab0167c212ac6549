"""Predicts what a sync would do: reads and embeds a sample, and estimates the rest."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resift.errors import SourceError, Unreadable, Vanished
from resift.index.diff import SourceComparison
from resift.index.embed import Embedder, Models, is_remote
from resift.index.parsing.formats import NO_TEXT
from resift.index.report import sort_by_uri
from resift.index.run import read_objects
from resift.index.shards.layout import shards_of
from resift.index.source_options import SourceOptions
from resift.index.sources.listing import SourceObject
from resift.index.sources.source import Source
from resift.index.sync import NO_CONSENT, SyncConsent, compare_source
from resift.index.versions.published import Versions
from resift.index.writer import COMMIT_PASSAGES

_SAMPLE_OBJECTS = 200
_SAMPLE_BYTES = 8 << 20
_SAMPLE_PASSAGES = 256
# Requests of a sync to the index: always, and for each commit. Measured: 45 to 51 with one
# commit, 107 with ten (LOG.md, 2026-11-23).
_REQUESTS_TO_PUBLISH = 40
_REQUESTS_TO_COMMIT = 7


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The predicted result of a sync. Counts are of objects, unless stated otherwise.

    The plan has read `sampled` of the objects. From these it estimates, by bytes, the `passages` to
    embed and the `seconds`; if all objects were sampled, `passages` is exact. No text is sent to an
    embedding server: then `embeds_elsewhere` is True and `seconds` does not include embedding.
    `requests` are those of the sync to the source and to the index. `refusal` says why the sync
    would stop, or is None if the sample gives no reason. `skipped`, `partly_read`, `passed_over`
    and `not_documents` are as in `SyncReport`.
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
    not_documents: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass
class _Sample:
    passages: int = 0
    seconds: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    without_text: dict[str, str] = field(default_factory=dict)
    partly_read: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)


def plan(
    source: Source,
    versions: Versions,
    models: Models,
    source_options: SourceOptions | None = None,
    *,
    consent: SyncConsent = NO_CONSENT,
    shards: int = 1,
) -> SyncPlan:
    """Predict what a sync would do; raise the errors that it would raise before it reads.

    `shards` is the number of shards of the index.
    """
    comparison = compare_source(source, versions, models, source_options)
    listing, changes = comparison.listing, comparison.changes
    to_read = changes.to_read
    items = _choose_sample(to_read)
    sample = _read_sample(source, items, models.embedder, comparison.source_options)
    size = sum(item.size for item in to_read)
    factor = size / max(1, sum(item.size for item in items)) if len(items) < len(to_read) else 1.0
    passages = round(sample.passages * factor)
    requests = listing.requests + len(to_read)
    if changes:
        changed_shards = len(shards_of(changes.uris, shards))
        commits = changed_shards + passages // COMMIT_PASSAGES
        requests += changed_shards * _REQUESTS_TO_PUBLISH + commits * _REQUESTS_TO_COMMIT
    return SyncPlan(
        added=len(changes.added),
        changed=len(changes.changed),
        deleted=sum(1 for entry in changes.gone if entry.passages),
        unchanged=sum(1 for entry in changes.unchanged if entry.passages),
        bytes=size,
        passages=passages,
        seconds=sample.seconds * factor,
        requests=requests,
        sampled=len(items),
        skipped=sort_by_uri((*sample.skipped, *listing.unsupported, *listing.unseen)),
        partly_read=tuple(sorted(sample.partly_read)),
        passed_over=listing.passed_over,
        not_documents=listing.not_documents,
        embeds_elsewhere=is_remote(models.embedder),
        refusal=None if consent.deletes else _refusal(comparison, sample),
    )


def _choose_sample(items: Sequence[SourceObject]) -> list[SourceObject]:
    """Choose all objects, or a sample spread evenly over the listing."""
    step = max(1, -(-len(items) // _SAMPLE_OBJECTS))
    chosen: list[SourceObject] = []
    size = 0
    for item in items[::step]:
        if chosen and size + item.size > _SAMPLE_BYTES:
            break
        chosen.append(item)
        size += item.size
    return chosen


def _refusal(comparison: SourceComparison, sample: _Sample) -> str | None:
    published = comparison.published
    emptied = [
        (published[uri], reason)
        for uri, reason in sample.without_text.items()
        if uri in published and published[uri].passages
    ]
    return comparison.refusal(emptied, sample.contents)


def _read_sample(
    source: Source,
    items: Sequence[SourceObject],
    embedder: Embedder,
    source_options: SourceOptions,
) -> _Sample:
    sample = _Sample()
    if not items:
        return sample
    started = time.perf_counter()
    texts: list[str] = []
    for read, parsed in read_objects(source, items, source_options):
        uri = read.item.uri
        if isinstance(parsed, Unreadable | Vanished):
            sample.skipped.append((uri, str(parsed)))
            continue
        problems = (str(parsed),) if isinstance(parsed, SourceError) else parsed.problems
        documents = () if isinstance(parsed, SourceError) else parsed.documents
        passages = [
            f"{document.title}\n{chunk.text}" for document in documents for chunk in document.chunks
        ]
        if not passages:
            problems = problems or (NO_TEXT,)
            sample.without_text[uri] = problems[0]
        elif problems:
            sample.partly_read.append(uri)
        sample.contents[uri] = read.content if passages else b""
        sample.skipped += [(uri, problem) for problem in problems]
        texts += passages
    sample.passages, sample.seconds = len(texts), time.perf_counter() - started
    chosen = texts[:: max(1, len(texts) // _SAMPLE_PASSAGES)][:_SAMPLE_PASSAGES]
    if chosen and not is_remote(embedder):
        embedder.embed(chosen[:8])  # the first call is slower and does not count
        started = time.perf_counter()
        embedder.embed(chosen)
        sample.seconds += (time.perf_counter() - started) * len(texts) / len(chosen)
    return sample
