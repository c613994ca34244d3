"""The measures of a comparison as tables: a row a group, each number with its interval; and what each change did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .comparison import Comparison, Effect, EffectOn, Group
from .cost import at_most, cost_of
from .measures import MEASURES
from .statistics import CONFIDENCE, Interval, Sample
from .table import Table
from .text import sanitise

_TABLES: Final = {
    "Work and quality": (
        ("steps_to_target", "final_quality"),
        "Steps to the target: of the runs that reached it.",
    ),
    "Time of a step": (
        ("step_ms", "transfer_ms", "wait_ms", "overlap_percent"),
        "Means over steps and ranks. Transfer: the network at work, under compute or not; overlap: its share under it.",
    ),
    "Data of a rank and step": (
        ("wire_mb", "nic_mb"),
        "Formula: what the collectives of a step have to send. NIC: what the interfaces sent over the whole run, "
        "evaluations, start-up and headers included, over its steps and ranks.",
    ),
}


def measure_tables(comparison: Comparison) -> Iterator[Table]:
    """The tables that some run has numbers for."""
    for title, (names, note) in _TABLES.items():
        if any(group.measures[name].values for group in comparison.groups for name in names):
            headers = ("group", *(MEASURES[name].label for name in names))
            rows = tuple(_row(group, names) for group in comparison.groups)
            intervals = "Median (95 % interval of it, from 3 runs on; below 6 runs with what it covers)."
            yield Table(title, headers, rows, notes=(note, intervals))
    if any(group.measures["usd_to_target"].values or group.measures["energy_kj"].values for group in comparison.groups):
        yield _cost_table(comparison.groups)
    if comparison.effects:
        yield _effects(comparison.effects)


def _cost_table(groups: Sequence[Group]) -> Table:
    names = ("usd_to_target", "usd_billed_to_target", "energy_kj")
    rows = tuple((*_cost_row(group, names), number_text(price_index(groups[0], group))) for group in groups)
    return Table(
        "Cost to the target",
        ("group", *(MEASURES[name].label for name in names), "price index"),
        rows,
        notes=(
            "At list price, without traffic. On the clock: the nodes used, from the launch to the target. "
            "Billed: the whole fleet, from its beginning to then, with provisioning and idling, at what it cost "
            "at each time. Energy: the whole run.",
            f"Price index against {groups[0].name}: how much dearer (on the clock) over how much faster; below 1 it is "
            "worth it.",
        ),
    )


def _cost_row(group: Group, names: Sequence[str]) -> tuple[str, ...]:
    """As `_row`, with `at most` before dollars that are a ceiling in one of the runs."""
    costs = [cost for run in group.runs if run.counts and (cost := cost_of(run.metrics))]
    ceilings = {
        "usd_to_target": any(cost.clock_is_ceiling for cost in costs),
        "usd_billed_to_target": any(cost.billed_is_ceiling for cost in costs),
    }
    first, *cells = _row(group, names)
    marked = zip(names, cells, strict=True)
    return first, *(f"{at_most(ceilings.get(name, False) and cell != '-')}{cell}" for name, cell in marked)


def price_index(first: Group, second: Group) -> float | None:
    """Price increase over performance increase, by medians; None where one of them is not known."""
    prices = [group.measures["usd_to_target"].median for group in (first, second)]
    times = [group.times.median for group in (first, second)]
    if not (prices[0] and prices[1] and times[0] and times[1]):
        return None
    return (prices[1] / prices[0]) / (times[0] / times[1])


def _row(group: Group, names: Sequence[str]) -> tuple[str, ...]:
    return (sanitise(f"{group.name} {group.label}".strip(), 40), *(_with_interval(group.measures[n]) for n in names))


def _with_interval(sample: Sample) -> str:
    between = f" ({interval_text(sample)})" if sample.interval else ""
    return f"{number_text(sample.median)}{between}"


def _effects(effects: Sequence[Effect]) -> Table:
    comparisons = len(effects)
    names = [on.measure for on in effects[0].on]
    rows = tuple(
        (
            sanitise(f"{effect.key}: {effect.first} -> {effect.second}", 60),
            str(effect.pairs),
            *(_ratio(on, effect.pairs, comparisons) for on in effect.on),
        )
        for effect in effects
    )
    note = (
        "Median ratio of runs with the same seed that differ in this alone; * outside noise (interval and sign-flip "
        "test, from 6 pairs on). To the target: k of n where only k pairs reached it."
    )
    return Table("What each change did", ("change", "pairs", *(MEASURES[n].label for n in names)), rows, notes=(note,))


def _ratio(on: EffectOn, pairs: int, comparisons: int) -> str:
    paired = on.ratio
    if paired.ratio is None:
        return f"{on.pairs} of {pairs}" if 0 < on.pairs < pairs else "-"
    return f"{paired.ratio:.3g} x{in_brackets(paired.interval)}{' *' if paired.decided(comparisons) else ''}"


def interval_text(sample: Sample) -> str:
    """`1.2 to 1.4`; `1.2 to 1.4, 75 %` where it covers less than 95 %."""
    return f"{range_text(sample.interval)}{_covered(sample.interval)}" if sample.interval else "-"


def range_text(interval: Interval) -> str:
    """`1.2 to 1.4`."""
    return f"{number_text(interval.low)} to {number_text(interval.high)}"


def in_brackets(interval: Interval | None, unit: float = 1.0) -> str:
    """What is said after a ratio, in so many units: ` (1.2 to 1.4)`, ` (120 to 140, 75 %)`; nothing for None."""
    if interval is None:
        return ""
    return f" ({unit * interval.low:.3g} to {unit * interval.high:.3g}{_covered(interval)})"


def coverage_text(interval: Interval) -> str:
    """`95 %`, or what an interval of few runs covers: `75 %`."""
    return f"{100 * min(CONFIDENCE, interval.coverage):.0f} %"


def _covered(interval: Interval) -> str:
    """What is said after an interval that covers less than 95 %: `, 75 %`."""
    return "" if interval.full else f", {coverage_text(interval)}"


def number_text(value: float | None) -> str:
    """Four digits, thousands with commas; `-` for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
