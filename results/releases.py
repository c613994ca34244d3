"""When the last of those that a collective waits for was there: of all ranks, or of the group that the log names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .clocks import RankClock
from .columns import ABSENT, Group, Integers
from .join import Joined

_LONG_AGO = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Release:
    """Of S steps of R ranks with K collectives each."""

    release_ns: Integers
    """By each rank's own clock, from its own start of the step, between its arrival and its end, shape (R, S, K)."""
    blocker: Integers | None
    """The place of the rank that each waited for longest, shape (R, S); None where all wait for all."""
    all_meet: bool
    """Whether every rank waits for every other in each step, if by way of others."""


class Releases:
    """For the steps of a run, handed over piece by piece in their order: some wait for others' earlier steps."""

    def __init__(self, clocks: Mapping[int, RankClock] | None) -> None:
        """Take in no step yet.

        Args:
            clocks: of every rank; None for the way without clocks, which takes the shortest duration of a collective
                over its ranks for its transfer: true where one of them arrives last and all end together. Nothing
                is known that way of waiting for earlier steps, which then counts as transfer.
        """
        self._clocks = clocks
        self._before: tuple[Integers, Integers] | None = None  # numbers of steps (H,), their arrivals (R, H, K)

    def of(self, joined: Joined, arrival: Integers, end: Integers) -> Release:
        """The releases of the next steps; `arrival` and `end` as in `joined`, with 0 for a collective there is not."""
        if self._clocks is None:
            # Whose collective was the shortest came last; the longer, the earlier.
            last, own = arrival - end, np.zeros_like(end)
        else:
            start = joined["start_ns"][..., None]
            # Each rank's clock at its own arrival: over one step even a bad clock keeps its rate.
            ahead = np.stack(
                [self._clocks[rank].to_first_ns(start[r] + arrival[r]) for r, rank in enumerate(joined.ranks)]
            )
            last, own = start + arrival + ahead, ahead + start
        latest, by = self._latest(joined, last)
        release = np.clip(latest + end if self._clocks is None else latest - own, arrival, end)
        return Release(release, *_who(joined, release - arrival, by))

    def _latest(self, joined: Joined, last: Integers) -> tuple[Integers, Integers | None]:
        """The largest of `last` (R, S, K) over those waited for, and whose it is; None where all wait for all."""
        if not joined.groups:
            return np.broadcast_to(last.max(axis=0), last.shape), None
        latest, by = np.zeros_like(last), np.zeros_like(last)
        for behind, values in self._shifted(joined, last).items():
            for r, places, which in _groups(joined, behind):
                others = values[places].copy()
                others[places.index(r)] = last[r]
                chosen = others.argmax(axis=0)
                latest[r][which] = np.take_along_axis(others, chosen[None], 0)[0][which]
                by[r][which] = np.array(places)[chosen][which]
        return latest, by

    def _shifted(self, joined: Joined, last: Integers) -> dict[int, Integers]:
        """Steps behind -> `last` of so many steps before; long ago where that step is not known."""
        behind = {group.steps_behind for groups in joined.groups.values() for group in groups.values()} | {0}
        if behind == {0}:
            return {0: last}
        number = joined["step"][0]
        last = np.where(joined.arrival_ns == ABSENT, _LONG_AGO, last)
        if self._before is None:
            numbers, values = number, last
        else:
            numbers = np.concatenate([self._before[0], number])
            values = np.concatenate([_wide(self._before[1], last.shape[2]), _wide(last, self._before[1].shape[2])], 1)
        self._before = numbers[-max(behind) :], values[:, -max(behind) :]
        shifted = {}
        for steps in behind:
            place = np.minimum(np.searchsorted(numbers, number - steps), len(numbers) - 1)
            known = (numbers[place] == number - steps) & (self._clocks is not None or steps == 0)
            shifted[steps] = np.where(known[:, None], values[:, place, : last.shape[2]], _LONG_AGO)
        return shifted


def _groups(joined: Joined, behind: int) -> Iterator[tuple[int, list[int], np.ndarray]]:
    """Each rank's place, the places of those it waits for, and in which collectives, shape (S, K)."""
    place_of = {rank: place for place, rank in enumerate(joined.ranks)}
    for r, rank in enumerate(joined.ranks):
        for number in np.unique(joined.group[r]):
            group = _group(joined, rank, int(number))
            if number != ABSENT and group.steps_behind == behind:
                named = group.ranks or joined.ranks
                yield r, sorted({place_of[p] for p in named if p in place_of} | {r}), joined.group[r] == number


def _group(joined: Joined, rank: int, number: int) -> Group:
    return joined.groups.get(rank, {}).get(number, Group())


def _who(joined: Joined, waits: Integers, by: Integers | None) -> tuple[Integers | None, bool]:
    if by is None or not waits.shape[2]:
        return None, by is None
    longest = waits.argmax(axis=2)
    blocker: Integers = np.take_along_axis(by, longest[..., None], 2)[..., 0]
    return blocker, _all_meet(joined)


def _all_meet(joined: Joined) -> bool:
    """Whether in the first of these steps what every rank did before it reaches every other."""
    met = {rank: {rank} for rank in joined.ranks}
    for k in range(joined.group.shape[2]):
        groups = [_group(joined, rank, int(joined.group[r, 0, k])) for r, rank in enumerate(joined.ranks)]
        if any(group.steps_behind for group in groups):
            continue
        named = {rank: set(group.ranks or joined.ranks) & set(met) for rank, group in zip(met, groups, strict=True)}
        met = {rank: met[rank].union(*(met[other] for other in others)) for rank, others in named.items()}
    return all(len(others) == len(met) for others in met.values())


def _wide(array: Integers, width: int) -> Integers:
    missing = width - array.shape[2]
    return array if missing <= 0 else np.pad(array, ((0, 0), (0, 0), (0, missing)), constant_values=_LONG_AGO)
