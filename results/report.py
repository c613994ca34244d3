"""What a report says, from metrics to words; how it is set is `table`'s business, or a terminal's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .communication import Communication
from .cost import cost_of, energy_j_of, target_words_of, words_of
from .metrics import Metrics
from .quality import Evaluation
from .report_steps import RANKS_SHOWN, step_rows, step_table, what_if_table
from .split import PARTS, Split
from .table import Report, Table, markdown_of, text_of
from .tail import last_lines
from .text import count, duration, ranges, sanitise, sanitise_lines
from .throughput import rate_words, work_words
from .verdict import (
    FAILED,
    GOAL_MISSED,
    GOAL_REACHED,
    HANG,
    INCOMPLETE,
    INTERRUPTED,
    STOPPED,
    FailureCause,
    standing_of,
)

EVALUATIONS_SHOWN = 8
_STAGES_SHOWN = 20
_HOSTS_SHOWN = 8
_TAIL_BYTES = 16 << 10
_WORTH_A_NOTE_S = 0.005

PART_LABELS = {
    "startup": "start-up",
    "host_to_device": "host to device",
    "other": "other in steps",
    "bare_steps": "steps not measured",
    "between_epochs": "between epochs",
    "ending": "ending (2)",
    "unaccounted": "unaccounted (3)",
}


def render(metrics: Metrics) -> Report:
    """The report as plain data; everything that came from a log or another machine is sanitised."""
    return Report(
        title=(*_title(metrics), _result(metrics)),
        failure=tuple(_failure(metrics.failure)) if metrics.failure else (),
        rows=(*_times(metrics), *_work(metrics), *step_rows(metrics), *_circumstances(metrics)),
        tables=tuple(_tables(metrics)),
        warnings=tuple(sanitise(warning) for warning in metrics.warnings),
    )


def to_text(metrics: Metrics, width: int = 100) -> str:
    """The report for a terminal of `width` characters."""
    return text_of(render(metrics), width)


def to_markdown(metrics: Metrics) -> str:
    """The report as Markdown."""
    return markdown_of(render(metrics))


def last_words(log: Path, lines: int = 10) -> str:
    """The last lines of a process's output, sanitised; empty if there is none or it cannot be read."""
    try:
        tail = last_lines(log, _TAIL_BYTES, _TAIL_BYTES)
    except OSError:
        return ""
    # Empty lines are left out first, then the last ones are taken.
    return "\n".join(sanitise_lines(tail, last=lines))


def _title(metrics: Metrics) -> Iterator[str]:
    spec = metrics.spec
    yield sanitise(f"{spec.task}, goal {spec.goal}: run {spec.run_id}")
    yield sanitise(f"{standing_of(spec)} (recipe {spec.recipe}, division {spec.division})")


def _result(metrics: Metrics) -> str:
    spec, reached, best = metrics.spec, metrics.quality.reached, metrics.quality.best
    metric = sanitise(spec.metric)
    aim = f"{'<=' if spec.target_is_upper_bound else '>='} {_number(spec.target)}"
    at_best = f"{metric} {_quality(metrics, best)} at best{_at(best)}" if best else "not evaluated"
    if reached:
        met = f"{metric} {_quality(metrics, reached)} {aim}{_at(reached)}"
        return (
            f"Goal reached: {met}" if metrics.status == GOAL_REACHED else f"{_state(metrics)}, after it reached {met}"
        )
    return f"{_state(metrics)}: {at_best}, target {aim}"


def _state(metrics: Metrics) -> str:
    if metrics.status == GOAL_MISSED and metrics.stop_reason == "steps":
        return f"Goal not reached in the {count(metrics.steps, 'step')} asked for"
    if metrics.status == GOAL_MISSED:
        return f"Goal missed in {count(metrics.epochs, 'epoch')}"
    words = {
        FAILED: "Failed",
        HANG: "Hang",
        INTERRUPTED: "Interrupted",
        STOPPED: "Stopped on request",
        INCOMPLETE: "Incomplete",
    }
    moment = f"in epoch {metrics.epochs + 1}" if metrics.steps else "before the first step"
    return f"{words.get(metrics.status, 'Running')} {moment}"


def _failure(cause: FailureCause) -> Iterator[str]:
    subject = f"rank {cause.rank}" if cause.rank is not None else f"the agent of node {cause.node}"
    node = f" on node {cause.node}" if cause.rank is not None and cause.node is not None else ""
    parts = (f"Cause: {subject}{node}", cause.how, cause.message)
    yield ": ".join(part for part in parts if part)
    yield from cause.last_lines


def _times(metrics: Metrics) -> Iterator[tuple[str, str]]:
    origin = "the launch" if metrics.launch_clock == "launched" else "the run's creation"
    if metrics.quality.reached:
        yield "Time to target", f"{duration(metrics.time_to_target_s)} from run_start, everything on the clock"
        yield f"  from {origin}", duration(metrics.time_to_target_from_launch_s)
        yield "  training only", f"{duration(metrics.training_only_s)} in training steps, on the slowest rank"
    else:
        yield "Time to target", "target not reached"
    if metrics.split.wall_s is not None:
        yield "Wall time", f"{duration(metrics.split.wall_s)} from {origin} to the end of the last rank's log"
    if cost_of(metrics):
        yield "Cost", sanitise(words_of(metrics))
        if to_target := target_words_of(metrics):
            yield "  to the target", to_target
    if energy_j := energy_j_of(metrics):
        yield "Energy", f"{energy_j / 1e3:,.1f} kJ of all GPUs while they were sampled"


def _work(metrics: Metrics) -> Iterator[tuple[str, str]]:
    rates, quality = metrics.throughput, metrics.quality
    work = work_words(metrics.tokens, metrics.samples)
    yield "Trained", f"{count(metrics.epochs, 'epoch')}, {count(metrics.steps, 'step')}, {work}"
    skipped = f"without {count(rates.warmup_steps, 'warm-up step')}" if rates.warmup_steps else "no warm-up steps"
    if rates.tokens_per_s is not None:
        yield "Throughput", f"{rate_words(rates.tokens_per_s, rates.samples_per_s)} ({skipped}; all ranks)"
    if rates.warmup_steps and rates.samples_per_s_with_warmup is not None:
        yield "  with warm-up", rate_words(rates.tokens_per_s_with_warmup, rates.samples_per_s_with_warmup)
    if quality.final:
        yield f"Last {sanitise(metrics.spec.metric)}", _quality(metrics, quality.final) + _at(quality.final)
    if quality.test:
        yield "Final " + _of_test(metrics.spec.metric), _number(quality.test.value)
    for name, value in metrics.details.items():
        yield f"  {name}", _number(value) if isinstance(value, float) else str(value)
    if quality.best_possible is not None:
        reached = f"; best reached {_quality(metrics, quality.best)}" if quality.best else ""
        yield "Best possible", f"{_number(quality.best_possible)} by the data's own entropy{reached}"


def _circumstances(metrics: Metrics) -> Iterator[tuple[str, str]]:
    spec = metrics.spec
    yield "Data", sanitise(f"{spec.dataset} ({spec.data_origin})" if spec.data_origin else spec.dataset)
    hosts = list(metrics.hosts[:_HOSTS_SHOWN])
    more = [f"and {len(metrics.hosts) - len(hosts)} more"] if len(metrics.hosts) > len(hosts) else []
    on = f" on {', '.join(hosts + more)}" if hosts else ""
    threads = f"{count(spec.threads_per_rank, 'thread')} each"
    backend = f"{spec.backend} over {spec.network}" if spec.network else spec.backend
    yield "Ranks", sanitise(f"{spec.ranks}, {backend}, {spec.aggregation}, {threads}, fleet {spec.fleet}{on}")
    yield "Seed", str(spec.seed)
    yield "mlb", sanitise(f"{spec.mlb_version} {spec.git_revision}".strip())
    yield "Ranks agree", _agreement(metrics)
    complete = sum(record.health.complete for record in metrics.records)
    lines = sum(record.health.lines for record in metrics.records)
    yield "Event logs", f"{complete} of {spec.ranks} complete, {count(lines, 'line')}"


def _agreement(metrics: Metrics) -> str:
    words = {True: "yes", False: "NO", None: "not known"}
    both = metrics.consistency
    return f"parameters: {words[both.parameters_equal]}; evaluations: {words[both.evaluations_equal]}"


def _tables(metrics: Metrics) -> Iterator[Table]:
    if metrics.split.ranks:
        yield _split_table(metrics.split, metrics.communication)
    if metrics.communication and metrics.communication.steps:
        yield step_table(metrics.communication)
        if metrics.communication.what_ifs:
            yield what_if_table(metrics.communication)
    if metrics.split.startup:
        yield _startup_table(metrics.split)
    if metrics.quality.evaluations:
        yield _evaluation_table(metrics)


def _split_table(split: Split, communication: Communication | None) -> Table:
    many = len(split.ranks) > RANKS_SHOWN
    each = tuple(f"rank {rank.rank}" for rank in split.ranks) if len(split.ranks) > 1 else ()
    wall_s = split.wall_s or 0.0

    def row(label: str, seconds: list[float]) -> tuple[str, ...]:
        mean = sum(seconds) / len(seconds)
        spread = (min(seconds), max(seconds)) if many else seconds[: len(each)]
        return (label, _seconds(mean), f"{100 * mean / wall_s if wall_s > 0 else 0.0:.1f}", *map(_seconds, spread))

    exposed = _exposed(split, communication) if each else {}
    rows: list[tuple[str, ...]] = []
    for part in PARTS:
        if part == "bare_steps" and not any(rank.parts_ns[part] for rank in split.ranks):
            continue
        label = "communication (1)" if part == "communication" and each and not exposed else PART_LABELS.get(part, part)
        rows.append(row(label, [rank.seconds(part) for rank in split.ranks]))
        if part == "communication":
            rows += [row(f"  of it {name}", seconds) for name, seconds in exposed.items()]
    headers = ("part", "mean s" if each else "s", "%", *(("least s", "most s") if many else each))
    return Table(
        "Where the wall time went",
        headers,
        (*rows, ("wall", _seconds(wall_s), "100.0", *[_seconds(wall_s)] * (len(headers) - 3))),
        sums_up=True,
        notes=tuple(_split_notes(split, bool(exposed) or not each)),
    )


def _exposed(split: Split, communication: Communication | None) -> dict[str, list[float]]:
    """Seconds of exposed transfer and of waiting by rank; empty where they are not known of every rank."""
    known = {rank.rank: rank.exposed_ns for rank in communication.ranks} if communication else {}
    if any(rank.rank not in known for rank in split.ranks):
        return {}
    labels = {"exposed_transfer": "transfer", "exposed_wait": "waiting for a rank"}
    return {label: [known[rank.rank][part] / 1e9 for rank in split.ranks] for part, label in labels.items()}


def _split_notes(split: Split, told_apart: bool) -> Iterator[str]:
    if not told_apart:
        yield "(1) The waiting for slower ranks included: the ranks' logs do not allow to tell it apart."
    yield "(2) From the end of a rank's own log to the end of the last rank's."
    astray = [rank.rank for rank in split.ranks if not rank.adds_up]
    verdict = f"over 1 % on rank {ranges(astray)}" if astray else "within 1 % on every rank"
    yield f"(3) The wall time less all parts above: {verdict}."
    outside = [(part, seconds) for part in PARTS if (seconds := split.mean_outside_seconds(part)) >= _WORTH_A_NOTE_S]
    if outside:
        shares = ", ".join(f"{_seconds(seconds)} s of {part.replace('_', ' ')}" for part, seconds in outside)
        yield f"Collectives outside of training steps, waiting included: {shares} (mean over ranks)."


def _startup_table(split: Split) -> Table:
    stages = split.startup[:_STAGES_SHOWN]
    return Table(
        "Start-up by stages",
        ("stage", f"rank {split.ranks[0].rank if split.ranks else 0} s", "slowest s", "its rank"),
        tuple((s.name, _seconds(s.first_rank_s), _seconds(s.slowest_s), str(s.slowest_rank)) for s in stages),
    )


def _evaluation_table(metrics: Metrics) -> Table:
    shown = metrics.quality.evaluations[-EVALUATIONS_SHOWN:]
    hidden = len(metrics.quality.evaluations) - len(shown)
    return Table(
        f"Evaluations{f' (the last {len(shown)}; {hidden} before them)' if hidden else ''}",
        ("split", "epoch", "value", "since run_start s", "training only s"),
        tuple(
            (
                e.split,
                str(e.epoch) if e.epoch else "-",
                _quality(metrics, e),
                "-" if e.since_run_start_s is None else _seconds(e.since_run_start_s),
                _seconds(e.training_s),
            )
            for e in shown
        ),
    )


def _quality(metrics: Metrics, evaluation: Evaluation | None) -> str:
    """The value, with as many digits as it takes to show on which side of the target it lies."""
    if evaluation is None:
        return "-"
    spec, value = metrics.spec, evaluation.value
    texts = (_number(value, digits) for digits in (4, 6, 9))
    return next((t for t in texts if spec.met_by(float(t)) == spec.met_by(value)), repr(value))


def _number(value: float, digits: int = 4) -> str:
    """`digits` significant digits, but never fewer than the whole part has."""
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 1e15 else f"{value:.{digits}g}"


def _seconds(value: float) -> str:
    return f"{value:,.3f}"


def _of_test(metric: str) -> str:
    return sanitise(metric.replace("validation", "test") if "validation" in metric else f"test {metric}")


def _at(evaluation: Evaluation | None) -> str:
    return f" at epoch {evaluation.epoch}" if evaluation and evaluation.epoch else ""
