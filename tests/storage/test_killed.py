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

from storage.places import Child, Place, Row, children

ROUNDS = 8
DOCUMENTS = 20
# A commit each few documents, so that most kills lie between two of them.
PACE = {"commit": 10, "embed_s": 0.02}


def test_a_killed_sync_is_taken_up_by_the_next_and_readers_never_notice(place: Place) -> None:
    rng = random.Random(7)
    twin = place.twin()
    change(place, round_=0)
    never_killed(place, twin)
    with children(place.storage) as start:
        seconds = unkilled_seconds(place, start())
        waiting = start()
        were_killed = []
        for number in range(1, ROUNDS + 1):
            child, waiting = waiting, start()
            before, rows = place.newest().number, place.rows()
            change(place, number)
            wanted = never_killed(place, twin)
            child.order(place.docs, place.index_uri, **PACE)
            needed = killed_after(child, seconds * (number - rng.random()) / ROUNDS)
            were_killed.append(needed is None)
            seconds = min(seconds, needed or seconds)
            after = place.newest().number
            assert place.rows(before) == rows
            assert after == before or (after == before + 1 and place.rows() == wanted)
            found = place.index().search(f"round{number - (after == before)}", rerank=False)
            assert len(found)
            assert place.index().sync(place.docs).passages_embedded <= len(wanted)
            assert_is(place, wanted)
    assert sum(were_killed) > ROUNDS // 3


def unkilled_seconds(place: Place, child: Child) -> float:
    """How long a sync takes, from its order on: the time there is to be killed in."""
    child.order(place.docs, place.index_uri, **PACE)
    started = time.monotonic()
    child.result()
    return time.monotonic() - started


def change(place: Place, round_: int) -> None:
    """Some documents are changed, some are new, some are gone, most are as they were."""
    names = range(DOCUMENTS) if round_ == 0 else range(round_ % 3, DOCUMENTS, 3)
    place.write({f"d{name}.txt": text(name, round_) for name in names})
    place.write({f"new {round_}.md": f"# New\n\nIt came in round{round_}."})
    if round_ > 1:
        place.delete(f"new {round_ - 2}.md")


def text(name: int, round_: int) -> str:
    """A few passages, one of which the next round does not change."""
    return f"document {name} stays. " * 150 + f"round{round_} wrote {name}. " * (100 + 20 * name)


def never_killed(place: Place, twin: Place) -> list[Row]:
    twin.index().sync(place.docs)
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


def assert_is(place: Place, wanted: list[Row]) -> None:
    rows = place.rows()
    assert [row[0] for row in rows] == [row[0] for row in wanted]
    assert rows == wanted
    assert max(Counter(row[0] for row in rows).values()) == 1
    etags = place.etags()
    assert {row[1]: row[2] for row in rows} == etags
