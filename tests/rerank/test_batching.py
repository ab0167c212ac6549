"""Every row is in exactly one group, groups keep to the budget, and waves keep input order."""

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resift.rerank.batching import (
    LENGTH_STEP,
    MAX_EXCESS,
    fill,
    full_batch,
    padded_length,
    padded_rows,
    schedule,
    waves,
)

lengths = st.lists(st.integers(1, 512), max_size=150)


@given(lengths, st.integers(16, 4096))
def test_every_row_is_scheduled_once(lengths: list[int], budget: int) -> None:
    rows = [int(row) for group in schedule(lengths, budget) for row in group.rows]
    assert sorted(rows) == list(range(len(lengths)))


@given(lengths, st.integers(16, 4096))
def test_groups_fit_the_budget_unless_one_row_alone_does_not(
    lengths: list[int], budget: int
) -> None:
    groups = schedule(lengths, budget)
    for group in groups:
        assert group.positions <= MAX_EXCESS * budget or len(group.rows) == 1
        assert group.length >= max(lengths[row] for row in group.rows)


@given(lengths)
def test_without_waves_lengths_fall_from_group_to_group(lengths: list[int]) -> None:
    ordered = [lengths[row] for group in schedule(lengths) for row in group.rows]
    assert ordered == sorted(lengths, reverse=True)


@given(lengths, st.integers(1, 32))
def test_a_wave_is_done_before_the_next_begins(lengths: list[int], size: int) -> None:
    result = waves(lengths, size)
    assert [row // size for wave in result for row in wave] == [
        row // size for row in range(len(lengths))
    ]
    for number, wave in enumerate(result):
        assert wave[0] == number * size  # the best candidate is in the first batch
        groups = groupby(wave, key=lambda row: padded_length(lengths[row]))
        first_rows = [next(rows) for _, rows in groups]
        assert first_rows == sorted(first_rows)
        assert len(first_rows) == len({padded_length(lengths[row]) for row in wave})


@given(st.lists(st.integers(1, 512), max_size=80), st.integers(1, 32), st.integers(0, 20))
def test_a_batch_is_filled_with_rows_of_its_padded_length(
    lengths: list[int], steps: int, room: int
) -> None:
    longest = LENGTH_STEP * steps
    falling = sorted(lengths, reverse=True)
    taken = fill(falling, longest, room)
    padded = [padded_length(length) for length in falling[taken]]
    assert len(padded) <= room
    assert all(length == longest for length in padded)
    left = [padded_length(length) for length in falling[: taken.start] + falling[taken.stop :]]
    fit = [length for length in left if length == longest]
    assert not fit or len(padded) == room


@given(st.integers(0, 5000))
def test_padded_length_is_the_next_whole_step(tokens: int) -> None:
    padded = padded_length(tokens)
    assert padded % LENGTH_STEP == 0
    assert tokens <= padded < max(tokens, 1) + LENGTH_STEP


@given(lengths, st.integers(16, 4096))
def test_only_rows_of_one_padded_length_run_together(lengths: list[int], budget: int) -> None:
    for group in schedule(lengths, budget):
        assert {padded_length(lengths[row]) for row in group.rows} == {group.length}


def test_a_small_rest_joins_the_batch_before_it() -> None:
    assert [len(group.rows) for group in schedule([60] * 20, 1024)] == [20]
    assert [len(group.rows) for group in schedule([60] * 21, 1024)] == [16, 5]
    assert [len(group.rows) for group in schedule([60] * 20 + [20], 1024)] == [20, 1]


def test_mixed_lengths_waste_little() -> None:
    rng = np.random.default_rng(7)
    lengths = np.clip(np.exp(rng.normal(np.log(110), 0.4, 100)), 20, 480).astype(int).tolist()
    positions = sum(group.positions for group in schedule(lengths))
    assert 1 - sum(lengths) / positions < 0.065  # .061 of it by the step alone


def test_batches_have_few_different_numbers_of_rows() -> None:
    padded = [padded_rows(rows) for rows in range(1, 129)]
    assert len(set(padded)) == 26
    assert all(
        rows <= more <= max(1.25 * rows, rows + 1) for rows, more in enumerate(padded, start=1)
    )
    assert [padded_rows(rows) for rows in padded] == padded


@given(st.integers(1, 64), st.integers(1, 4096))
def test_a_full_batch_fits_without_added_rows(steps: int, budget: int) -> None:
    longest = steps * LENGTH_STEP
    rows = full_batch(longest, budget)
    assert padded_rows(rows) == rows
    assert rows * longest <= budget or rows == 1
    assert padded_rows(rows + 1) > rows + 1 or (rows + 1) * longest > budget
