"""How long calls wait at replicas that share their time among their calls.

A replica works on all its calls in turn, batch by batch, so each of them gets an equal share
(processor sharing). The mean time in such a replica is service / (1 - load), whatever the
distribution of service times; the variance is that of M/G/1 processor sharing (Zwart and Boxma,
2000) with exponential waiting times. Two replicas share calls as M/M/2 does (Erlang C). With more,
a call goes to the less loaded of two that are chosen at random, which delays it by the sum of load
to the powers 2, 6, 14, … (Mitzenmacher, 2001) beside a part of Erlang C's delay.
``benchmarks/scale_simulation.py`` compares this with a simulation. Times are in milliseconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

_MOST_LOAD = 0.9999
_FEW = 2
"""Up to so many replicas, the less loaded of two is the least loaded of all."""

_MANY = 2_000

_ERLANG_PART, _VARIANCE_PART = 0.55, 0.53
"""Fitted to the simulation: how much of Erlang C's delay remains where calls choose of two, and the
variance of the other delay over its mean, in services."""


@dataclass(frozen=True, slots=True)
class Delay:
    """What sharing adds to a service time.

    `shared` is the mean of a delay that most calls have, with its `shared_variance`. `queue` is
    the mean of one that few calls have and that is long then, with its `queue_variance`.
    """

    shared: float
    shared_variance: float
    queue: float
    queue_variance: float


NEVER = Delay(0.0, 0.0, math.inf, math.inf)
"""The delay of replicas that cannot do the work."""


def erlang_c(servers: int, load: float) -> float:
    """The share of calls that find all `servers` busy; `load` is that of each."""
    if load >= 1:
        return 1.0
    if servers > _MANY and load <= 0.9:
        return 0.0  # less than 1e-5
    offered = servers * load
    blocked = 1.0  # Erlang B, by its recursion
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - load * (1 - blocked))


def delay(servers: int, rate: float, service: float, variation: float = 0.0) -> Delay:
    """The delay of calls of `service` ms that arrive `rate` times a millisecond.

    `variation` is the service time's standard deviation over its mean.
    """
    load = rate * service / servers
    if load >= _MOST_LOAD:
        return NEVER
    busy = erlang_c(servers, load)
    behind = service / (servers * (1 - load))  # the mean delay of calls that find all busy
    queue = behind * busy
    variance = max(queue * (behind * _dispersion(load, variation) - queue), 0.0)
    if servers <= _FEW:
        return Delay(0.0, 0.0, queue, variance)
    choice = sum(load ** (2**power - 2) for power in range(2, 12))
    return Delay(
        service * choice,
        service**2 * choice * _VARIANCE_PART,
        queue * _ERLANG_PART,
        variance * _ERLANG_PART**2,
    )


def _dispersion(load: float, variation: float) -> float:
    """The second moment of the delay at one replica over its squared mean, times the load."""
    decay = 2 * (1 - load) / (1 + variation**2)  # of the waiting time, in services
    spread = 1 / decay - (1 - math.exp(-decay)) / decay**2
    return 2 * spread + load


def p95(service: float, deviation: float, delays: Sequence[Delay]) -> float:
    """The 95th percentile of a service time and the sum of independent delays.

    The time without queueing is taken as normal. The delay in queues is 0 for some calls and
    exponential for the others, by its mean and variance.
    """
    variance = deviation**2 + sum(each.shared_variance for each in delays)
    slow = service + sum(each.shared for each in delays)
    slow += NormalDist().inv_cdf(0.95) * math.sqrt(variance)
    mean = sum(each.queue for each in delays)
    if mean <= 0 or not math.isfinite(mean):
        return slow + mean
    second = sum(each.queue_variance for each in delays) + mean**2
    scale = max(second / (2 * mean), mean)
    return slow + scale * max(math.log(mean / scale / 0.05), 0.0)


def slowest(mean: float, deviation: float, count: int) -> tuple[float, float]:
    """Mean and standard deviation of the slowest of `count` independent normal times, about."""
    if count <= 1:
        return mean, deviation
    step = NormalDist().inv_cdf(0.5264 ** (1 / count))
    return mean + step * deviation, deviation / math.sqrt(1 + math.log(count))
