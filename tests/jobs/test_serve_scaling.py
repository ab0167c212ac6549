"""Proves how many replicas are wanted for the tokens that wait, and what options are refused."""

from types import SimpleNamespace

import pytest

from resift.errors import InputError
from resift.jobs.serve_options import ReplicaOptions, check_for_cluster, target_tokens
from resift.jobs.serve_scaling import QUEUED_TOKENS, QueuedTokens, needed
from resift.serve.options import ServeOptions


@pytest.mark.parametrize(
    ("reports", "now", "expected"),
    [
        ({"a": 0.0}, 3, 0),  # Ray keeps the least number
        ({"a": 1.0}, 3, 1),
        ({"a": 1000.0}, 1, 1),
        ({"a": 1000.5}, 1, 2),
        ({"a": 700.0, "b": 700.0}, 2, 2),
        ({"a": 5000.0, "b": 0.0}, 2, 5),
        ({"a": 5000.0, "b": 5000.0, "c": 1.0}, 3, 11),
        ({}, 4, 4),  # nobody has reported: no reason to end a replica
        (None, 4, 4),
    ],
)
def test_a_replica_is_wanted_for_each_target_of_tokens(
    reports: dict[str, float] | None, now: int, expected: int
) -> None:
    assert needed(reports, 1000, now) == expected
    context = SimpleNamespace(
        aggregated_metrics=reports and {QUEUED_TOKENS: reports, "other": {"a": 1e9}},
        target_num_replicas=now,
    )
    assert QueuedTokens(1000)(context) == (expected, {})


def test_more_tokens_never_want_fewer_replicas() -> None:
    wanted = [needed({"a": float(tokens)}, 50_000, 1) for tokens in range(0, 500_001, 5_000)]
    assert wanted == sorted(wanted) and wanted[-1] == 10


@pytest.mark.parametrize(
    ("text", "expected"), [("1", (1, 1)), ("3", (3, 3)), ("1:8", (1, 8)), ("2:2", (2, 2))]
)
def test_replicas_are_a_number_or_bounds(text: str, expected: tuple[int, int]) -> None:
    options = ReplicaOptions.parse(text, 2)
    assert (options.least, options.most, options.cpus) == (*expected, 2)


@pytest.mark.parametrize("text", ["", "0", "0:4", "4:1", "1:", ":4", "1:2:3", "-1", "x", "1001"])
def test_other_replicas_are_refused_with_the_value(text: str) -> None:
    with pytest.raises(InputError, match=r"replicas=.*expected"):
        ReplicaOptions.parse(text, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "replicas=0: expected a number"),
        ("1:0", "replicas=1:0: expected a number"),
        ("3:1", "replicas=3:1: expected MIN:MAX, but MIN is over MAX"),
    ],
)
def test_replicas_are_quoted_as_they_were_given(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ReplicaOptions.parse(text, 1)
    assert str(caught.value).startswith(message)


def test_a_replica_has_a_cpu() -> None:
    with pytest.raises(InputError, match="replica_cpus=0: expected"):
        ReplicaOptions(cpus=0)


def test_workers_are_refused_and_the_target_follows_the_queue() -> None:
    with pytest.raises(InputError, match=r"workers=2: .*--replicas"):
        check_for_cluster(ServeOptions(workers=2))
    check_for_cluster(ServeOptions())
    assert target_tokens(ServeOptions(max_queue_tokens=80_000)) == 8_000
