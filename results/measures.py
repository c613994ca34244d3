"""What a comparison says of a run beside its time to the target: work, network, quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from .comparison import Effect, EffectOn, Entry
from .cost import cost_of, energy_j_of
from .metrics import Metrics
from .statistics import Sample, paired_of, sample_of


@dataclass(frozen=True)
class Measure:
    """One number of a run."""

    name: str
    label: str
    """For a table's head, with its unit."""
    of: Callable[[Entry], float | None]
    """None where the run does not tell."""


def _of_ranks(name: str) -> Callable[[Entry], float | None]:
    """Mean over the ranks, of a step after warm-up."""

    def mean_of(run: Entry) -> float | None:
        found = run.metrics.communication
        return fmean(getattr(rank, name) for rank in found.ranks) if found and found.ranks else None

    return mean_of


def _overlap(run: Entry) -> float | None:
    found = run.metrics.communication
    return None if found is None or found.overlap is None else 100 * found.overlap


def _by_formula(run: Entry) -> float | None:
    found = run.metrics.communication
    return found.wire_bytes_per_step / 1e6 if found else None


def _by_nic(run: Entry) -> float | None:
    metrics = run.metrics
    sent = nic_bytes(metrics)
    return sent / metrics.steps / metrics.spec.ranks / 1e6 if sent is not None and metrics.steps else None


def _final(run: Entry) -> float | None:
    final = run.metrics.quality.final
    return final.value if final and math.isfinite(final.value) else None


def _cost(name: str) -> Callable[[Entry], float | None]:
    def cost_to_target(run: Entry) -> float | None:
        cost = cost_of(run.metrics)
        return getattr(cost, name) if cost and run.time_to_target_s is not None else None

    return cost_to_target


def _energy_kj(run: Entry) -> float | None:
    energy_j = energy_j_of(run.metrics)
    return None if energy_j is None else energy_j / 1e3


def nic_bytes(metrics: Metrics) -> float | None:
    """Bytes that the interfaces of all nodes sent while the run was sampled: evaluations and start-up included.

    Ranks of one node meet on its loopback interface, which counts what others on the machine send there, too. None
    where a node was not sampled.
    """
    nodes = metrics.resources
    if len(nodes) != metrics.spec.nodes:
        return None
    outside = 1.0 if metrics.spec.nodes > 1 else 0.0
    return sum((outside * node.sent_bytes_per_s + node.loopback_bytes_per_s) * node.seconds for node in nodes)


MEASURES: Final[Mapping[str, Measure]] = {
    measure.name: measure
    for measure in (
        Measure("time_to_target_s", "s to target", lambda run: run.time_to_target_s),
        Measure("steps_to_target", "steps to target", lambda run: run.at_target("steps")),
        Measure("final_quality", "final quality", _final),
        Measure("step_ms", "step ms", _of_ranks("step_ms")),
        Measure("transfer_ms", "transfer ms", _of_ranks("transfer_ms")),
        Measure("wait_ms", "wait ms", _of_ranks("wait_ms")),
        Measure("overlap_percent", "overlap %", _overlap),
        Measure("wire_mb", "MB, formula", _by_formula),
        Measure("nic_mb", "MB, NIC", _by_nic),
        Measure("usd_to_target", "$ on the clock", _cost("target_clock_usd")),
        Measure("usd_billed_to_target", "$ billed", _cost("target_billed_usd")),
        Measure("energy_kj", "GPU energy kJ", _energy_kj),
    )
}
"""Of a step where it is a time or an amount of data: the mean over the ranks."""

_EFFECTS_ON: Final = ("time_to_target_s", "steps_to_target", "step_ms", "wire_mb")
_TO_TARGET: Final = ("time_to_target_s", "steps_to_target")


def samples_of(runs: Sequence[Entry]) -> dict[str, Sample]:
    """Every measure over the runs that count."""
    counting = [run for run in runs if run.counts]
    values = {name: [measure.of(run) for run in counting] for name, measure in MEASURES.items()}
    return {name: sample_of([v for v in found if v is not None]) for name, found in values.items()}


def effects_of(runs: Sequence[tuple[Mapping[str, str], int, Entry]]) -> Iterator[Effect]:
    """What each value of each key did, against the first value of that key, all other keys and the seed the same.

    Args:
        runs: what was varied, the seed, and the run.
    """
    keys = dict.fromkeys(key for changes, _, _ in runs for key in changes)
    for key in keys:
        values = list(dict.fromkeys(changes[key] for changes, _, _ in runs))
        for value in values[1:]:
            pairs = list(_pairs(runs, key, values[0], value))
            yield Effect(key, values[0], value, len(pairs), tuple(_effect_on(name, pairs) for name in _EFFECTS_ON))


def _effect_on(name: str, pairs: Sequence[tuple[Entry, Entry]]) -> EffectOn:
    ratios = [ratio for first, second in pairs if (ratio := _ratio(MEASURES[name], first, second))]
    if name in _TO_TARGET and len(ratios) < len(pairs):
        # Of runs that missed the target only the lucky ones' seeds would be left.
        return EffectOn(name, paired_of([]), len(ratios))
    return EffectOn(name, paired_of(ratios), len(ratios))


def _pairs(
    runs: Sequence[tuple[Mapping[str, str], int, Entry]], key: str, first: str, second: str
) -> Iterator[tuple[Entry, Entry]]:
    """Runs of both values that differ in nothing else."""
    by_rest = {(tuple(sorted(changes.items())), seed): run for changes, seed, run in runs if run.counts}
    for changes, seed, run in runs:
        other = by_rest.get((tuple(sorted({**changes, key: second}.items())), seed))
        if changes[key] == first and run.counts and other is not None:
            yield run, other


def _ratio(measure: Measure, first: Entry, second: Entry) -> float | None:
    before, after = measure.of(first), measure.of(second)
    return after / before if before and after else None
