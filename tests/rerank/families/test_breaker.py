"""A service that fails again and again is left alone for a while, then asked by one call."""

from resift.rerank.families.breaker import FIRST_PAUSE_S, LAST_PAUSE_S, MAX_FAILURES, Breaker


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _failed(clock: _Clock, times: int = MAX_FAILURES) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(times):
        breaker.fail("503")
    return breaker


def test_a_few_failures_do_not_open_it_and_an_answer_forgets_them() -> None:
    breaker = _failed(_Clock(), MAX_FAILURES - 1)
    assert breaker.refusal() is None
    breaker.succeed()
    for _ in range(MAX_FAILURES - 1):
        breaker.fail("503")
    assert breaker.refusal() is None


def test_repeated_failures_open_it_and_it_says_why() -> None:
    clock = _Clock()
    breaker = _failed(clock)
    assert breaker.refusal() == "not asked for 5 s, after 3 failures in a row, the last: 503"
    clock.now += FIRST_PAUSE_S - 0.1
    assert breaker.refusal() is not None


def test_after_the_pause_one_call_tries() -> None:
    clock = _Clock()
    breaker = _failed(clock)
    clock.now += FIRST_PAUSE_S
    assert breaker.refusal() is None and breaker.refusal() is not None
    breaker.succeed()
    assert breaker.refusal() is None and breaker.refusal() is None


def test_pauses_grow_to_a_bound() -> None:
    clock = _Clock()
    breaker = _failed(clock)
    for pause_s in (2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S, 8 * FIRST_PAUSE_S, LAST_PAUSE_S):
        clock.now += LAST_PAUSE_S
        assert breaker.refusal() is None
        breaker.fail("503")
        clock.now += pause_s - 0.1
        assert breaker.refusal() is not None


def test_a_trial_that_never_returns_does_not_close_it_for_ever() -> None:
    clock = _Clock()
    breaker = _failed(clock)
    clock.now += FIRST_PAUSE_S
    assert breaker.refusal() is None
    clock.now += LAST_PAUSE_S
    assert breaker.refusal() is None


def test_a_wrong_key_opens_it_at_once() -> None:
    clock = _Clock()
    breaker = Breaker(clock)
    assert breaker.fail("401", is_final=True)
    clock.now += LAST_PAUSE_S - 1
    assert breaker.refusal() is not None


def test_the_pause_that_the_service_asks_for_is_kept() -> None:
    clock = _Clock()
    breaker = _failed(clock, MAX_FAILURES - 1)
    breaker.fail("429", wait_s=30)
    clock.now += 29
    assert breaker.refusal() is not None


def test_only_the_first_failure_and_an_open_circuit_are_told() -> None:
    breaker = Breaker(_Clock())
    assert [breaker.fail("503") for _ in range(3)] == [True, False, True]
