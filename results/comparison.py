"""Runs side by side, as values: entries in groups of one configuration, the groups in pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from .metrics import Metrics
from .quality import TEST_SPLIT
from .series import Progress
from .statistics import Difference, Interval, Paired, Sample, crossing
from .text import ranges
from .verdict import FAILED, GOAL_REACHED, INCOMPLETE, RUNNING, STOPPED

_NOT_AVERAGED: Final = frozenset({FAILED, STOPPED, RUNNING, INCOMPLETE, "hang", "interrupted"})


@dataclass(frozen=True)
class Entry:
    """One run of a comparison."""

    metrics: Metrics
    progress: tuple[Progress, ...]
    """What had been trained on at each evaluation; empty where that is not known."""

    @property
    def counts(self) -> bool:
        """Whether its numbers may stand for its configuration; a run that does not count is shown, never averaged."""
        return not self.broke_off and not self.left_out

    @property
    def broke_off(self) -> bool:
        return self.metrics.status in _NOT_AVERAGED

    @property
    def left_out(self) -> str:
        """Why the numbers of a run are not those of a whole training, though it came to its end; empty if they are."""
        if resumed := self.metrics.spec.resumed_run:
            return f"it goes on with {resumed}, and its times, steps and samples are those of the rest"
        if cut := self._without_whole_log:
            return f"no whole log of rank {ranges(cut)}"
        if self.metrics.consistency.evaluations_equal is False:
            return "its ranks measured different qualities at the same evaluation"
        if self.metrics.consistency.parameters_equal is False:
            return "its ranks ended with different parameters"
        return ""

    @property
    def _without_whole_log(self) -> list[int]:
        """Ranks whose log of this run is missing or was cut off."""
        metrics = self.metrics
        whole = {record.rank for record in metrics.records if record.health.complete} & set(metrics.own_ranks)
        return [rank for rank in range(metrics.spec.ranks) if rank not in whole]

    @property
    def time_to_target_s(self) -> float | None:
        """None also for a resumed run: its clock began after a part of the training."""
        reached = self.metrics.status == GOAL_REACHED and not self.metrics.spec.resumed_run
        return self.metrics.time_to_target_s if reached else None

    @property
    def crossing_s(self) -> float | None:
        """Where a line between the evaluations crosses the target."""
        return self.crossing("time")

    def crossing(self, axis: str) -> float | None:
        """The same on an axis of `points`: of steps and samples, too.

        None also where no evaluation lies before the one that met the target: there is no line then, and all that is
        known is that the target was met by that one.
        """
        points, spec = self.points(axis), self.metrics.spec
        if self.time_to_target_s is None or not _missed_before(points, spec.met_by):
            return None
        return crossing(points, spec.target, falls=spec.target_is_upper_bound)

    def points(self, axis: str) -> list[tuple[float, float]]:
        """(place, quality) of each evaluation but the test's; `axis` is `time`, `steps` or `samples`.

        None of a resumed run, which counts from its checkpoint; nor along the samples where a rank's log, whose own
        are missing in the sum, is not whole.
        """
        evaluations = self.metrics.quality.evaluations
        if self.metrics.spec.resumed_run or (axis == "samples" and self._without_whole_log):
            return []
        if axis == "time":
            places = [e.since_run_start_s for e in evaluations]
        elif len(self.progress) == len(evaluations):
            places = [float(getattr(progress, axis)) for progress in self.progress]
        else:
            return []
        pairs = zip(places, evaluations, strict=True)
        return [(place, e.value) for place, e in pairs if place is not None and e.split != TEST_SPLIT]

    def at_target(self, axis: str) -> float | None:
        """Steps or samples trained on at the evaluation that met the target."""
        met = self.metrics.spec.met_by
        return None if self.time_to_target_s is None else next((p for p, v in self.points(axis) if met(v)), None)


@dataclass(frozen=True)
class Group:
    """Runs of one configuration."""

    name: str
    """`A`, `B`, ..."""
    label: str
    """What sets it apart from the other groups."""
    runs: tuple[Entry, ...]
    times: Sample
    """Time to target of the runs that count and reached it."""
    rates: Sample
    """Tokens (samples where there are no tokens) a second."""
    configuration: Mapping[str, str]
    measures: Mapping[str, Sample]
    """By the names of `measures.MEASURES`."""

    @property
    def counting(self) -> int:
        """Runs whose numbers are averaged."""
        return sum(run.counts for run in self.runs)

    @property
    def reached(self) -> int:
        return len(self.times.values)


@dataclass(frozen=True)
class Pair:
    """Two groups compared: the second as a ratio of the first."""

    first: Group
    second: Group
    times: Difference
    rates: Difference


@dataclass(frozen=True)
class Fastest:
    """The group with the least median time to the target, of those all of whose runs reached it."""

    name: str
    within_noise: tuple[str, ...]
    """Other such groups that it is not told from; it is the winner where there are none."""
    beaten: tuple[str, ...]


@dataclass(frozen=True)
class EffectOn:
    """What a change does to one measure, as a ratio."""

    measure: str
    ratio: Paired
    """Of nothing where some pairs have no value that could be left out: a target that was missed."""
    pairs: int
    """Pairs both of whose runs have a value."""


@dataclass(frozen=True)
class Effect:
    """What a value of a key does, against another one, everything else the same."""

    key: str
    first: str
    second: str
    pairs: int
    on: tuple[EffectOn, ...]


@dataclass(frozen=True)
class Comparison:
    """All that can be said of some runs side by side."""

    groups: tuple[Group, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    """A name and its value in each group, for all that differs."""
    pairs: tuple[Pair, ...]
    """Each group against the first."""
    mixed: tuple[str, ...]
    """Why the runs do not belong side by side; empty where they do."""
    warnings: tuple[str, ...]
    fastest: Fastest | None = None
    """None where fewer than two groups always reached the target."""
    effects: tuple[Effect, ...] = ()
    """Of runs that were made to be compared."""

    def to_json(self) -> dict[str, Any]:
        return {
            "groups": [_group_json(group) for group in self.groups],
            "differences": {name: list(values) for name, values in self.differences},
            "pairs": [
                {
                    "first": pair.first.name,
                    "second": pair.second.name,
                    "time_to_target": _difference_json(pair.times, len(self.pairs)),
                    "throughput": _difference_json(pair.rates, len(self.pairs)),
                }
                for pair in self.pairs
            ],
            "fastest": self.fastest and asdict(self.fastest),
            "effects": [_effect_json(effect) for effect in self.effects],
            "mixed": list(self.mixed),
            "warnings": list(self.warnings),
        }


def _missed_before(points: Sequence[tuple[float, float]], met: Callable[[float], bool]) -> bool:
    """Whether the point before the first that meets the target has a value; one that is no number is passed over."""
    before = [value for _, value in itertools.takewhile(lambda point: not met(point[1]), points)]
    known = [value for value in before if not math.isnan(value)]
    return bool(known) and math.isfinite(known[-1])


def _group_json(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "label": group.label,
        "configuration": dict(group.configuration),
        "time_to_target_s": _sample_json(group.times),
        "throughput_per_s": _sample_json(group.rates),
        "reached": group.reached,
        "ended": group.counting,
        "measures": {name: _sample_json(sample) for name, sample in group.measures.items()},
        "runs": [
            {
                "run": run.metrics.spec.run_id,
                "seed": run.metrics.spec.seed,
                "status": run.metrics.status,
                "counts": run.counts,
                "time_to_target_s": run.time_to_target_s,
                "crossing_s": run.crossing_s,
                "steps_to_target": run.at_target("steps"),
                "samples_to_target": run.at_target("samples"),
            }
            for run in group.runs
        ],
    }


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {**asdict(sample), **_interval_json(sample.interval)}


def _difference_json(difference: Difference, comparisons: int) -> dict[str, Any]:
    said = {"decided": difference.decided(comparisons), "decidable": difference.decidable(comparisons)}
    return {**asdict(difference), **_interval_json(difference.interval), **said}


def _interval_json(interval: Interval | None) -> dict[str, Any]:
    return {
        "interval": interval and [interval.low, interval.high],
        "interval_coverage": interval and interval.coverage,
    }


def _effect_json(effect: Effect) -> dict[str, Any]:
    facts = {"key": effect.key, "first": effect.first, "second": effect.second, "pairs": effect.pairs}
    return {**facts, **{one.measure: {**asdict(one.ratio), "pairs": one.pairs} for one in effect.on}}
