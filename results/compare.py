"""Runs side by side: grouped by configuration, their differences named, no winner called inside noise."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Final

from ..errors import UsageError, did_you_mean
from .comparison import Comparison, Effect, Entry, Fastest, Group, Pair
from .extent import BUCKETS
from .measures import samples_of
from .metrics import Metrics, compute
from .run import RunFolder, RunSpec
from .statistics import Difference, difference_of, sample_of
from .text import said_by_runs, sanitise
from .verdict import standing_of

GROUPS_AT_MOST: Final = 12
_WARNINGS_SHOWN: Final = 10

# What names a run, or follows from the moment and place of its start: no configuration.
_IDENTITY: Final = frozenset(
    {
        "run_id", "created_unix_ns", "launched_unix_ns", "argv", "beside", "data_path", "data_origin", "seed",
        "schema_version", "best_possible", "rent", "caveats",
    }
)  # fmt: skip


def entry_of(folder: RunFolder, metrics: Metrics | None = None) -> Entry:
    """A run to compare; its metrics, with its series, are computed where they are not given.

    Raises:
        ResultsInvalid: it cannot be read.
    """
    metrics = metrics or compute(folder, BUCKETS)
    return Entry(metrics, metrics.series.progress if metrics.series else ())


def compare(runs: Sequence[Entry], *, mixed: bool = False, by: Sequence[str] = ()) -> Comparison:
    """Compare runs, grouped by everything but their seeds.

    Args:
        mixed: compare although divisions, goals or targets differ; the result is marked.
        by: group by these words of the configuration alone; what else differs is still shown.

    Raises:
        UsageError: two are the same run, they are of different tasks, or do not belong side by side and `mixed` does
            not ask for it.
    """
    names = Counter(run.metrics.spec.run_id for run in runs)
    if twice := [sanitise(name) for name, number in names.items() if number > 1]:
        raise UsageError(
            f"Two of these folders are the same run: {', '.join(twice)}.",
            why="A run and its copy are no independent repeats.",
            fix="Leave the copies out.",
        )
    reasons = tuple(_reasons([run.metrics.spec for run in runs]))
    if reasons and not mixed:
        raise UsageError(
            "These runs do not belong side by side.",
            why="\n".join(reasons),
            fix="Compare runs of one kind, or say --mixed: the comparison is then marked.",
        )
    configurations = [_configuration(run.metrics) for run in runs]
    differing = _differing(configurations)
    keys = _chosen(by, configurations) or differing
    together: dict[tuple[str, ...], list[int]] = {}
    for i, configuration in enumerate(configurations):
        together.setdefault(tuple(configuration.get(key, "-") for key in keys), []).append(i)
    if len(together) > GROUPS_AT_MOST:
        raise UsageError(
            f"{len(together)} configurations are too many to compare at once; the most is {GROUPS_AT_MOST}.",
            fix=f"Group them by fewer words with --by; these differ: {', '.join(differing)}.",
        )
    groups = tuple(
        group_of(
            string.ascii_uppercase[i],
            _label([configurations[member] for member in members], keys),
            [runs[member] for member in members],
        )
        for i, members in enumerate(together.values())
    )
    return compared(groups, mixed=reasons)


def compared(groups: Sequence[Group], *, mixed: tuple[str, ...] = (), effects: Sequence[Effect] = ()) -> Comparison:
    """All that can be said of groups, each of one run or more; the first is what the others are held against."""
    every = {group.name: [_configuration(run.metrics) for run in group.runs] for group in groups}
    differing = _differing([one for configurations in every.values() for one in configurations])
    joined = {name: _joined(configurations) for name, configurations in every.items()}
    return Comparison(
        groups=tuple(groups),
        differences=tuple((name, tuple(joined[g.name].get(name, "-") for g in groups)) for name in differing),
        pairs=tuple(_pair(groups[0], group, len(groups) - 1) for group in groups[1:]),
        mixed=mixed,
        warnings=tuple(_warnings(groups)),
        fastest=_fastest(groups),
        effects=tuple(effects),
    )


def _fastest(groups: Sequence[Group]) -> Fastest | None:
    """Only groups that always reached the target: elsewhere only the lucky runs would be compared."""
    whole = [group for group in groups if group.reached and group.reached == group.counting]
    if len(whole) < 2:
        return None
    first, *others = sorted(whole, key=lambda group: group.times.median or 0.0)
    told = {g.name: difference_of(first.times.values, g.times.values).decided(len(others)) for g in others}
    noise, beaten = (tuple(name for name, apart in told.items() if apart is wanted) for wanted in (False, True))
    return Fastest(first.name, noise, beaten)


def _chosen(by: Sequence[str], configurations: Sequence[Mapping[str, str]]) -> Sequence[str]:
    known = sorted({name for configuration in configurations for name in configuration})
    unknown = [name for name in by if name not in known]
    if unknown:
        raise UsageError(
            f"No run's configuration has {unknown[0]!r}.{did_you_mean(unknown[0], known)}",
            fix=f"Group by any of: {', '.join(known)}.",
        )
    return by


def _joined(configurations: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """One value a word; where the runs of a group differ, all of them."""
    names = dict.fromkeys(name for configuration in configurations for name in configuration)
    return {name: " | ".join(dict.fromkeys(c.get(name, "-") for c in configurations)) for name in names}


def _reasons(specs: Sequence[RunSpec]) -> Iterator[str]:
    tasks = sorted({spec.task for spec in specs})
    if len(tasks) > 1:
        raise UsageError(
            f"Runs of different tasks cannot be compared: {', '.join(tasks)}.", fix="Compare them by task."
        )
    kinds = Counter(standing_of(spec) for spec in specs)
    if len(kinds) > 1:
        yield f"Their divisions differ: {_counted(kinds)}."
    aims = Counter(f"{spec.metric} {spec.target:g} on {spec.dataset}" for spec in specs)
    if len(aims) > 1:
        yield f"Their targets differ: {_counted(aims)}."


def _counted(kinds: Counter[str]) -> str:
    return "; ".join(f"{number} run{'s' if number > 1 else ''} {kind}" for kind, number in kinds.items())


def _configuration(metrics: Metrics) -> dict[str, str]:
    spec = {name: value for name, value in asdict(metrics.spec).items() if name not in _IDENTITY}
    facts = metrics.records[0].facts if metrics.records else {}
    spec["git_revision"] = _short(metrics.spec.git_revision)
    return {name: str(value) for name, value in {**facts, **spec}.items() if name not in _IDENTITY}


def _short(revision: str) -> str:
    commit, dirty, _ = revision.partition("-dirty")
    return commit[:12] + dirty


def _differing(configurations: Sequence[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for configuration in configurations for name in configuration)
    return [name for name in names if len({c.get(name) for c in configurations}) > 1]


def _label(configurations: Sequence[Mapping[str, str]], keys: Sequence[str]) -> str:
    together = _joined(configurations)
    return ", ".join(f"{key} {together.get(key, '-')}" for key in keys[:3])


def group_of(name: str, label: str, runs: Sequence[Entry]) -> Group:
    """Runs of one configuration; those that do not count are in no number."""
    counting = [run for run in runs if run.counts]
    rates = [run.metrics.throughput.tokens_per_s or run.metrics.throughput.samples_per_s for run in counting]
    return Group(
        name=name,
        label=label,
        runs=tuple(runs),
        times=sample_of([run.time_to_target_s for run in counting if run.time_to_target_s is not None]),
        rates=sample_of([rate for rate in rates if rate]),
        configuration=_joined([_configuration(run.metrics) for run in runs]),
        measures=samples_of(runs),
    )


def _pair(first: Group, second: Group, pairs: int) -> Pair:
    # A time to target says nothing where some runs never came there: only the lucky ones would be compared.
    complete = all(run.time_to_target_s is not None for group in (first, second) for run in group.runs if run.counts)
    unknown = Difference(None, None, None, None)
    times = difference_of(first.times.values, second.times.values, pairs) if complete else unknown
    return Pair(first, second, times, difference_of(first.rates.values, second.rates.values, pairs))


def _warnings(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        seeds = Counter(run.metrics.spec.seed for run in group.runs)
        twice = [str(seed) for seed, number in seeds.items() if number > 1]
        if twice:
            yield f"{group.name}: seed {', '.join(twice)} was used more than once: no independent repeats."
        broken = sum(run.broke_off for run in group.runs)
        if broken:
            yield f"{group.name}: {broken} of {len(group.runs)} runs broke off; they are shown and not averaged."
        for run in group.runs:
            if run.left_out and not run.broke_off:
                yield f"{group.name}: {run.metrics.spec.run_id} is shown and not averaged: {run.left_out}."
        missed = sum(run.counts and run.time_to_target_s is None for run in group.runs)
        if missed:
            yield f"{group.name}: {missed} of {len(group.runs)} runs missed the target: times to it are not compared."
    yield from said_by_runs([run.metrics.warnings for group in groups for run in group.runs], _WARNINGS_SHOWN)
