"""What a sync would do, without doing it: a sample is read and embedded, the rest reckoned."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from resift.errors import SourceError
from resift.index.diff import below
from resift.index.embed import Embedder, is_remote
from resift.index.guard import Guard
from resift.index.reading import Reading
from resift.index.run import read
from resift.index.source import Source, SourceObject
from resift.index.sync import Models, Place, look, refuse_empty
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
    reckoned from those, by bytes, and are exact for nothing but them. A server's embedder is sent
    nothing: `embeds_elsewhere`, and `seconds` are without it. `requests` go to the source and to
    the index, those of this plan not counted. `refusal` is why a sync would stop unless it is
    allowed to delete; None where it would not.
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


def plan(source: Source, place: Place, models: Models, reading: Reading | None = None) -> Plan:
    """Compare, read a sample, and reckon; raise `SourceError` if the source cannot be listed."""
    compared = look(source, place, models, reading)
    listing = compared.listing
    diff = compared.diff(source, compared.published)
    refuse_empty(source, listing, diff)
    to_read = diff.to_read
    sample = _sample(to_read)
    passages, seconds, skipped = _try(source, sample, models.embedder, compared.reading)
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
        unchanged=sum(1 for entry in diff.unchanged if entry.passages),
        bytes=sum(item.size for item in to_read),
        passages=count,
        seconds=seconds * share,
        requests=requests,
        sampled=len(sample),
        skipped=tuple(sorted((*skipped, *listing.odd, *listing.unseen))),
        passed_over=listing.passed_over,
        embeds_elsewhere=is_remote(models.embedder),
        refusal=Guard(source.uri, below(source.uri, compared.published)).why_not(diff),
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
    source: Source, sample: list[SourceObject], embedder: Embedder, reading: Reading
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
    if some and not is_remote(embedder):
        embedder.embed(some[:8])  # what is only slow the first time does not count
        started = time.perf_counter()
        embedder.embed(some)
        seconds += (time.perf_counter() - started) * len(texts) / len(some)
    return len(texts), seconds, tuple(skipped)
