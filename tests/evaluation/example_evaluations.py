"""Example evaluations: consistent figures, and any texts."""

import random
from collections.abc import Sequence
from dataclasses import replace

from resift.evaluation.advice import verdict
from resift.evaluation.measures import PRIMARY, measure_names
from resift.evaluation.result import (
    Advice,
    Evaluation,
    Latency,
    MovedDocument,
    QueryChange,
    Row,
    SystemResult,
)
from resift.evaluation.significance import paired_test

DEPTHS = (10, 20, 50, 100)
HOSTILE = (
    "<script>alert('hit')</script><img src=x onerror=\"alert(1)\"> & ' \" ]]> $notes http://x/ "
    "\x00\x07\x1b[31m\ud800\u202e"
)


def make_evaluation(
    queries: int = 12,
    labels: Sequence[str] = ("bundled",),
    depths: Sequence[int] = DEPTHS,
    *,
    text: str = "what stops an object from being deleted",
) -> Evaluation:
    """Judged; the first system helps most queries, hurts some and leaves a third as they were.

    `text` is every query, title, name and note.
    """
    systems = tuple(
        _system(number, label, queries, depths, text) for number, label in enumerate(labels)
    )
    before = systems[0].compared[PRIMARY].before
    return Evaluation(
        collection=text,
        first_stage=text,
        queries=queries,
        judged=queries,
        main_measure=PRIMARY,
        first=dict.fromkeys(measure_names(depths, 1), before),
        first_latency=Latency(12.0, 30.0, queries),
        requests=3.5,
        systems=systems,
        notes=(text,),
        seconds=61.0,
    )


def without_judgments(evaluation: Evaluation) -> Evaluation:
    """The same evaluation without judgments."""
    systems = tuple(
        replace(system, rows=tuple(replace(row, measures={}) for row in system.rows), compared={},
                against=None, weights={}, changes=(), advice=None,
                verdict=verdict(None, system.rows, None))
        for system in evaluation.systems
    )  # fmt: skip
    return replace(evaluation, judged=0, first={}, systems=systems)


def without_times(evaluation: Evaluation) -> Evaluation:
    """The same evaluation without latencies."""
    systems = tuple(
        replace(system, rows=tuple(replace(row, latency=None) for row in system.rows))
        for system in evaluation.systems
    )
    return replace(evaluation, systems=systems)


def _system(
    number: int, label: str, queries: int, depths: Sequence[int], text: str
) -> SystemResult:
    generator = random.Random(0)
    before = [generator.random() for _ in range(queries)]
    steps = [(-0.2, 0.0, 0.3)[index % 3] * (1 - number / 10) for index in range(queries)]
    after = [min(1.0, max(0.0, value + step)) for value, step in zip(before, steps, strict=True)]
    compared = paired_test(before, after)
    rows = tuple(
        Row(
            depth,
            dict.fromkeys(measure_names(depths, 1), compared.after - 0.02 * (depth != depths[-1])),
            Latency(4.0 * depth, 9.0 * depth, queries),
            depth,
            120.0 * depth,
        )
        for depth in depths
    )
    moved = (
        MovedDocument("d1", text, 2, 14, 1),
        MovedDocument("d2", "", None, 1, None),
        MovedDocument("d3", text, 0, 2, 3),
    )
    changes = [
        QueryChange(f"q{index}", text, was, now, moved if was != now else ())
        for index, (was, now) in enumerate(zip(before, after, strict=True))
    ]
    advice = Advice(
        "the least depth", compared.after, depths[0], 0.3, 0.96, 0.5, latency=rows[0].latency
    )
    return SystemResult(
        label=label,
        model=text,
        fingerprint="b90e534ed06310a9",
        rows=rows,
        compared=dict.fromkeys(measure_names(depths, 1), compared),
        against=compared if number else None,
        weights={0.0: compared.before, 0.3: compared.after},
        changes=tuple(sorted(changes, key=lambda change: change.after - change.before)),
        replaced=3.4,
        advice=advice,
        verdict=verdict(compared, rows, advice),
    )
