"""Statistics against values known from elsewhere: the textbook, scipy's documentation, counting by hand."""

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlb.results.statistics import (
    crossing,
    difference_of,
    least_runs,
    median_interval,
    olympic_mean,
    permutation_p,
    ratio_interval,
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
    # P(B < 4) = 0.0176 for B binomial of 15 and 1/2, P(B < 5) = 0.0592: from the 4th to the 12th value.
    ordered = sorted(scores)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (ordered[3], ordered[11])
    assert found.interval.coverage == pytest.approx(1 - 2 * 576 / 2**15)


@given(VALUES)
def test_an_interval_holds_the_median_and_does_not_depend_on_the_order(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval is not None
    assert min(values) <= interval.low <= interval.high <= max(values)
    assert interval.holds(statistics.median(values))
    assert median_interval(values[::-1]) == interval


def test_two_values_have_no_interval() -> None:
    assert median_interval((1.0, 2.0)) is None
    assert sample_of((1.0, math.nan)).values == (1.0,)


@pytest.mark.parametrize(
    ("runs", "coverage", "k"), [(3, 0.75, 1), (4, 0.875, 1), (5, 0.9375, 1), (6, 0.96875, 1), (9, 0.9609375, 2)]
)
def test_an_interval_covers_what_it_says(runs: int, coverage: float, k: int) -> None:
    """Conover's table; and counted over all orders of the signs that values may have around their median."""
    values = [float(value) for value in range(runs)]
    found = median_interval(values)
    assert found is not None
    assert (found.low, found.high, found.coverage) == (values[k - 1], values[-k], coverage)
    assert found.full is (coverage >= 0.95)
    held = sum(k <= sum(signs) <= runs - k for signs in itertools.product((0, 1), repeat=runs))
    assert held / 2**runs == coverage


def test_a_ratios_interval_is_mann_and_whitneys() -> None:
    """Tables of U: 3 and 3 cover 90 % at most, 4 and 4 97.1 %; at 5 and 5 U <= 2 is left out, at 8 and 8 U <= 13."""
    first = [1.0, 1.1, 1.2]
    found = ratio_interval(first, [value * 2 for value in first])
    assert (found.low, found.high) == (2 / 1.2, pytest.approx(2.4))
    assert found.coverage == pytest.approx(0.9)
    for size, left_out, coverage in ((4, 0, 1 - 2 / 70), (5, 2, 1 - 2 * 4 / 252), (8, 13, 1 - 2 * 321 / 12870)):
        one = [math.exp(0.1 * i) for i in range(size)]
        two = [math.exp(0.007 * 3**i) for i in range(size)]
        ratios = sorted(b / a for a in one for b in two)
        found = ratio_interval(one, two)
        assert (found.low, found.high) == (ratios[left_out], ratios[-1 - left_out])
        assert found.coverage == pytest.approx(coverage)
    assert ratio_interval([2.0, 4.0, 8.0], [1.0] * 4).coverage == pytest.approx(1 - 2 / 35)


def test_too_few_runs_are_told_from_noise() -> None:
    """Three against three cannot decide; of two comparisons at once four against four cannot."""
    assert not difference_of((10, 11, 12), (20, 21, 22)).decidable()
    four = difference_of((10, 11, 12, 13), (20, 21, 22, 23))
    assert four.decidable()
    assert not four.decidable(comparisons=2)
    assert difference_of((10, 11, 12, 13), (20, 21, 22, 23), comparisons=2).runs_needed == least_runs(2) == 5


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
