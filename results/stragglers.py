"""Who the others waited for, in which phase that rank lost its time, and what the steps would have taken otherwise.

A rank's *window* of a step is its own work between two meetings: optimiser and other of the step before, then input,
host-to-device, forward and backward. The group's step takes the longest window plus the exposed transfer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .breakdown import Breakdown
from .columns import ABSENT, Integers
from .intervals import Times, union_within_ns

BEFORE: Final = ("optimiser", "other")
"""Phases of the step before that a window begins with."""
WINDOW: Final = (*BEFORE, "input", "host_to_device", "forward", "backward")


@dataclass
class Stragglers:
    """Sums over the windows seen so far; arrays are by rank, in the order of the join."""

    ranks: tuple[int, ...]
    certain_ns: int
    """Waits up to this are within the clocks' error: nobody is blamed for them."""
    windows: int = 0
    balanced: int = 0
    """Windows in which nobody was waited for."""
    critical: Integers = field(init=False)
    """How often each rank was the one waited for."""
    caused_ns: Integers = field(init=False)
    """How long the others waited for it: the median over them, summed up."""
    blamed: Integers = field(init=False)
    """How often a rank was the one waited for because of each of `WINDOW`, shape (R, 6)."""
    excess_ns: Integers = field(init=False)
    """How much longer than the median of the others' that phase was, summed up, shape (R, 6)."""
    window_ns: Integers = field(init=False)
    longest_ns: int = 0
    longest_without_ns: Integers = field(init=False)
    """The longest window of the other ranks, summed up."""
    transfer_ns: float = 0.0
    """Exposed transfer, mean over ranks, summed up."""
    transfer_at_twice_ns: float = 0.0
    """Likewise if every byte took half the time."""
    _before: tuple[int, Integers] | None = None

    def __post_init__(self) -> None:
        ranks = len(self.ranks)
        self.critical, self.caused_ns, self.window_ns, self.longest_without_ns = np.zeros((4, ranks), np.int64)
        self.blamed, self.excess_ns = np.zeros((2, ranks, len(WINDOW)), np.int64)

    def add(self, steps: Breakdown, counted: np.ndarray) -> None:
        """Take in the next steps.

        Args:
            counted: which of them count (not those of the warm-up), shape (S,).
        """
        windows, follows = self._windows(steps)
        which = follows & counted
        if not which.any():
            return
        windows, waits = windows[:, :, which], steps.wait_ns[:, which]
        self.windows += int(which.sum())
        whole = windows.sum(axis=0)
        self.window_ns += whole.sum(axis=1)
        self._what_if(steps, whole, which)
        if len(self.ranks) > 1:
            self._blame(windows, waits)

    def _windows(self, steps: Breakdown) -> tuple[Integers, np.ndarray]:
        """Each of `WINDOW` by rank and step, shape (6, R, S), and for which steps the step before is known."""
        joined, number = steps.joined, steps.joined["step"][0]
        # The launching of collectives lies between windows: only what the log itself calls other counts.
        tails = np.stack([joined[f"{phase}_ns"] for phase in BEFORE])
        last_number, last_tail = self._before or (-2, np.zeros_like(tails[:, :, 0]))
        before = np.concatenate([last_tail[:, :, None], tails[:, :, :-1]], axis=2)
        follows = number == np.concatenate([[last_number], number[:-1]]) + 1
        self._before = int(number[-1]), tails[:, :, -1]
        own = np.stack([joined[f"{phase}_ns"] for phase in WINDOW[len(BEFORE) :]])
        return np.concatenate([before, own]), follows

    def _blame(self, windows: Integers, waits: Integers) -> None:
        steps = np.arange(waits.shape[1])
        slowest = waits.argmin(axis=0)
        caused = median_of_others(waits, slowest)
        late = caused - waits[slowest, steps] > self.certain_ns
        self.balanced += int((~late).sum())
        others = np.stack([median_of_others(phase, slowest) for phase in windows])
        excess = windows[:, slowest, steps] - others
        phase = excess.argmax(axis=0)
        np.add.at(self.critical, slowest[late], 1)
        np.add.at(self.caused_ns, slowest[late], caused[late])
        np.add.at(self.blamed, (slowest[late], phase[late]), 1)
        np.add.at(self.excess_ns, (slowest[late], phase[late]), excess[phase, steps][late])

    def _what_if(self, steps: Breakdown, whole: Integers, which: np.ndarray) -> None:
        longest = whole.max(axis=0)
        self.longest_ns += int(longest.sum())
        self.longest_without_ns += longest.sum()
        if len(self.ranks) > 1:
            # Without any rank but the slowest the longest window stays what it is.
            slowest, second = whole.argmax(axis=0), np.partition(whole, -2, axis=0)[-2]
            np.subtract.at(self.longest_without_ns, slowest, longest - second)
        self.transfer_ns += float(steps.parts["exposed_transfer"][:, which].mean(axis=0).sum())
        self.transfer_at_twice_ns += float(_transfer_at_twice(steps)[:, which].mean(axis=0).sum())


def median_of_others(values: Integers, left_out: Integers) -> Integers:
    """The median over ranks of `values` (R, S) without the rank `left_out[s]` in column s."""
    mask = np.arange(len(values))[:, None] != left_out
    rest = values.T[mask.T].reshape(values.shape[1], len(values) - 1)
    middle: Integers = np.median(rest, axis=1).astype(np.int64)
    return middle


def _transfer_at_twice(steps: Breakdown) -> Times:
    """Exposed transfer if the link were twice as fast: each collective, one behind the other, in half its time."""
    joined = steps.joined
    there = joined.arrival_ns != ABSENT
    end = np.where(there, joined.end_ns, 0)
    begin, finish = steps.release_ns.copy(), end.copy()
    behind = behind_now = np.zeros(end.shape[:2], np.int64)
    for k in range(end.shape[2]):
        alone = np.maximum(0, end[..., k] - np.maximum(steps.release_ns[..., k], behind))
        begin[..., k] = np.maximum(steps.release_ns[..., k], behind_now)
        finish[..., k] = begin[..., k] + alone // 2
        behind, behind_now = np.maximum(behind, end[..., k]), np.maximum(behind_now, finish[..., k])
    return union_within_ns(begin, finish, joined.blocked_start_ns, joined.blocked_end_ns)
