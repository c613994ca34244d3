"""Laps: every moment of a step belongs to one phase, whatever the sequence of calls."""

import itertools
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from mlb.results.keys import PHASES
from mlb.runners.clock import HostClock, Mark
from mlb.runners.stopwatch import Stopwatch


class ScriptedClock:
    """Marks at given times; they become ready when the test says so, as a GPU's events do."""

    def __init__(self, times: Iterator[int]) -> None:
        self._times = times
        self.ready_until = 1 << 62

    def mark(self) -> Mark:
        return next(self._times)

    def ready(self, mark: Mark) -> bool:
        assert isinstance(mark, int)
        return mark <= self.ready_until

    def time_ns(self, mark: Mark) -> int:
        assert isinstance(mark, int)
        return mark

    def settle(self) -> None:
        return None


def running_sum(gaps: list[int]) -> Iterator[int]:
    now = 1_000
    for gap in gaps:
        now += gap
        yield now


@given(
    st.lists(st.lists(st.sampled_from(PHASES), max_size=8), min_size=1, max_size=5),
    st.lists(st.integers(0, 10**9), min_size=60, max_size=60),
)
def test_phases_add_up_to_the_step_and_steps_to_the_epoch(steps: list[list[str]], gaps: list[int]) -> None:
    watch = Stopwatch(ScriptedClock(running_sum(gaps)))
    start: Mark | None = None
    for number, phases in enumerate(steps):
        watch.begin(1, number, start=start)
        for phase in phases:
            watch.lap(phase)
        start = watch.end()
    done = [watch.times(step) for step in watch.finished(wait=True)]
    assert len(done) == len(steps)
    for times in done:
        assert sum(times[f"{phase}_ns"] for phase in PHASES) == times["step_ns"]
    marks = list(running_sum(gaps))
    used = 1 + sum(len(phases) + 1 for phases in steps)
    assert sum(times["step_ns"] for times in done) == marks[used - 1] - marks[0]
    for before, after in itertools.pairwise(done):
        assert after["start_ns"] == before["start_ns"] + before["step_ns"], "time fell between two steps"


def test_each_lap_goes_to_its_phase() -> None:
    watch = Stopwatch(ScriptedClock(iter([100, 103, 110, 111, 115])))
    watch.begin(2, 7)
    watch.lap("input")
    watch.lap("forward")
    watch.lap("input")
    watch.end()
    (step,) = watch.finished()
    times = watch.times(step)
    assert (times["start_ns"], times["step_ns"]) == (100, 15)
    assert (times["input_ns"], times["forward_ns"], times["other_ns"]) == (4, 7, 4)


def test_waiting_inside_of_a_phase_is_communication() -> None:
    """As an optimiser does that needs a norm of what is shared out: it once counted as the optimiser's."""
    watch = Stopwatch(ScriptedClock(iter([100, 103, 105, 106, 110, 111, 117, 117])))
    watch.begin(2, 7)
    watch.lap("forward")
    with watch.blocking("optimiser"):
        ended = watch.collective("all_reduce", 20)
        ended()
    watch.lap("optimiser")
    watch.end()
    (step,) = watch.finished()
    times = watch.times(step)
    assert (times["forward_ns"], times["optimiser_ns"], times["communication_ns"]) == (3, 2 + 6, 6)
    assert (times["blocked_start_ns"], times["blocked_end_ns"]) == ([5], [11])
    assert (times["collective_arrival_ns"], times["collective_end_ns"]) == ([6], [10])


def test_steps_wait_for_the_device_without_making_it_wait() -> None:
    clock = ScriptedClock(iter([0, 10, 20]))
    watch = Stopwatch(clock)
    watch.begin(1, 0)
    start = watch.end()
    watch.begin(1, 1, start=start)
    watch.end()
    clock.ready_until = 9
    assert watch.finished() == []
    clock.ready_until = 10
    assert [step.step for step in watch.finished()] == [0]
    assert [step.step for step in watch.finished(wait=True)] == [1]


def test_an_abandoned_step_leaves_nothing() -> None:
    watch = Stopwatch(HostClock())
    watch.begin(1, 0)
    watch.abandon()
    assert watch.finished(wait=True) == []
