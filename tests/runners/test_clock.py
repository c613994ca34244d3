"""The GPU's clock on a device that is made of numbers: it never waits inside a step, and keeps time over an hour.

The device itself is only to be had with a GPU (benchmarks/gpu_split.py); what is tested here is what is asked of it.
"""

from typing import Any

import numpy as np
import pytest
import torch
from mlb.runners.clock import CudaClock
from mlb.runners.stopwatch import Stopwatch


class Device:
    """Comes to the events in order, each some time after it was recorded, and counts who waits for it."""

    def __init__(self) -> None:
        self.host_ns = 5_000_000_000_000
        self.lag_ns = 0
        """How far the device is behind the host."""
        self.waits = 0

    def reached(self, event: "Event") -> bool:
        return event.time_ns <= self.host_ns

    def wait(self, *_: Any) -> None:
        self.waits += 1
        self.host_ns, self.lag_ns = self.host_ns + self.lag_ns, 0


class Event:
    """Knows times as CUDA does: the distance of two events, in milliseconds, as a 32-bit float."""

    device: Device

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.time_ns = -1

    def record(self, _stream: Any) -> None:
        self.time_ns = self.device.host_ns + self.device.lag_ns

    def query(self) -> bool:
        return self.device.reached(self)

    def synchronize(self) -> None:
        if not self.device.reached(self):
            self.device.wait()

    def elapsed_time(self, other: "Event") -> float:
        return float(np.float32((other.time_ns - self.time_ns) / 1e6))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    found = Device()
    monkeypatch.setattr(Event, "device", found, raising=False)
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.current_stream", lambda _device: None)
    monkeypatch.setattr("torch.cuda.synchronize", found.wait)
    monkeypatch.setattr("time.monotonic_ns", lambda: found.host_ns)
    return found


def test_a_step_never_waits_for_the_device(device: Device) -> None:
    watch = Stopwatch(CudaClock(torch.device("cuda", 0)))
    device.waits, device.lag_ns = 0, 40_000_000
    start = None
    for number in range(5):
        watch.begin(1, number, start=start)
        for phase, host_ns in (("input", 100_000), ("forward", 300_000), ("backward", 500_000)):
            device.host_ns += host_ns
            device.lag_ns += 9 * host_ns  # the device needs ten times as long as the launching
            ended = watch.collective("all_reduce", 8)
            watch.lap(phase)
            ended()
        start = watch.end()
        assert watch.finished() == [], "the device is not there yet"
    assert device.waits == 0, "neither a step nor asking for what is finished waits"
    device.host_ns += device.lag_ns
    device.lag_ns = 0
    steps = watch.finished()
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    for times in map(watch.times, steps[1:]):
        assert times["forward_ns"] == pytest.approx(3_000_000, abs=200)
        assert times["backward_ns"] == pytest.approx(5_000_000, abs=200)
    assert device.waits == 0, "what is ready is read without waiting"


def test_an_hour_of_marks_is_told_to_twenty_microseconds(device: Device) -> None:
    """A 32-bit float of an hour's milliseconds is wrong by a quarter of a millisecond: the anchor has to move along."""
    clock = CudaClock(torch.device("cuda", 0))
    worst = 0
    for number in range(36_000):
        device.host_ns += 100_000_000 + number % 977
        mark = clock.mark()
        worst = max(worst, abs(clock.time_ns(mark) - device.host_ns))
    assert worst < 20_000


def test_settling_takes_the_drift_out(device: Device) -> None:
    clock = CudaClock(torch.device("cuda", 0))
    device.lag_ns = 3_000_000
    mark = clock.mark()
    assert clock.time_ns(mark) - device.host_ns == pytest.approx(0, abs=200), "it waits where it is asked for the time"
    device.lag_ns = 7_000_000
    clock.settle()
    assert device.lag_ns == 0
    assert clock.time_ns(clock.mark()) == pytest.approx(device.host_ns, abs=200)
