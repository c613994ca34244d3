"""What a fleet has cost, added up by hand."""

from typing import Any

import pytest
from mlb.results.ledger import Charge, begun, is_ceiling, ledger_of, settled, usd_until

H = 3600
T = 1_795_500_000
ONE = Charge(T, 1, 12.0)
EIGHT = Charge(T + 10 * H, 8, 96.0)


def test_a_fleet_that_grew_and_one_that_shrank() -> None:
    assert usd_until([ONE, EIGHT], T + 10 * H + 360) == pytest.approx(10 * 12 + 0.1 * 96)
    shrank = [Charge(T, 8, 96.0), Charge(T + H, 1, 12.0)]
    assert usd_until(shrank, T + 3 * H) == pytest.approx(96 + 2 * 12)


def test_a_moment_before_the_last_change() -> None:
    assert usd_until([ONE, EIGHT], T + H) == pytest.approx(12)
    assert usd_until([ONE], T - H) == 0
    assert usd_until([], T) == 0


def test_a_clock_that_was_set_back_takes_nothing_off() -> None:
    assert usd_until([Charge(T, 1, 12.0), Charge(T - H, 2, 24.0), Charge(T + H, 1, 12.0)], T + H) == pytest.approx(48)


def test_a_price_that_is_not_known_makes_the_sum_unknown() -> None:
    unknown = Charge(T + H, 2, None)
    assert usd_until([ONE, unknown], T + H) == pytest.approx(12), "not before it counts"
    assert usd_until([ONE, unknown, Charge(T + 2 * H, 1, 12.0)], T + 9 * H) is None


@pytest.mark.parametrize(
    ("record", "ledger"),
    [
        ({"nodes": [{}, {}], "usd_per_hour": 24, "blueprint": {"created": T}}, (Charge(T, 2, 24.0),)),
        ({"nodes": [{}], "blueprint": {"created": T}}, (Charge(T, 1, None),)),
        ({"nodes": [{}], "usd_per_hour": 24, "blueprint": {}}, ()),
        ({"nodes": [{}], "usd_per_hour": 24, "blueprint": {"created": T}, "ledger": []}, ()),
    ],
)
def test_an_earlier_version_kept_no_ledger(record: dict[str, Any], ledger: tuple[Charge, ...]) -> None:
    assert ledger_of(record) == ledger


def test_what_is_asked_for_is_a_ceiling_until_it_is_there() -> None:
    asked = begun((ONE,), EIGHT)
    assert asked == (ONE, Charge(EIGHT.from_unix_s, 8, 96.0, is_ceiling=True))
    assert is_ceiling(asked)
    assert not is_ceiling(begun((), Charge(T, 2, 0.0))), "nothing is the most that nothing can be"
    there = settled(asked, Charge(T + 11 * H, 8, 96.0))
    assert there == (ONE, EIGHT), "from when they were asked for"
    assert not is_ceiling(there)


def test_what_is_to_end_is_billed_until_it_has() -> None:
    before, one = (Charge(T, 8, 96.0),), Charge(T + H, 1, 12.0)
    assert begun(before, one) == before
    assert settled(before, one) == (*before, one)


def test_a_price_that_was_refreshed_counts_from_then_on() -> None:
    assert settled((ONE,), Charge(T + H, 1, 13.0)) == (ONE, Charge(T + H, 1, 13.0))
    assert settled((ONE,), Charge(T + H, 1, 12.0)) == (ONE,)
