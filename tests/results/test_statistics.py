"""Statistics against values known from elsewhere: the textbook, scipy's documentation, counting by hand."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlb.results.statistics import (
    bootstrap_interval,
    crossing,
    difference_of,
    olympic_mean,
    permutation_p,
    runs_for,
    runs_needed,
    sample_of,
)

VALUES = st.lists(st.floats(0.1, 1e6), min_size=3, max_size=12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1.0, 2.0, 3.0), 2.0), ((10.0, 1.0, 4.0, 6.0), 5.0), ((7.0,) * 5, 7.0), ((1.0, 2.0), None), ((), None)],
)
def test_olympic_mean_drops_the_least_and_the_greatest(values: tuple[float, ...], expected: float | None) -> None:
    assert olympic_mean(values) == expected


def test_a_median_of_law_school_size() -> None:
    """Fifteen LSAT scores of Efron and Tibshirani (1993, table 3.1): the median is 580."""
    scores = (576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594)
    found = sample_of([float(score) for score in scores])
    assert found.median == 580
    assert found.olympic_mean == pytest.approx((sum(scores) - 545 - 666) / 13)
    # The bootstrap distribution of a median of 15 is exactly computable: P(median <= k-th) is binomial. Its 2.5 %
    # and 97.5 % points are the 4th and the 12th value.
    ordered = sorted(scores)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (ordered[3], ordered[11])


@given(VALUES)
def test_an_interval_holds_the_median_and_does_not_depend_on_the_order(values: list[float]) -> None:
    interval = bootstrap_interval(values, resamples=500)
    assert interval is not None
    assert min(values) <= interval.low <= interval.high <= max(values)
    assert interval.holds(statistics.median(values))
    assert bootstrap_interval(values[::-1], resamples=500) == interval


def test_two_values_have_no_interval() -> None:
    assert bootstrap_interval((1.0, 2.0)) is None
    assert sample_of((1.0, math.nan)).values == (1.0,)


def test_permutation_p_by_counting() -> None:
    """Of the 20 ways to label three and three, two are as far apart; of the 70 of four and four, two."""
    assert permutation_p((1, 2, 3), (10, 11, 12)) == pytest.approx(2 / 20)
    assert permutation_p((1, 2, 3, 4), (10, 11, 12, 13)) == pytest.approx(2 / 70)
    assert permutation_p((1, 2, 3), (1, 2, 3)) == 1.0


def test_permutation_p_of_many_values_is_drawn() -> None:
    first, second = list(range(20)), [value + 30.0 for value in range(20)]
    assert permutation_p(first, second) < 0.001
    assert permutation_p(first, [value + 0.01 for value in first]) > 0.9


def test_no_winner_inside_noise() -> None:
    assert not difference_of((10, 11, 12, 13), (10.5, 11.5, 12.5, 13.5)).decided()
    assert not difference_of((10, 11, 12), (20, 21, 22)).decided(), "three against three cannot reach 95 %"
    clear = difference_of((10, 11, 12, 13), (20, 21, 22, 23))
    assert clear.decided()
    assert not clear.decided(comparisons=2), "two questions need a smaller p"
    assert clear.ratio == pytest.approx(21.5 / 11.5)
    assert not difference_of((10.0,), (20.0,)).decided()
    assert difference_of((), (1.0,)).ratio is None


def test_runs_needed_of_a_textbook_case() -> None:
    """Means one standard deviation apart: 16 a group (Lehr's rule: 16 / d^2, d = 1; exactly 15.7)."""
    first = [-1.0, 0.0, 1.0]  # standard deviation 1
    assert runs_needed(first, [value + 1 for value in first]) == 16
    assert runs_needed(first, [value + 0.5 for value in first]) == 63
    assert runs_needed(first, [value + 100 for value in first]) == 4
    assert runs_needed(first, first) is None


@pytest.mark.parametrize(
    ("points", "falls", "expected"),
    [
        ([(0.0, 10.0), (10.0, 5.0), (20.0, 3.0)], True, 15.0),
        ([(0.0, 10.0), (10.0, 4.0)], True, 10.0),
        ([(5.0, 1.0)], True, 5.0),
        ([(5.0, 8.0)], True, None),
        ([], True, None),
        ([(0.0, math.inf), (4.0, 2.0)], True, 4.0),
        ([(0.0, math.nan), (4.0, 6.0), (6.0, 2.0)], True, 5.0),
        ([(0.0, 2.0), (8.0, 6.0)], False, 4.0),
    ],
)
def test_crossing(points: list[tuple[float, float]], falls: bool, expected: float | None) -> None:
    assert crossing(points, 4.0, falls=falls) == expected


def test_runs_for_a_claim() -> None:
    """Spread of 1 % and a difference of 1 %: Lehr's rule again, 16; of nothing to go by: None."""
    values = [99.0, 100.0, 101.0]
    assert runs_for(values, 0.01) == 16
    assert runs_for(values, 0.5) == 4
    assert runs_for([5.0, 5.0], 0.01) is None
    assert runs_for([5.0], 0.01) is None
