"""Learning-rate schedules equal tables computed from MLBench's notes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from mlb.errors import UsageError
from mlb.tasks import recipes
from mlb.tasks.named_schedules import OWN, SCHEDULES, parse
from mlb.tasks.plateau import WarmupPlateau
from mlb.tasks.schedules import one_cycle, warmup_and_halvings
from small_tasks import TASKS


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


# Named schedules: MLBench's functions of the step (lr_scheduler/pytorch/lr.py), worked out by hand; epoch -> factor.
TABLES = {
    "constant": {0: 1, 3.5: 1, 1000: 1},
    "linear-warmup:warmup=4:start=0.2": {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 9: 1},
    "multistep:milestones=3+5:gamma=0.1:warmup=2": {0: 0, 1: 0.5, 2: 1, 2.9: 1, 3: 0.1, 4.9: 0.1, 5: 0.01, 9: 0.01},
    "stepping:boundaries=2+4:factors=1+0.5+0.1": {0: 1, 1.9: 1, 2: 0.5, 3.9: 0.5, 4: 0.1, 99: 0.1},
    "stepping:boundaries=2+4:factors=0.2+1+0.1:warmup=yes": {0: 0.2, 1: 0.6, 2: 1, 4: 0.1},
    "warmup-halvings:epochs=10:warmup=2:remain=0.4:interval=0.1:cuts=3": {
        0: 0.01, 1: 0.1, 2: 1, 3.9: 1, 4: 0.5, 4.9: 0.5, 5: 0.25, 6: 0.125, 7: 0.125, 99: 0.125,
    },
    "poly:epochs=4:warmup=2": {0: 0, 1: 0.5, 2: 1, 3: 0.5625, 4: 0.25, 5: 0.0625, 6: 0, 8: 0},
    # min_lr a quarter of the rate: ((1 - p) + sqrt(1/4) p)^2.
    "poly:epochs=4:end=0.25": {0: 1, 2: 0.5625, 4: 0.25, 8: 0.25},
    "inverse-root:warmup=4": {0: 0, 2: 0.5, 4: 1, 16: 0.5, 64: 0.25},
    # These count in steps; an epoch of the table has ten.
    "root-decay": {0: 1, 0.1: 1, 0.4: 0.5, 10: 0.1},
    "time-decay:beta=4": {0: 0.25, 0.1: 0.2, 0.6: 0.1},
    "shifted-decay:shift=0": {0: 1, 0.1: 1, 0.2: 0.5, 1: 0.1},
}  # fmt: skip


@pytest.mark.parametrize("text", TABLES)
def test_a_named_schedule_is_mlbenchs(text: str) -> None:
    schedule = parse(text)
    found = {epochs: schedule.factor(epochs * 10, 10) for epochs in TABLES[text]}
    assert found == pytest.approx(TABLES[text])


def test_every_named_schedule_has_a_table() -> None:
    assert {text.partition(":")[0] for text in TABLES} == set(SCHEDULES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("multistp", "task1a has no schedule 'multistp'. Did you mean 'multistep'"),
        ("multistep:gama=0.1", "has no option 'gama=0.1'. Did you mean 'gamma'"),
        ("multistep:gamma=0", "gamma of the schedule multistep cannot be '0'"),
        ("multistep:milestones=5+3", "milestones of the schedule multistep cannot be '5+3'"),
        ("multistep:milestones=x", "milestones of the schedule multistep cannot be 'x'"),
        ("multistep:milestones=3:warmup=3", "the warm-up of 3 epochs reaches the first milestone, 3"),
        ("stepping:factors=1+2", "2 boundaries part 3 factors, not 2"),
        ("stepping:factors=1+-1+0", "factors of the schedule stepping cannot be '1+-1+0'"),
        ("poly:epochs=0", "epochs of the schedule poly cannot be '0'"),
        ("linear-warmup:warmup=inf", "warmup of the schedule linear-warmup cannot be 'inf'"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_with_what_is_valid(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        recipes.choose("task1a", "custom", {"schedule": text})
    assert words in str(raised.value.what)
    assert raised.value.fix


@pytest.mark.parametrize("task", OWN)
def test_the_recipes_own_words_stay(task: str) -> None:
    for word in OWN[task]:
        recipes.choose(task, "custom", {"schedule": word, **({"cycle_epochs": "2"} if word == "one-cycle" else {})})
    with pytest.raises(UsageError, match=f"{task} has no schedule 'none'"):
        recipes.choose(task, "custom", {"schedule": "none"})


@pytest.mark.parametrize("name", TASKS)
def test_a_task_steps_with_the_schedule_that_is_named(request: Any, name: str) -> None:
    """From half an epoch on it steps at a quarter of the rate it began with, whatever else scales the rate."""
    plain, named = (TASKS[name](request, schedule=text) for text in ("constant", "multistep:milestones=0.5:gamma=0.25"))
    shares = []
    for task in (plain, named):
        rates = []
        for batch in task.batches(1):
            for part in batch.parts or (batch,):
                objective, _ = task.forward(part)
                objective.backward()
            task.optimise()
            rates.append(task._optimiser.param_groups[0]["lr"])
        shares.append(rates)
    assert len(shares[0]) > 3
    ratios = [b / a for a, b in zip(*shares, strict=True)]
    assert ratios[0] == pytest.approx(1)
    assert ratios[-1] == pytest.approx(0.25)
    assert sorted(ratios, reverse=True) == ratios
