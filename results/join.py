"""Brings the ranks' steps together: a merge of sorted logs, in memory that does not grow with the run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from .columns import ABSENT, NUMBERS, Group, Integers, StepColumns, padded
from .reader import RankReader


@dataclass
class JoinHealth:
    """What could not be brought together, counted."""

    joined: int = 0
    """Steps that every rank has, with the same collectives."""
    steps: dict[int, int] = field(default_factory=dict)
    """Rank -> steps it logged."""
    alone: int = 0
    """Steps that some rank lacks."""
    mismatched: int = 0
    """Steps in which the ranks did not log the same collectives."""
    first_mismatch: int | None = None
    unknown_groups: int = 0
    """Steps with a collective of a group that the log does not tell of."""
    unended: int = 0
    """Steps with a collective that never ended on some rank."""
    misplaced: int = 0
    """Steps that do not come after the one before them: left out."""
    backwards: dict[int, int] = field(default_factory=dict)
    """Rank -> first step that begins before the one before it has: its clock ran backwards."""


@dataclass(frozen=True)
class Joined:
    """The same S steps of R ranks, in order, with the same K collectives in each."""

    ranks: tuple[int, ...]
    numbers: dict[str, Integers]
    """Each of `columns.NUMBERS`, shape (R, S)."""
    warmup: np.ndarray
    """Shape (S,)."""
    groups: dict[int, dict[int, Group]]
    """Rank -> its groups, by number; empty where every collective waits for all ranks."""
    group: Integers
    """Whom each collective waits for, shape (R, S, K); 0 for all ranks."""
    operation: Integers
    """Shape (S, K); `ABSENT` where a step has fewer than K."""
    payload_bytes: Integers
    """Shape (S, K)."""
    arrival_ns: Integers
    """From the rank's own start of the step, shape (R, S, K)."""
    end_ns: Integers
    blocked_start_ns: Integers
    """Shape (R, S, J)."""
    blocked_end_ns: Integers

    def __getitem__(self, name: str) -> Integers:
        return self.numbers[name]


class Buffer:
    """The steps of one rank that are not joined yet."""

    def __init__(self, reader: RankReader, health: JoinHealth) -> None:
        self.reader = reader
        self.rank = reader.record.rank
        self.steps: StepColumns | None = None
        self._read: Future[StepColumns | None] | None = None
        self._health = health
        self._last: tuple[int, int] | None = None  # step, start

    def read_on(self, pool: Executor) -> None:
        """Have the pool read the next steps, where there are none; `fill` waits for them."""
        if not self.steps and self._read is None:
            self._read = pool.submit(self._next_steps)

    def fill(self) -> bool:
        """Read on until there is a step; False at the log's end."""
        while not self.steps:
            read = self._read.result() if self._read else self._next_steps()
            self._read = None
            if read is None:
                return False
            self.steps = self._in_order(read)
        return True

    def _next_steps(self) -> StepColumns | None:
        while self.reader.more():
            steps = self.reader.steps()
            if steps:
                return steps
        return self.reader.steps()

    def take_to(self, step: int) -> StepColumns:
        """The steps up to this one; they leave the buffer."""
        assert self.steps is not None
        places = int(np.searchsorted(self.steps["step"], step, side="right"))
        taken, self.steps = self.steps.take(slice(places)), self.steps.take(slice(places, None))
        return taken

    def _in_order(self, steps: StepColumns) -> StepColumns:
        """Without those that do not follow; notes where the clock ran backwards."""
        self._health.steps[self.rank] = self._health.steps.get(self.rank, 0) + len(steps)
        number, start = steps["step"], steps["start_ns"]
        last_step, last_start = self._last or (-1, -1)
        follows = number > np.maximum.accumulate(np.concatenate([[last_step], number[:-1]]))
        earlier = np.flatnonzero(start < np.concatenate([[last_start], start[:-1]]))
        if len(earlier):
            self._health.backwards.setdefault(self.rank, int(number[earlier[0]]))
        self._last = max(last_step, int(number.max())), int(start[-1])
        if follows.all():
            return steps
        self._health.misplaced += int((~follows).sum())
        return steps.take(follows)


def join(readers: Sequence[RankReader], health: JoinHealth) -> Iterator[Joined]:
    """The steps that all of these ranks have, in order; reads every log to its end, whatever it holds.

    Args:
        health: counts what could not be joined; complete when the iterator has ended.
    """
    buffers = [Buffer(reader, health) for reader in readers]
    for buffer in buffers:
        health.steps[buffer.rank] = 0
    # Much of reading happens outside of Python's lock: beside each other, and beside what is done with the steps.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from _merged(buffers, health, pool)
    _read_rest(buffers, health)


def _merged(buffers: Sequence[Buffer], health: JoinHealth, pool: ThreadPoolExecutor) -> Iterator[Joined]:
    while buffers and _filled(buffers, pool):
        # The readers go on while what they read is looked at.
        groups = {buffer.rank: dict(buffer.reader.record.groups) for buffer in buffers}
        upto = min(int(buffer.steps["step"][-1]) for buffer in buffers if buffer.steps is not None)
        parts = [buffer.take_to(upto) for buffer in buffers]
        for buffer in buffers:
            buffer.read_on(pool)
        common = parts[0]["step"]
        for part in parts[1:]:
            common = np.intersect1d(common, part["step"], assume_unique=True)
        health.alone += len(np.unique(np.concatenate([part["step"] for part in parts]))) - len(common)
        if len(common):
            found = [part.take(np.isin(part["step"], common, assume_unique=True)) for part in parts]
            yield from _stacked(groups, found, health)


def _filled(buffers: Sequence[Buffer], pool: ThreadPoolExecutor) -> bool:
    """Whether each buffer has steps; all that must be read for it is read at once."""
    for buffer in buffers:
        buffer.read_on(pool)
    return all(buffer.fill() for buffer in buffers)


def _read_rest(buffers: Sequence[Buffer], health: JoinHealth) -> None:
    rest = []
    for buffer in buffers:
        while buffer.fill():
            assert buffer.steps is not None
            rest.append(buffer.steps["step"])
            buffer.steps = None
    if rest:
        health.alone += len(np.unique(np.concatenate(rest)))


def _stacked(
    groups: Mapping[int, dict[int, Group]], parts: Sequence[StepColumns], health: JoinHealth
) -> Iterator[Joined]:
    """The parts as one block, without the steps whose collectives do not match; `groups` of each part's rank."""
    collectives = max(part.operation.shape[1] for part in parts)
    spans = max(part.blocked_start_ns.shape[1] for part in parts)

    def stack(name: str, width: int) -> Integers:
        return np.stack([padded(getattr(part, name), width) for part in parts])

    operation, payload = stack("operation", collectives), stack("collective_bytes", collectives)
    arrival, end = stack("arrival_ns", collectives), stack("end_ns", collectives)
    same = ((operation == operation[0]) & (payload == payload[0])).all(axis=(0, 2))
    ended = ((arrival == ABSENT) == (end == ABSENT)).all(axis=(0, 2)) & (end >= arrival).all(axis=(0, 2))
    group = stack("group", collectives)
    told = np.ones_like(same)
    for place, known in enumerate(groups.values()):
        told &= np.isin(group[place], [ABSENT, 0, *known]).all(axis=1)
    health.unknown_groups += int((same & ended & ~told).sum())
    good = same & ended & told
    if not same.all():
        health.mismatched += int((~same).sum())
        if health.first_mismatch is None:
            health.first_mismatch = int(parts[0]["step"][~same][0])
    health.unended += int((same & ~ended).sum())
    health.joined += int(good.sum())
    if good.any():
        yield Joined(
            tuple(groups),
            {name: np.stack([part[name] for part in parts])[:, good] for name in NUMBERS},
            np.all([part.warmup for part in parts], axis=0)[good],
            {rank: known for rank, known in groups.items() if known},
            group[:, good],
            operation[0][good],
            payload[0][good],
            arrival[:, good],
            end[:, good],
            stack("blocked_start_ns", spans)[:, good],
            stack("blocked_end_ns", spans)[:, good],
        )
