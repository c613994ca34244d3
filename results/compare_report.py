"""What a comparison says, in words and tables; set by the same means as a run's report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .comparison import Comparison, Entry, Fastest, Group, Pair
from .measure_tables import coverage_text, interval_text, measure_tables, number_text, range_text
from .statistics import MINIMUM_RUNS, Difference, Sample, runs_for
from .table import Report, Table
from .text import count, duration, sanitise

_SHARES = (0.02, 0.05, 0.1)
"""Differences that people claim."""
_TOO_FEW: Final = f"; no winner: fewer than {MINIMUM_RUNS} runs of one of them"
_MANY: Final = 6
"""Configurations from which on what is said of each is a row of a table, not a line or a column."""


def render_comparison(comparison: Comparison) -> Report:
    """The comparison as plain data; safe to print."""
    groups = comparison.groups
    spec = groups[0].runs[0].metrics.spec
    runs = sum(len(group.runs) for group in groups)
    marked = "MIXED, not a valid comparison: " if comparison.mixed else ""
    title = f"{marked}{spec.task}, goal {spec.goal}: {count(runs, 'run')} of {count(len(groups), 'configuration')}"
    return Report(
        title=(sanitise(title), sanitise(_headline(comparison))),
        failure=(),
        rows=tuple((sanitise(name), sanitise(text)) for name, text in _verdicts(comparison)),
        tables=tuple(_tables(comparison)),
        warnings=tuple(sanitise(line) for line in (*comparison.mixed, *comparison.warnings)),
    )


def _headline(comparison: Comparison) -> str:
    if not comparison.pairs:
        return (
            f"One configuration, {count(len(comparison.groups[0].runs), 'repeat')}: {_said(comparison.groups[0].times)}"
        )
    pairs = len(comparison.pairs)
    won = [_winner(pair, pair.times, pairs, less_is_better=True) for pair in comparison.pairs]
    decided = [words for words in won if words]
    if comparison.mixed:
        return "No winner is called among mixed runs"
    if decided:
        return "; ".join(f"{words} to the target" for words in decided)
    fastest = comparison.fastest
    if fastest and not fastest.within_noise:
        return f"{fastest.name} is faster than {', '.join(fastest.beaten)} to the target"
    if fastest and fastest.beaten:
        near = ", ".join(fastest.within_noise)
        return f"No winner: {fastest.name} is faster than {', '.join(fastest.beaten)}, and not told from {near}"
    if all(pair.times.ratio is None for pair in comparison.pairs):
        return "No winner: not every run that ended reached the target"
    if not any(pair.times.decidable(pairs) for pair in comparison.pairs):
        return "No winner: too few runs to tell one"
    return "No winner: no difference in time to target is outside noise"


def _winner(pair: Pair, difference: Difference, pairs: int, *, less_is_better: bool) -> str:
    if not difference.decided(pairs) or difference.ratio is None:
        return ""
    second_wins = (difference.ratio < 1) == less_is_better
    better, worse = (pair.second, pair.first) if second_wins else (pair.first, pair.second)
    return f"{better.name} is faster than {worse.name}"


def _verdicts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    pairs = len(comparison.pairs)
    if not pairs:
        yield from _claims(comparison.groups[0])
    if comparison.fastest and not comparison.mixed and len(comparison.groups) > 2:
        yield "Fastest to the target", _fastest(comparison.fastest)
    for pair in comparison.pairs if len(comparison.groups) < _MANY else ():
        for name, words in zip(("Time to target", "Throughput"), _verdicts_of(comparison, pair), strict=True):
            yield f"{name}, {pair.second.name} : {pair.first.name}", words


def _verdicts_of(comparison: Comparison, pair: Pair) -> tuple[str, str]:
    """On the time to target, and on the throughput."""

    def said(difference: Difference, *, less_is_better: bool) -> str:
        winner = _winner(pair, difference, len(comparison.pairs), less_is_better=less_is_better)
        return _verdict(difference, "" if comparison.mixed else winner, pair, len(comparison.pairs))

    return said(pair.times, less_is_better=True), said(pair.rates, less_is_better=False)


def _claims(group: Group) -> Iterator[tuple[str, str]]:
    """What runs of one configuration would allow to claim of another one that is as noisy."""
    for name, sample in (("Time to target", group.times), ("Throughput", group.rates)):
        needed = {share: runs_for(sample.values, share) for share in _SHARES}
        told = [f"{100 * share:.0f} %: {count(n, 'run')}{_more(n, sample)}" for share, n in needed.items() if n]
        if told:
            yield f"{name}, a difference of", "; ".join(told) + ", of each configuration with this spread"


def _more(needed: int, sample: Sample) -> str:
    more = needed - len(sample.values)
    return f" ({more} more)" if more > 0 else ""


def _verdict(difference: Difference, winner: str, pair: Pair, pairs: int) -> str:
    if difference.ratio is None:
        return "not compared: not every run that ended reached the target"
    if difference.interval is None or difference.p_value is None:
        return f"{difference.ratio:.3g} x{_TOO_FEW}"
    found = difference.interval
    between = f"{coverage_text(found)} interval {found.low:.3g} to {found.high:.3g}"
    numbers = f"{difference.ratio:.3g} x ({between}, p = {difference.p_value:.2g})"
    if winner:
        return f"{numbers}: {winner}"
    needed = difference.runs_needed
    more = (
        f"; about {needed} runs of each would show a difference of this size{_missing(needed, pair)}" if needed else ""
    )
    return f"{numbers}: no winner, {'inside noise' if difference.decidable(pairs) else 'too few runs to tell'}{more}"


def _missing(needed: int, pair: Pair) -> str:
    have = min(pair.first.counting, pair.second.counting)
    return f" ({needed - have} more)" if needed > have else ""


def _fastest(fastest: Fastest) -> str:
    if not fastest.within_noise:
        return f"{fastest.name}, outside noise against {', '.join(fastest.beaten)}"
    apart = f"; outside noise against {', '.join(fastest.beaten)}" if fastest.beaten else ""
    return f"no winner: {fastest.name} has the least median, not told from {', '.join(fastest.within_noise)}{apart}"


def _tables(comparison: Comparison) -> Iterator[Table]:
    names = tuple(f"{group.name}" for group in comparison.groups)
    if comparison.differences:
        rows = tuple((sanitise(key, 40), *(sanitise(v, 60) for v in values)) for key, values in comparison.differences)
        told = (("what", *names), *rows)
        head, *rest = zip(*told, strict=True) if len(names) >= _MANY else told
        yield Table("Differences of configuration", head, tuple(rest))
    yield Table(
        "Groups",
        (
            "group",
            "runs",
            "reached",
            "median s to target",
            "95 % interval",
            "olympic mean",
            "median rate/s",
            "95 % interval",
        ),
        tuple(_group_row(group) for group in comparison.groups),
        notes=(
            "Olympic mean: without the least and the greatest. Intervals: of the median, between two runs; below "
            "6 runs from the least to the greatest, with what that covers; none below 3.",
        ),
    )
    if len(names) >= _MANY and comparison.pairs:
        against = [
            (
                f"{pair.second.name} : {pair.first.name}",
                *(w.removesuffix(_TOO_FEW) for w in _verdicts_of(comparison, pair)),
            )
            for pair in comparison.pairs
        ]
        few = f"A ratio alone: no winner is called with fewer than {MINIMUM_RUNS} runs of one of the two."
        yield Table("One against another", ("pair", "time to target", "throughput"), tuple(against), notes=(few,))
    yield from measure_tables(comparison)
    yield Table(
        "Every run",
        ("run", "group", "seed", "status", "s to target", "interpolated s", "steps", "samples", "rate/s", "wall s"),
        tuple(_run_row(group, run) for group in comparison.groups for run in group.runs),
        notes=("Interpolated: where a straight line between two evaluations crosses the target.",),
    )


def _group_row(group: Group) -> tuple[str, ...]:
    times, rates = group.times, group.rates
    return (
        sanitise(f"{group.name} {group.label}".strip(), 40),
        str(len(group.runs)),
        f"{group.reached} of {group.counting}",
        number_text(times.median),
        interval_text(times),
        number_text(times.olympic_mean),
        number_text(rates.median),
        interval_text(rates),
    )


def _run_row(group: Group, run: Entry) -> tuple[str, ...]:
    metrics = run.metrics
    return (
        sanitise(metrics.spec.run_id, 80),
        group.name,
        str(metrics.spec.seed),
        metrics.status,
        number_text(run.time_to_target_s),
        number_text(run.crossing_s),
        _whole(run.at_target("steps")),
        _whole(run.at_target("samples")),
        number_text(metrics.throughput.tokens_per_s or metrics.throughput.samples_per_s),
        number_text(metrics.split.wall_s),
    )


def _said(times: Sample) -> str:
    if times.median is None:
        return "the target was not reached"
    found = times.interval
    between = f" ({coverage_text(found)} interval {range_text(found)} s)" if found else ""
    return f"median time to target {duration(times.median)}{between}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
