"""What the model was worth and when: the evaluations of a run, and the one that met the goal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .rank import RankRecord
from .run import RunSpec

TEST_SPLIT = "test"
"""The split that is measured once at the end and never decides about the goal."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation; seconds are None where the log does not hold the moment they count from."""

    epoch: int | None
    split: str
    value: float
    since_run_start_s: float | None
    since_launch_s: float | None
    training_s: float
    """Time in training steps up to here, on the rank where it is the longest."""


@dataclass(frozen=True)
class Quality:
    """What the model was worth."""

    evaluations: tuple[Evaluation, ...]
    """All of them, in their order."""
    reached: Evaluation | None
    """The first that met the target."""
    best: Evaluation | None
    final: Evaluation | None
    test: Evaluation | None
    best_possible: float | None
    """Bound by the data's own entropy, where it is known."""


def quality_of(spec: RunSpec, records: Sequence[RankRecord], launched_unix_ns: int) -> Quality:
    """The quality as the logs tell it; the target is the spec's."""
    evaluations = _evaluations(records, launched_unix_ns)
    counting = [e for e in evaluations if e.split != TEST_SPLIT]
    ranked = sorted((e for e in counting if e.value == e.value), key=lambda e: e.value)
    best = ranked[0 if spec.target_is_upper_bound else -1] if ranked else None
    bounds = (spec.best_possible, *(record.best_possible for record in records))
    return Quality(
        evaluations=evaluations,
        reached=next((e for e in counting if spec.met_by(e.value)), None),
        best=best,
        final=counting[-1] if counting else None,
        test=next((e for e in reversed(evaluations) if e.split == TEST_SPLIT), None),
        best_possible=next((bound for bound in bounds if bound is not None), None),
    )


def _evaluations(records: Sequence[RankRecord], launched_unix_ns: int) -> tuple[Evaluation, ...]:
    """The evaluations by the clock of the first rank, or of one that has more of them."""
    clock = max(records, key=lambda r: (r.run_start_ns is not None, len(r.evaluations), -r.rank), default=None)
    if clock is None:
        return ()
    training: dict[tuple[int | None, str, int], int] = {}
    for e in itertools.chain.from_iterable(record.evaluations for record in records):
        training[e.key] = max(e.training_ns, training.get(e.key, 0))
    return tuple(
        Evaluation(
            epoch=e.epoch,
            split=e.split,
            value=e.value,
            since_run_start_s=_seconds(e.time_ns, clock.run_start_ns),
            since_launch_s=_seconds(clock.launch_clock_ns(e.time_ns), launched_unix_ns),
            training_s=training[e.key] / 1e9,
        )
        for e in clock.evaluations
    )


def _seconds(until_ns: int | None, since_ns: int | None) -> float | None:
    return None if until_ns is None or since_ns is None else (until_ns - since_ns) / 1e9
