"""Who the others waited for, in which phase that rank lost its time, and what the steps would have taken otherwise.

The blame falls on a phase of the rank's *window*, its own work since the ranks met before (windows.py). Where all ranks
meet in every step, the group's step takes the longest own work plus the exposed transfer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .breakdown import Breakdown
from .columns import ABSENT, Integers
from .course import Course
from .intervals import Times, union_within_ns
from .windows import WINDOW, Windows


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
    all_meet: bool = True
    """Whether all ranks met in every step: without that nothing is known of the step of the group."""
    course: Course = field(init=False)
    """Who was waited for, step after step."""
    _windows: Windows = field(default_factory=Windows)

    def __post_init__(self) -> None:
        ranks = len(self.ranks)
        self.course = Course(self.ranks)
        self.critical, self.caused_ns, self.window_ns, self.longest_without_ns = np.zeros((4, ranks), np.int64)
        self.blamed, self.excess_ns = np.zeros((2, ranks, len(WINDOW)), np.int64)

    def add(self, steps: Breakdown, counted: np.ndarray) -> None:
        """Take in the next steps.

        Args:
            counted: which of them count (not those of the warm-up), shape (S,).
        """
        window = self._windows.of(steps)
        which = window.follows & counted
        if not which.any():
            return
        self.windows += int(which.sum())
        self.all_meet = self.all_meet and steps.all_meet and bool(window.meets[which].all())
        whole = window.whole[:, which]
        self.window_ns += whole.sum(axis=1)
        self._what_if(steps, whole, which)
        if len(self.ranks) > 1:
            blocker = None if steps.blocker is None else steps.blocker[:, which]
            numbers = steps.joined["step"][0, which]
            self._blame(numbers, window.phases[:, :, which], steps.wait_ns[:, which], blocker)

    def _blame(self, numbers: Integers, windows: Integers, waits: Integers, blocker: Integers | None) -> None:
        steps = np.arange(waits.shape[1])
        if blocker is None:
            slowest = waits.argmin(axis=0)
            caused = median_of_others(waits, slowest)
            late = caused - waits[slowest, steps] > self.certain_ns
        else:
            slowest, caused = most_waited_for(waits, blocker)
            late = caused > self.certain_ns
        others = np.stack([median_of_others(phase, slowest) for phase in windows])
        excess = windows[:, slowest, steps] - others
        if blocker is not None:
            # Who was held up by others itself only passes their lateness on to its neighbours.
            late &= 2 * excess.sum(axis=0) > caused
        self.balanced += int((~late).sum())
        self.course.add(numbers, slowest, late)
        phase = excess.argmax(axis=0)
        np.add.at(self.critical, slowest[late], 1)
        np.add.at(self.caused_ns, slowest[late], caused[late])
        named = late & (excess[phase, steps] > 0)
        np.add.at(self.blamed, (slowest[named], phase[named]), 1)
        np.add.at(self.excess_ns, (slowest[named], phase[named]), excess[phase, steps][named])

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


def most_waited_for(waits: Integers, blocker: Integers) -> tuple[Integers, Integers]:
    """Of each step, the place of the rank that the others waited for longest together, and their median wait for it.

    Args:
        waits: shape (R, S).
        blocker: the place of the rank that each waited for.
    """
    by_whom = np.stack([np.where(blocker == place, waits, 0) for place in range(len(waits))])
    slowest = by_whom.sum(axis=1).argmax(axis=0)
    own = np.take_along_axis(by_whom, slowest[None, None], 0)[0]
    waited = np.sort(own, axis=0)
    # The middle one of those that waited at all: they are the last ones in order.
    those = (own > 0).sum(axis=0)
    middle = np.minimum(len(waits) - 1 - (those - 1) // 2, len(waits) - 1)
    return slowest, np.where(those > 0, waited[middle, np.arange(waits.shape[1])], 0)


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
