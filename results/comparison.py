"""Runs side by side, as values: entries in groups of one configuration, the groups in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from .metrics import Metrics
from .quality import TEST_SPLIT
from .series import Progress
from .statistics import Difference, Interval, Paired, Sample, crossing
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
        """Whether its numbers may stand for its configuration: a run that broke off is shown, never averaged."""
        return self.metrics.status not in _NOT_AVERAGED

    @property
    def time_to_target_s(self) -> float | None:
        return self.metrics.time_to_target_s if self.metrics.status == GOAL_REACHED else None

    @property
    def crossing_s(self) -> float | None:
        """Where a line between the evaluations crosses the target."""
        return self.crossing("time")

    def crossing(self, axis: str) -> float | None:
        """The same on an axis of `points`: of steps and samples, too."""
        if self.time_to_target_s is None:
            return None
        spec = self.metrics.spec
        return crossing(self.points(axis), spec.target, falls=spec.target_is_upper_bound)

    def points(self, axis: str) -> list[tuple[float, float]]:
        """(place, quality) of each evaluation but the test's; `axis` is `time`, `steps` or `samples`."""
        evaluations = self.metrics.quality.evaluations
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
    """Time to target of the runs that reached it."""
    rates: Sample
    """Tokens (samples where there are no tokens) a second."""
    configuration: Mapping[str, str]
    measures: Mapping[str, Sample]
    """By the names of `measures.MEASURES`."""

    @property
    def counting(self) -> int:
        """Runs that came to their own end."""
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
