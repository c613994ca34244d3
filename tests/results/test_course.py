"""Who was waited for, in stretches: whatever the run's length, nothing is lost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mlb.results.course import STRETCHES, Course


@given(st.lists(st.integers(1, 400), min_size=1, max_size=200), st.integers(1, 50))
def test_nothing_is_lost_and_pieces_change_nothing(gaps: list[int], piece: int) -> None:
    numbers = np.cumsum(gaps)
    waited_for, late = numbers % 3, numbers % 5 > 0
    whole, pieces = Course((0, 1, 2)), Course((0, 1, 2))
    whole.add(numbers, waited_for, late)
    for start in range(0, len(numbers), piece):
        part = slice(start, start + piece)
        pieces.add(numbers[part], waited_for[part], late[part])
    assert whole.steps.sum() == len(numbers)
    assert whole.critical.sum() == late.sum()
    assert (whole.critical.sum(axis=0) <= whole.steps).all()
    assert whole.used <= STRETCHES
    assert (whole.steps == pieces.steps).all()
    assert (whole.critical == pieces.critical).all()


def test_a_long_run_has_enough_stretches() -> None:
    course = Course((0, 1))
    for start in range(0, 100_000, 1000):
        course.add(np.arange(start, start + 1000), np.zeros(1000, np.int64), np.ones(1000, np.bool_))
    assert STRETCHES // 2 <= course.used <= STRETCHES
    assert course.critical[0].sum() == 100_000
