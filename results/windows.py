"""A rank's own work between two meetings with others: what it is made of, and what it comes to in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .breakdown import Breakdown
from .columns import ABSENT, Integers

BEFORE: Final = ("optimiser", "other")
"""Phases of the step before that a window begins with, where the ranks meet before the optimiser's step."""
WINDOW: Final = (*BEFORE, "input", "host_to_device", "forward", "backward")


@dataclass(frozen=True)
class Window:
    """The windows of S steps of R ranks."""

    phases: Integers
    """Each of `WINDOW` since the meeting before, up to the one with the longest wait, shape (6, R, S)."""
    whole: Integers
    """All own work of a step, whatever meetings lie within it, shape (R, S)."""
    follows: np.ndarray
    """For which steps the step before is known, shape (S,)."""
    meets: np.ndarray
    """In which steps there is a meeting at all, shape (S,)."""


class Windows:
    """For the steps of a run, handed over piece by piece in their order."""

    def __init__(self) -> None:
        self._number = -2
        self._tail: Integers | None = None  # `BEFORE` of the last step, (2, R)
        self._met_late = False
        self._since: Integers | None = None  # work since the last meeting, (6, R)

    def of(self, steps: Breakdown) -> Window:
        """The windows of the next steps."""
        joined, number = steps.joined, steps.joined["step"][0]
        early, after, late = _meetings(steps)
        # The launching of collectives lies between windows: only what the log itself calls other counts.
        tails = np.stack([joined[f"{phase}_ns"] for phase in BEFORE])
        first = np.zeros_like(tails[:, :, 0]) if self._tail is None else self._tail
        before = np.concatenate([first[:, :, None], tails[:, :, :-1]], axis=2)
        met_late = np.concatenate([[self._met_late], after[:-1]])
        follows = number == np.concatenate([[self._number], number[:-1]]) + 1
        self._number, self._tail, self._met_late = int(number[-1]), tails[:, :, -1], bool(after[-1])
        work = np.stack([joined[f"{phase}_ns"] for phase in WINDOW[len(BEFORE) :]])
        only_late = after & ~early
        whole = work.sum(axis=0) + before[1] + np.where(only_late, tails[0], before[0])
        if not after.any() and not met_late.any() and early.all():
            return Window(np.concatenate([before, work]), whole, follows, early)
        # A meeting in the middle of the step has taken what lies before it: later ones wait for what follows only.
        rest = np.where(late & early, 0, 1)
        optimiser = np.where(late, tails[0], 0) + np.where(met_late | (late & early), 0, before[0])
        phases = np.concatenate([optimiser[None], (before[1] * rest)[None], work * rest])
        meets = early | after
        return Window(self._since_meeting(phases, meets), whole, follows, meets)

    def _since_meeting(self, phases: Integers, meets: np.ndarray) -> Integers:
        """Add up the steps without a meeting to the next that has one."""
        since = np.zeros_like(phases[:, :, 0]) if self._since is None else self._since
        if meets.all() and not since.any():
            return phases
        total = np.cumsum(np.concatenate([since[:, :, None], phases], axis=2), axis=2)
        # For each step the place in `total` of the last meeting before it; 0 if there is none in this piece.
        last = np.concatenate([[0], np.maximum.accumulate(np.where(meets, np.arange(1, len(meets) + 1), 0))])
        at_meeting = np.where(last > 0, total[:, :, last], 0)
        self._since = total[:, :, -1] - at_meeting[:, :, -1]
        summed: Integers = total[:, :, 1:] - at_meeting[:, :, :-1]
        return summed


def _meetings(steps: Breakdown) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each step (S,): has it a meeting before the optimiser's step, one after it, and is the longest wait there?

    By the first rank's log: what comes after the optimiser lies in a blocked stretch that reaches up to `other`.
    """
    joined = steps.joined
    there = joined.operation != ABSENT
    none = np.zeros(len(there), np.bool_)
    if not there.shape[1] or not joined.blocked_end_ns.shape[2]:
        return there.any(axis=1), none, none
    last = joined.blocked_end_ns[0].argmax(axis=1)[:, None]
    begin, end = (np.take_along_axis(spans[0], last, 1)[:, 0]
                  for spans in (joined.blocked_start_ns, joined.blocked_end_ns))  # fmt: skip
    own_end = joined["step_ns"][0] - joined["other_ns"][0]
    reaches = (end > begin) & (end >= own_end) & (joined["optimiser_ns"][0] > 0)
    if not reaches.any():
        return there.any(axis=1), none, none
    after = there & reaches[:, None] & (joined.arrival_ns[0] >= begin[:, None])
    longest = (steps.release_ns - joined.arrival_ns).max(axis=0).argmax(axis=1)[:, None]
    return (there & ~after).any(axis=1), after.any(axis=1), np.take_along_axis(after, longest, 1)[:, 0]
