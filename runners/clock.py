"""Marks on a rank's timeline: the monotonic clock on a CPU, CUDA events on the training stream on a GPU.

A mark is taken without waiting for the device; its time may be asked for once `ready` says so.
"""

from __future__ import annotations

import time
from typing import Protocol

import torch

Mark = int | torch.cuda.Event


class Clock(Protocol):
    """Takes marks and tells their times, in nanoseconds of the node's monotonic clock."""

    def mark(self) -> Mark:
        """Now, on the device's timeline."""

    def ready(self, mark: Mark) -> bool:
        """Whether the mark's time is known yet, without waiting."""

    def time_ns(self, mark: Mark) -> int:
        """The mark's time; waits for the device where it has not come to the mark yet."""

    def settle(self) -> None:
        """Wait for the device and set its timeline by the host's clock anew; for outside of steps only."""


class HostClock:
    """For CPU ranks: work is done when a call returns, so the host's clock is the device's."""

    def mark(self) -> Mark:
        return time.monotonic_ns()

    def ready(self, mark: Mark) -> bool:  # noqa: ARG002  # the protocol's signature
        return True

    def time_ns(self, mark: Mark) -> int:
        assert isinstance(mark, int)
        return mark

    def settle(self) -> None:
        return None


class CudaClock:
    """For GPU ranks: events on the current stream, placed on the host's clock by an anchor.

    CUDA's events know the time between two of them, as a 32-bit float of milliseconds, not the time of day. The
    anchor is an event recorded on an idle device right beside a reading of the host's clock; an idle device starts
    an event microseconds after its launch, which bounds the anchor's error. The anchor moves along with the marks
    (a 32-bit float holds one second to 60 ns, an hour only to 250 microseconds), and `settle` renews it from the
    host's clock, since the two clocks drift apart.
    """

    _HOP_MS = 1000.0

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._anchor, self._anchor_ns = self._new_anchor()

    def mark(self) -> Mark:
        return self._record()

    def ready(self, mark: Mark) -> bool:
        assert isinstance(mark, torch.cuda.Event)
        return bool(mark.query())  # type: ignore[no-untyped-call]  # torch does not annotate its events

    def time_ns(self, mark: Mark) -> int:
        assert isinstance(mark, torch.cuda.Event)
        mark.synchronize()
        since_ms: float = self._anchor.elapsed_time(mark)
        now_ns = self._anchor_ns + round(since_ms * 1e6)
        if since_ms > self._HOP_MS:
            self._anchor, self._anchor_ns = mark, now_ns
        return now_ns

    def settle(self) -> None:
        self._anchor, self._anchor_ns = self._new_anchor()

    def _new_anchor(self) -> tuple[torch.cuda.Event, int]:
        torch.cuda.synchronize(self._device)
        now_ns = time.monotonic_ns()
        anchor = self._record()
        anchor.synchronize()
        return anchor, now_ns

    def _record(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # as above
        event.record(torch.cuda.current_stream(self._device))
        return event


def clock_for(device: torch.device) -> Clock:
    """The clock that tells the truth about work on `device`."""
    return CudaClock(device) if device.type == "cuda" else HostClock()
