"""From the events of one rank's log to its record: one pass, one small function a kind of event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import keys
from .clocks import as_sync
from .columns import Group, StepColumns
from .line import Event, as_ns, as_number
from .rank import LoggedFailure, RankEvaluation, RankRecord
from .text import sanitise

# Stages that are not start-up, and the part of the split that each belongs to.
PART_OF_STAGE = {
    keys.STAGE_EPOCH: "between_epochs",
    keys.STAGE_CHECKPOINT: "between_epochs",
    keys.STAGE_FINISH: "finish",
}

_FACTS = frozenset({keys.SEED, keys.PARAMETER_COUNT, *keys.MLPERF_HYPERPARAMETERS})
_FACTS_KEPT = 200
_BEHIND_AT_MOST = 100_000
"""Steps by which a collective may wait for earlier ones of other ranks: what is kept of them takes memory."""
_ROUNDING_NS = 10_000
"""A GPU's marks are 32-bit floats of milliseconds; anything beyond their rounding is the writer's mistake."""


def add(record: RankRecord, event: Event) -> None:
    """Add one event to the record; the log's order is the order of calls."""
    record.last_ns = max(record.last_ns, event.time_ns)
    add_kind = _ADD.get(event.key)
    if add_kind is not None and not add_kind(record, event):
        record.malformed += 1


def add_steps(record: RankRecord, steps: StepColumns) -> None:
    """Add many `step` events at once, in their order: the same as `add` for each."""
    start, duration = steps["start_ns"], steps["step_ns"]
    _begin_with(record, int(start[0]))
    ends = np.maximum.accumulate(np.concatenate([[record.busy_until_ns], start + duration]))
    record.overlap_ns += int(np.minimum(duration, np.maximum(0, ends[:-1] - start)).sum())
    record.busy_until_ns = int(ends[-1])
    record.last_ns = max(record.last_ns, int(steps["time_ns"].max()))
    phases = {phase: steps[f"{phase}_ns"] for phase in keys.PHASES}
    record.parts_ns.update({phase: int(values.sum()) for phase, values in phases.items()})
    astray = np.abs(np.sum(list(phases.values()), axis=0) - duration)
    record.uneven_steps += int((astray > np.maximum(_ROUNDING_NS, duration // 100)).sum())
    for totals, which in ((record.warm_up, steps.warmup), (record.measured, ~steps.warmup)):
        totals.steps += int(which.sum())
        totals.step_ns += int(duration[which].sum())
        totals.samples += int(steps["samples"][which].sum())
        totals.tokens += int(steps["tokens"][which].sum())


# One function a kind of event, in the order of a log; False says that the event lacks what its kind needs.


def _log_start(record: RankRecord, event: Event) -> bool:
    unix = as_ns(event.fields.get("unix_time_ns"))
    if unix is None or record.start_ns is not None:
        return False
    record.start_ns = record.begin_ns = record.busy_until_ns = event.time_ns
    record.start_unix_ns = unix
    record.launched_unix_ns = as_ns(event.fields.get("launched_unix_ns")) or 0
    record.rank_said = as_ns(event.fields.get("rank"))
    record.run_id = sanitise(event.fields.get("run_id", ""))
    record.host = sanitise(event.fields.get("host", ""), 80)
    return True


def _log_stop(record: RankRecord, event: Event) -> bool:
    unix, expected = as_ns(event.fields.get("unix_time_ns")), record.unix_ns(event.time_ns)
    if unix is not None and expected is not None:
        record.clock_step_ns = unix - expected
    return unix is not None


def _stage(record: RankRecord, event: Event) -> bool:
    name = event.fields.get("name")
    duration = _interval(record, event, "duration_ns") if isinstance(name, str) else None
    if not isinstance(name, str) or duration is None:
        return False
    part = PART_OF_STAGE.get(name, "startup")
    record.parts_ns[part] += duration
    _place_collectives(record, part)
    if part == "startup":
        record.stages_ns[sanitise(name, 40)] += duration
    return True


def _step(record: RankRecord, event: Event) -> bool:
    phases = [as_ns(event.fields.get(f"{phase}_ns")) for phase in keys.PHASES]
    known = [phase for phase in phases if phase is not None]
    duration = _interval(record, event, "step_ns") if len(known) == len(phases) else None
    if duration is None:
        return False
    record.parts_ns.update(dict(zip(keys.PHASES, known, strict=True)))
    if abs(sum(known) - duration) > max(_ROUNDING_NS, duration // 100):
        record.uneven_steps += 1
    _add_to_totals(record, event, duration)
    return True


def _bare_step(record: RankRecord, event: Event) -> bool:
    duration = _interval(record, event, "step_ns")
    if duration is None:
        return False
    record.parts_ns["bare_steps"] += duration
    _add_to_totals(record, event, duration)
    return True


def _add_to_totals(record: RankRecord, event: Event, duration: int) -> None:
    totals = record.warm_up if event.fields.get("warmup") is True else record.measured
    totals.steps += 1
    totals.step_ns += duration
    totals.samples += as_ns(event.fields.get("samples")) or 0
    totals.tokens += as_ns(event.fields.get("tokens")) or 0


def _overhead_pair(record: RankRecord, event: Event) -> bool:
    names = ("step", "bare_ns", "bare_tokens", "step_ns", "step_tokens")
    place, *values = (as_ns(event.fields.get(name)) for name in names)
    bare, bare_tokens, measured, tokens = (value or 0 for value in values)
    if place is None or not (bare and bare_tokens and measured and tokens):
        return False
    record.overhead_pairs[place] = bare / bare_tokens, measured / tokens
    bare_cpu, measured_cpu = (as_ns(event.fields.get(name)) for name in ("bare_cpu_ns", "step_cpu_ns"))
    if bare_cpu and measured_cpu:
        record.overhead_cpu_pairs[place] = bare_cpu / bare_tokens, measured_cpu / tokens
    record.overhead_ns += measured
    return True


def _log_thread(record: RankRecord, event: Event) -> bool:
    cpu_ns = as_ns(event.fields.get("cpu_ns"))
    record.log_thread_ns += cpu_ns or 0
    return cpu_ns is not None


def _clock_sync(record: RankRecord, event: Event) -> bool:
    if "trouble" in event.fields:
        record.clock_trouble = sanitise(event.fields["trouble"])
        return True
    return as_sync(event) is not None


def _eval_stop(record: RankRecord, event: Event) -> bool:
    duration = _interval(record, event, "duration_ns")
    if duration is None:
        return False
    record.parts_ns["evaluation"] += duration
    _place_collectives(record, "evaluation")
    return True


def _collective(record: RankRecord, event: Event) -> bool:
    duration = as_ns(event.fields.get("duration_ns"))
    record.unplaced_ns += duration or 0
    return duration is not None


def _group(record: RankRecord, event: Event) -> bool:
    number, behind = as_ns(event.fields.get("number")), as_ns(event.fields.get("steps_behind"))
    ranks = event.fields.get("ranks")
    if not number or behind is None or behind > _BEHIND_AT_MOST or not isinstance(ranks, list):
        return False
    known = [rank for rank in map(as_ns, ranks) if rank is not None]
    if len(known) == len(ranks) and len(record.groups) < _FACTS_KEPT:
        record.groups[number] = Group(tuple(known), behind)
    return len(known) == len(ranks)


def _place_collectives(record: RankRecord, part: str) -> None:
    """Those since the last such call were in the interval that has ended now."""
    if record.unplaced_ns:
        record.outside_ns[part] += record.unplaced_ns
        record.unplaced_ns = 0


def _interval(record: RankRecord, event: Event, field: str) -> int | None:
    """The length of the event's span of time, or None if it names none; notes overlap with the span before.

    The span is `start_ns` and the duration in `field`: a step that was resolved later may be stamped later.
    """
    start, duration = as_ns(event.fields.get("start_ns")), as_ns(event.fields.get(field))
    if start is None or duration is None:
        return None
    _begin_with(record, start)
    record.overlap_ns += min(duration, max(0, record.busy_until_ns - start))
    record.busy_until_ns = max(record.busy_until_ns, start + duration)
    return duration


def _begin_with(record: RankRecord, start: int) -> None:
    """The first interval: the import begins with the process, a moment before the process has a log."""
    if record.busy_until_ns == record.start_ns and record.begin_ns is not None:
        record.begin_ns = record.busy_until_ns = min(record.begin_ns, start)


def _eval_accuracy(record: RankRecord, event: Event) -> bool:
    value = as_number(event.fields.get("value"))
    if value is None:
        return False
    epoch, split = as_ns(event.fields.get("epoch_num")), sanitise(event.fields.get("split", "validation"), 40)
    repeat = record.repeats[epoch, split]
    record.repeats[epoch, split] += 1
    training_ns = record.all_steps.step_ns
    record.evaluations.append(RankEvaluation(epoch, split, repeat, value, event.time_ns, training_ns))
    return True


def _run_start(record: RankRecord, event: Event) -> bool:
    record.run_start_ns = event.time_ns
    return True


def _run_stop(record: RankRecord, event: Event) -> bool:
    if record.stopped is None:
        record.stopped = sanitise(event.fields.get("reason", ""), 40)
    return True


def _epoch_stop(record: RankRecord, event: Event) -> bool:
    epoch = as_ns(event.fields.get("epoch_num"))
    record.epochs = max(record.epochs, epoch or 0)
    return epoch is not None


def _digest(record: RankRecord, event: Event) -> bool:
    record.digest = sanitise(event.fields.get("value", ""), 128)
    return True


def _failure(record: RankRecord, event: Event) -> bool:
    if record.failure is None:
        fields = event.fields
        kind, message = sanitise(fields.get("kind", "")), sanitise(fields.get("message", ""))
        record.failure = LoggedFailure(kind, message, fields.get("collateral") is True)
    return True


def _best_possible(record: RankRecord, event: Event) -> bool:
    record.best_possible = as_number(event.fields.get("value"))
    return record.best_possible is not None


def _fact(record: RankRecord, event: Event) -> bool:
    name = event.fields.get("name") if event.key == keys.HYPERPARAMETER else event.key
    if isinstance(name, str) and len(record.facts) < _FACTS_KEPT:
        record.facts[sanitise(name, 80)] = _scalar(event.fields.get("value"))
    return isinstance(name, str)


def _detail(record: RankRecord, event: Event) -> bool:
    name, split = event.fields.get("name"), event.fields.get("split")
    known = isinstance(name, str) and isinstance(split, str)
    if known and len(record.details) < _FACTS_KEPT:
        record.details[sanitise(f"{split} {name}", 120)] = _scalar(event.fields.get("value"))
    return known


def _scalar(value: object) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else sanitise(value)


_ADD: dict[str, Callable[[RankRecord, Event], bool]] = {
    keys.LOG_START: _log_start,
    keys.LOG_STOP: _log_stop,
    keys.STAGE: _stage,
    keys.STEP: _step,
    keys.BARE_STEP: _bare_step,
    keys.OVERHEAD_PAIR: _overhead_pair,
    keys.LOG_THREAD: _log_thread,
    keys.GROUP: _group,
    keys.COLLECTIVE: _collective,
    keys.CLOCK_SYNC: _clock_sync,
    keys.EVAL_STOP: _eval_stop,
    keys.EVAL_ACCURACY: _eval_accuracy,
    keys.RUN_START: _run_start,
    keys.RUN_STOP: _run_stop,
    keys.EPOCH_STOP: _epoch_stop,
    keys.PARAMETER_DIGEST: _digest,
    keys.FAILURE: _failure,
    keys.BEST_POSSIBLE: _best_possible,
    keys.HYPERPARAMETER: _fact,
    keys.EVAL_DETAIL: _detail,
    **dict.fromkeys(_FACTS, _fact),
}
