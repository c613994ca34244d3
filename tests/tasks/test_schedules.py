"""Learning-rate schedules equal tables computed from MLBench's notes."""

from __future__ import annotations

import math

import pytest
from mlb.tasks.schedules import WarmupPlateau, one_cycle, warmup_and_halvings


def trace(
    ranks: int, losses: list[float], *, base: float = 0.02, factor: float = 0.5, patience: int = 1
) -> list[float]:
    schedule = WarmupPlateau(
        base=base,
        peak=base * ranks,
        warmup_epochs=int(math.log2(ranks)),
        factor=factor,
        patience=patience,
        threshold=0.01,
    )
    rates = []
    for loss in losses:
        rates.append(schedule.rate)
        schedule.end_epoch(loss)
    return rates


def test_task_1a_at_eight_ranks_on_a_plateau() -> None:
    """The trace of MLBench's own scheduler."""
    expected = [0.02, 0.0667, 0.1133, 0.16, 0.16, 0.16, 0.08, 0.08, 0.04, 0.04, 0.02, 0.02]
    assert trace(8, [1.0] * 12) == pytest.approx(expected, abs=1e-4)


def test_task_1a_at_one_rank_never_changes() -> None:
    assert trace(1, [1.0] * 10) == [0.02] * 10


def test_a_falling_loss_keeps_the_rate() -> None:
    assert trace(4, [2.0 - 0.1 * i for i in range(10)]) == pytest.approx([0.02, 0.05, *[0.08] * 8])


def test_task_2a_has_no_patience_and_no_warm_up() -> None:
    schedule = WarmupPlateau(base=4.0, peak=16.0, warmup_epochs=0, factor=0.75, patience=0, threshold=0.01)
    rates = []
    for loss in [0.5, 0.495, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]:
        rates.append(schedule.rate)
        schedule.end_epoch(loss)
    assert rates == pytest.approx([16.0, 16.0, 12.0, 12.0, 9.0, 6.75, 5.0625, 4.0, 4.0])


def test_a_schedule_goes_on_where_it_was_saved() -> None:
    def fresh() -> WarmupPlateau:
        return WarmupPlateau(base=0.1, peak=0.8, warmup_epochs=2, factor=0.5, patience=1, threshold=0.01)

    losses = [3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    for cut in range(len(losses)):
        whole, first, second = fresh(), fresh(), fresh()
        for loss in losses[:cut]:
            first.end_epoch(loss)
        second.load_state(first.state())
        for i, loss in enumerate(losses):
            whole.end_epoch(loss)
            if i >= cut:
                second.end_epoch(loss)
        assert second.rate == whole.rate


def test_one_cycle_rises_and_falls_in_straight_lines() -> None:
    factors = [one_cycle(step, 10, 0.5) for step in range(12)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0])


def test_task_4a_drops_where_mlbenchs_does() -> None:
    """Of 9,696 steps: up from a hundredth over 200; halved at 3,879, 4,364, 4,848 and 5,333 (40, 45, 50 and 55 %)."""
    options = {"warmup": 200, "remain": 0.4, "interval": 0.05, "most": 4, "factor": 0.5}
    factors = [warmup_and_halvings(step, 9_696, **options) for step in range(9_696)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[100] == pytest.approx(0.1)
    assert set(factors[200:3_879]) == {1.0}
    drops = [step for step in range(201, 9_696) if factors[step] != factors[step - 1]]
    assert drops == [3_879, 4_364, 4_848, 5_333]
    assert factors[-1] == 1 / 16
