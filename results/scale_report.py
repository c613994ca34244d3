"""What a scaling series says, in words and tables; set by the same means as a run's report."""

from __future__ import annotations

from collections.abc import Iterator

from .matrix_compare import words_of
from .measure_tables import in_brackets, interval_text, number_text
from .scale import Point, Scaling
from .scale_fit import Fit, Prediction
from .statistics import CONFIDENCE, Interval, Sample
from .table import Report, Table
from .text import count, said_by_runs, sanitise

_WARNINGS_SHOWN = 12


def render_scaling(scaling: Scaling) -> Report:
    """The series as plain data; safe to print."""
    spec, mode = scaling.runs[0].metrics.spec, scaling.matrix.request.get("mode", "weak")
    sizes = ", ".join(str(point.nodes) for point in scaling.points)
    title = f"{spec.task}, goal {spec.goal}: {mode} scaling over {sizes} node{'' if sizes == '1' else 's'}"
    return Report(
        title=(sanitise(title), sanitise(_standing(scaling)), sanitise(_headline(scaling))),
        failure=(),
        rows=tuple((name, sanitise(text)) for name, text in _rows(scaling)),
        tables=tuple(_tables(scaling)),
        warnings=tuple(sanitise(line) for line in _warnings(scaling)),
    )


def nodes_of(scaling: Scaling, ranks: int) -> str:
    """So many ranks as nodes, where every size has as many ranks a node."""
    each = {point.ranks // point.nodes for point in scaling.points}
    return str(ranks // each.pop()) if len(each) == 1 else "-"


def _standing(scaling: Scaling) -> str:
    spec = scaling.runs[0].metrics.spec
    return f"series {scaling.matrix.matrix_id}, fleet {spec.fleet}, {spec.backend}, {spec.aggregation}"


def _headline(scaling: Scaling) -> str:
    first, last = scaling.points[0], scaling.points[-1]
    if first is last:
        return f"{count(first.nodes, 'node')} only: nothing to hold it against yet"
    said = (
        f"{count(last.nodes, 'node')} against {first.nodes}: {last.speed_up:.3g} x the throughput "
        f"({100 * last.hardware_efficiency:.0f} % hardware efficiency)"
    )
    if last.time_speed_up is None:
        return said
    return f"{said}, {last.time_speed_up:.3g} x as fast to the target"


def _rows(scaling: Scaling) -> Iterator[tuple[str, str]]:
    known = [point for point in scaling.points if point.price_index is not None]
    if len(known) > 1:
        cheapest = min(known, key=lambda point: point.price_index or 0.0)
        yield "Best price index", f"{count(cheapest.nodes, 'node')}: {cheapest.price_index:.3g}"
    if scaling.fit:
        yield from _fit_rows(scaling, scaling.fit)


def _fit_rows(scaling: Scaling, fit: Fit) -> Iterator[tuple[str, str]]:
    law = fit.law
    shares = f"{100 * law.contention:.3g} % of the work does not spread over the ranks"
    if law.c > 0:
        shares += f"; each pair of ranks costs {100 * law.coherence:.2g} % more"
    yield "Fit", f"{fit.name}: {shares}"
    if law.best_ranks is not None:
        yield "  most throughput", f"at {law.best_ranks:.0f} ranks by this curve; beyond, more are slower"
    if fit.largest_error is not None:
        off = 100 * fit.largest_error
        trust = "it would have foreseen it" if abs(off) <= 5 else "do not trust it far beyond what was run"
        last = count(scaling.points[-1].nodes, "node")
        yield "  tried on the largest", f"from the other sizes Amdahl's law is {off:+.0f} % off at {last}: {trust}"


def _tables(scaling: Scaling) -> Iterator[Table]:
    yield _throughput(scaling)
    if any(point.time_to_target_s.values for point in scaling.points):
        yield _target(scaling)
    if any(point.transfer_s is not None for point in scaling.points):
        yield _step(scaling)
    if scaling.fit:
        yield _predicted(scaling, scaling.fit)
    yield _every_run(scaling)


def _throughput(scaling: Scaling) -> Table:
    mode = scaling.matrix.request.get("mode", "weak")
    stays = "each rank's batch stays the same" if mode == "weak" else "the batch of all ranks together stays the same"
    return Table(
        "Throughput",
        ("nodes", "ranks", "runs", "samples a step", "samples/s", "95 % interval", "speed-up", "hardware efficiency %"),
        tuple(
            (
                str(p.nodes),
                str(p.ranks),
                str(p.runs),
                f"{p.samples_per_step:,.0f}",
                number_text(p.samples_per_s.median),
                interval_text(p.samples_per_s),
                f"{p.speed_up:.3g}",
                _percent(p.hardware_efficiency, p.hardware_interval),
            )
            for p in scaling.points
        ),
        notes=(
            f"{sanitise(mode).capitalize()} scaling: {stays}.",
            "Within training steps, without the warm-up; medians over the runs.",
            "Hardware efficiency: samples/s of a rank, over those of a rank of the smallest size; in brackets, as with "
            "other ratios, its interval from 3 runs of both on: 95 %, or what so few runs cover.",
        ),
    )


def _target(scaling: Scaling) -> Table:
    return Table(
        "To the target",
        (
            "nodes",
            "s to target",
            "95 % interval",
            "at an evaluation",
            "samples",
            "steps",
            "statistical efficiency %",
            "rest %",
            "speed-up",
            "price index",
        ),
        tuple(_target_row(p) for p in scaling.points),
        notes=(
            "Seconds and samples where a straight line between two evaluations crosses the target; beside it the "
            "evaluation that met it. Sizes where a run missed it are left out. "
            "<=: already a first evaluation met it, and no line crosses it.",
            "Statistical efficiency: samples to the target at the smallest size, over those here. Speed-up = ideal x "
            "hardware x statistical efficiency x rest, what lies off the training steps.",
            "Price index: how much dearer (nodes x time) over how much faster; below 1 the nodes are worth it.",
        ),
    )


def _target_row(p: Point) -> tuple[str, ...]:
    return (
        str(p.nodes),
        _bound(p, number_text(p.time_to_target_s.median)),
        "-" if p.at_most else interval_text(p.time_to_target_s),
        number_text(p.raw_time_to_target_s.median),
        _bound(p, _whole(p.samples_to_target)),
        _whole(p.steps_to_target),
        _percent(p.statistical_efficiency, p.statistical_interval),
        _percent(p.rest),
        number_text(p.time_speed_up) + in_brackets(p.time_speed_up_interval),
        number_text(p.price_index),
    )


def _step(scaling: Scaling) -> Table:
    return Table(
        "A step",
        ("nodes", "step ms", "transfer ms", "waiting ms", "bus bandwidth MB/s"),
        tuple(
            (
                str(p.nodes),
                f"{1e3 * p.step_s:.1f}" + (f" ± {1e3 * p.step_spread_s:.1f}" if p.step_spread_s is not None else ""),
                _milliseconds(p.transfer_s),
                _milliseconds(p.wait_s),
                number_text(p.bus_bytes_per_s and p.bus_bytes_per_s / 1e6),
            )
            for p in scaling.points
        ),
        notes=(
            "Mean over the ranks: transfer, the network at work; waiting, for a slower rank; both also under compute. "
            "Bus bandwidth: bytes a rank had to send over the time of transfer (busbw of nccl-tests). ± is the "
            "standard deviation over the runs.",
        ),
    )


def _predicted(scaling: Scaling, fit: Fit) -> Table:
    base = scaling.points[0]
    per_rank = (base.samples_per_s.median or 0.0) / base.ranks

    def row(one: Prediction) -> tuple[str, ...]:
        efficiency = 100 * one.samples_per_s / one.ranks / per_rank
        between = one.interval
        said = f"{number_text(between.low)} to {number_text(between.high)}" if between else "-"
        return (nodes_of(scaling, one.ranks), str(one.ranks), number_text(one.samples_per_s), said, f"{efficiency:.0f}")

    return Table(
        "Prediction, not measured",
        ("nodes", "ranks", "samples/s", f"{100 * CONFIDENCE:.0f} % interval", "hardware efficiency %"),
        tuple(row(one) for one in fit.predictions),
        notes=(
            f"By {fit.name}; the interval holds the runs' noise, what Amdahl's law says, and the worst that the curve "
            f"was off by, {100 * fit.worst_error:.0f} %; none below three runs of each size.",
            "It knows nothing of what is new at that size: another switch, a second rack.",
        ),
    )


def _every_run(scaling: Scaling) -> Table:
    return Table(
        "Every run",
        ("run", "nodes", "seed", "status", "s to target", "interpolated s", "samples/s"),
        tuple(
            (
                sanitise(run.metrics.spec.run_id, 80),
                str(run.metrics.spec.nodes),
                str(run.metrics.spec.seed),
                run.metrics.status,
                number_text(run.time_to_target_s),
                number_text(run.crossing_s),
                number_text(run.metrics.throughput.samples_per_s),
            )
            for run in scaling.runs
        ),
    )


def _warnings(scaling: Scaling) -> Iterator[str]:
    matrix = scaling.matrix
    if matrix.left:
        yield f"{matrix.left} of {len(matrix.cells)} runs have not come to their own end."
    for cell in matrix.cells:
        if cell.broken:
            yield f"{words_of(cell.changes)}: the run with seed {cell.seed} failed: {cell.why}"
    for run in scaling.left_out:
        nodes = count(run.metrics.spec.nodes, "node")
        yield f"{nodes}: {run.metrics.spec.run_id} is left out: {run.left_out}."
    for point in scaling.points:
        if point.at_most:
            yield (
                f"{count(point.nodes, 'node')}: a run met the target at its first evaluation. Time and samples to it "
                "are at most those shown, and nothing is derived from them: evaluate more often, or take a farther "
                "target."
            )
        if not point.time_to_target_s.values:
            yield f"{count(point.nodes, 'node')}: not every run reached the target; its time to it is not compared."
    if any(point.runs < 3 for point in scaling.points):
        yield "Fewer than three runs of a size: its noise is not known, and no interval is given."
    yield from said_by_runs([run.metrics.warnings for run in scaling.runs], _WARNINGS_SHOWN)


def _bound(p: Point, text: str) -> str:
    return f"<= {text}" if p.at_most else text


def _percent(share: float | None, interval: Interval | None = None) -> str:
    return "-" if share is None else f"{100 * share:.1f}" + in_brackets(interval, 100)


def _whole(sample: Sample) -> str:
    return "-" if sample.median is None else f"{sample.median:,.0f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.1f}"
