"""Delays in queues agree with what is known exactly, and grow with load."""

import math

import pytest

from resift.planning.queueing import Delay, delay, erlang_c, p95, slowest


@pytest.mark.parametrize(
    ("servers", "load", "busy"),
    [(1, 0.3, 0.3), (2, 0.5, 1 / 3), (10, 0.8, 0.4092), (3, 2 / 3, 0.4444), (5, 1.0, 1.0)],
)
def test_erlang_c_has_the_values_of_its_tables(servers: int, load: float, busy: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(busy, abs=1e-3)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_at_a_replica_alone_the_mean_time_is_that_of_processor_sharing(load: float) -> None:
    assert 10 + delay(1, load / 10, 10).queue == pytest.approx(10 / (1 - load))


def test_the_variance_at_a_replica_tends_to_that_of_heavy_traffic() -> None:
    single = delay(1, 0.98, 1.0)
    assert single.queue_variance == pytest.approx(single.queue**2, rel=0.05)


@pytest.mark.parametrize("offered", [1e-9, 0.02, 0.025, 0.03, 0.035, 1.0])
def test_delays_that_no_call_has_are_finite(offered: float) -> None:
    rare = delay(100, offered / 200, 200.0)
    assert 200 <= p95(200.0, 1.0, [rare]) < 210
    assert all(math.isfinite(value) for value in (rare.queue, rare.queue_variance))


@pytest.mark.parametrize(("servers", "load"), [(1, 1.0), (4, 1.2), (3000, 1.0)])
def test_replicas_that_cannot_do_the_work_are_never_in_time(servers: int, load: float) -> None:
    assert p95(1.0, 0.0, [delay(servers, load * servers, 1.0)]) == math.inf


def test_choosing_the_less_loaded_of_two_delays_calls_however_many_replicas_there_are() -> None:
    many = delay(1_000, 800.0, 1.0)
    assert many.shared == pytest.approx(0.8**2 + 0.8**6 + 0.8**14 + 0.8**30, abs=1e-3)
    assert many.queue == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("servers", [1, 2, 3, 8, 100])
def test_more_load_is_later_and_more_replicas_at_the_same_load_are_not(servers: int) -> None:
    def late(replicas: int, load: float) -> float:
        return p95(1.0, 0.1, [delay(replicas, load * replicas, 1.0, 0.1)])

    assert late(servers, 0.3) < late(servers, 0.6) < late(servers, 0.9)
    assert late(2 * servers, 0.9) <= late(servers, 0.9)


def test_without_a_delay_the_p95_is_that_of_the_service_time() -> None:
    assert p95(100.0, 0.0, []) == 100.0
    assert p95(100.0, 10.0, [Delay(0.0, 0.0, 0.0, 0.0)]) == pytest.approx(116.4, abs=0.1)


def test_the_slowest_of_many_is_later_than_their_mean_and_varies_less() -> None:
    assert slowest(10.0, 2.0, 1) == (10.0, 2.0)
    mean, deviation = slowest(10.0, 2.0, 100)
    assert mean == pytest.approx(10 + 2 * 2.51, abs=0.1) and deviation < 2.0
