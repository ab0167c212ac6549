"""Proves that a sync may be killed at any moment: readers lose nothing, and the next one goes on.

Each index sees one round after the other: documents change, a process that syncs is killed with
``kill -9``, what is published is read, and another sync completes. What must be there then comes
from a second index, whose syncs were never killed.
"""

import os
import random
import time
from collections import Counter
from contextlib import suppress
from subprocess import TimeoutExpired

import pytest

from storage.corpus import Child, Corpus, Row, children

ROUNDS = 8
DOCUMENTS = 20
# A commit each few documents, so that most kills lie between two of them.
PACE = {"commit": 10, "embed_s": 0.02}


@pytest.mark.parametrize(
    "corpus", ["folder", pytest.param("bucket", marks=pytest.mark.long)], indirect=True
)
def test_the_next_sync_continues_a_killed_one_and_readers_never_notice(corpus: Corpus) -> None:
    rng = random.Random(7)
    twin = corpus.twin()
    change(corpus, round_=0)
    never_killed(corpus, twin)
    with children(corpus.storage) as start:
        seconds = unkilled_seconds(corpus, start())
        waiting = start()
        were_killed = []
        for number in range(1, ROUNDS + 1):
            child, waiting = waiting, start()
            before, rows = corpus.newest().number, corpus.rows()
            change(corpus, number)
            wanted = never_killed(corpus, twin)
            child.order(corpus.docs, corpus.index_uri, **PACE)
            needed = killed_after(child, seconds * (number - rng.random()) / ROUNDS)
            were_killed.append(needed is None)
            seconds = min(seconds, needed or seconds)
            after = corpus.newest().number
            assert corpus.rows(before) == rows
            assert after == before or (after == before + 1 and corpus.rows() == wanted)
            ranking = corpus.index().search(f"round{number - (after == before)}", rerank=False)
            assert len(ranking)
            assert corpus.index().sync(corpus.docs).passages_embedded <= len(wanted)
            assert_is(corpus, wanted)
    assert sum(were_killed) > ROUNDS // 3


def unkilled_seconds(corpus: Corpus, child: Child) -> float:
    """Measure how long a sync takes from its order on: the time in which it can be killed."""
    child.order(corpus.docs, corpus.index_uri, **PACE)
    started = time.monotonic()
    child.result()
    return time.monotonic() - started


def change(corpus: Corpus, round_: int) -> None:
    """Change, add and delete some documents; most stay."""
    names = range(DOCUMENTS) if round_ == 0 else range(round_ % 3, DOCUMENTS, 3)
    corpus.write({f"d{name}.txt": text(name, round_) for name in names})
    corpus.write({f"new {round_}.md": f"# New\n\nIt came in round{round_}."})
    if round_ > 1:
        corpus.delete(f"new {round_ - 2}.md")


def text(name: int, round_: int) -> str:
    """A few passages, one of which the next round does not change."""
    return f"document {name} stays. " * 150 + f"round{round_} wrote {name}. " * (100 + 20 * name)


def never_killed(corpus: Corpus, twin: Corpus) -> list[Row]:
    twin.index().sync(corpus.docs)
    return twin.rows()


def killed_after(child: Child, seconds: float) -> float | None:
    """Kill a child, and wait until its own children are gone too.

    Give the seconds that it needed if it was done before that.
    """
    started = time.monotonic()
    needed = None
    with suppress(TimeoutExpired):
        child.process.wait(seconds)
        needed = time.monotonic() - started
    child.kill()
    until = time.monotonic() + 20
    while is_any_left(child.process.pid):
        assert time.monotonic() < until, "a parser lives on without its parent"
        time.sleep(0.02)
    return needed


def is_any_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def assert_is(corpus: Corpus, wanted: list[Row]) -> None:
    rows = corpus.rows()
    assert [row[0] for row in rows] == [row[0] for row in wanted]
    assert rows == wanted
    assert max(Counter(row[0] for row in rows).values()) == 1
    etags = corpus.etags()
    assert {row[1]: row[2] for row in rows} == etags
