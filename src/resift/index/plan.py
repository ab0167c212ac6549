"""What a sync would do, without doing it: a sample is read and embedded, the rest reckoned."""

import time
from dataclasses import dataclass

from resift.errors import SourceError
from resift.index.diff import below, compare
from resift.index.source import Source, SourceObject
from resift.index.sync import Models, Place, Reading, check_embedder, expect, read, refuse_empty
from resift.index.writer import COMMIT_PASSAGES

_SAMPLE_OBJECTS = 200
_SAMPLE_BYTES = 8 << 20
_SAMPLE_PASSAGES = 256
# What a sync asks of the index whatever it does, and for each commit: 45 to 51 requests with one
# commit, 107 with ten (LOG.md, 2026-11-23).
_REQUESTS_TO_PUBLISH = 40
_REQUESTS_TO_COMMIT = 7


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync would do. Counts are of objects, unless they say otherwise.

    Of the objects to be read `sampled` were read now; `passages` to be embedded and `seconds` are
    reckoned from those, by bytes, and are exact for nothing but them. `requests` go to the source
    and to the index, those of this plan not counted.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    unsupported: int
    bytes: int
    passages: int
    seconds: float
    requests: int
    sampled: int
    skipped: tuple[tuple[str, str], ...]


def plan(source: Source, place: Place, models: Models, reading: Reading) -> Plan:
    """Compare, read a sample, and reckon; raise `SourceError` if the source cannot be listed."""
    listing = source.list(reading.globs)
    before = place.versions.newest()
    check_embedder(place, before, models.embedder)
    published = place.versions.entries(before) if before else {}
    diff = compare(listing.objects, below(source.uri, published), expect(models, reading))
    refuse_empty(source, listing, diff)
    to_read = diff.to_read
    sample = _sample(to_read)
    passages, seconds, skipped = _try(source, sample, models, reading)
    share = sum(item.size for item in to_read) / max(1, sum(item.size for item in sample))
    if len(sample) == len(to_read):
        share = 1.0
    count = round(passages * share)
    requests = listing.requests + len(to_read)
    if diff:
        commits = 1 + count // COMMIT_PASSAGES
        requests += _REQUESTS_TO_PUBLISH + commits * _REQUESTS_TO_COMMIT
    return Plan(
        added=len(diff.added),
        changed=len(diff.changed),
        deleted=sum(1 for entry in diff.gone if entry.passages),
        unchanged=len(diff.unchanged),
        unsupported=listing.unsupported,
        bytes=sum(item.size for item in to_read),
        passages=count,
        seconds=seconds * share,
        requests=requests,
        sampled=len(sample),
        skipped=skipped,
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


def _try(
    source: Source, sample: list[SourceObject], models: Models, reading: Reading
) -> tuple[int, float, tuple[tuple[str, str], ...]]:
    """(passages, seconds, what would be skipped) of a sample; of its passages some are embedded."""
    if not sample:
        return 0, 0.0, ()
    started = time.perf_counter()
    texts: list[str] = []
    skipped = []
    for found, outcome in read(source, sample, reading):
        if isinstance(outcome, SourceError):
            skipped.append((found.item.uri, str(outcome)))
            continue
        skipped += [(found.item.uri, problem) for problem in outcome.problems]
        for document in outcome.documents:
            texts += [f"{document.title}\n{piece.text}" for piece in document.pieces]
    seconds = time.perf_counter() - started
    some = texts[:: max(1, len(texts) // _SAMPLE_PASSAGES)][:_SAMPLE_PASSAGES]
    if some:
        models.embedder.embed(some[:8])  # what is only slow the first time does not count
        started = time.perf_counter()
        models.embedder.embed(some)
        seconds += (time.perf_counter() - started) * len(texts) / len(some)
    return len(texts), seconds, tuple(skipped)
