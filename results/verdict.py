"""How a run ended, of what it failed, and what a reader should know before trusting its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .cause import FailureCause as FailureCause
from .cause import failure_of as failure_of
from .health import LogHealth
from .node import GOING_ON
from .rank import RankRecord
from .run import NodeStatus, RunSpec
from .split import TOLERANCE_PERCENT, Split
from .text import count, duration, ranges, sanitise

GOAL_REACHED: Final = "goal reached"
GOAL_MISSED: Final = "goal missed"
FAILED: Final = "failed"
HANG: Final = "hang"
"""No rank got on any more; the stacks of all were taken, and it was ended."""
INTERRUPTED: Final = "interrupted"
"""A machine was taken away, restarted or lost for good: nothing of the run says how the fleet does."""
STOPPED: Final = "stopped"
RUNNING: Final = "running"
INCOMPLETE: Final = "incomplete"
"""The run's processes or logs are gone, and nothing says how it ended."""

STATUSES: Final = (GOAL_REACHED, GOAL_MISSED, FAILED, HANG, INTERRUPTED, STOPPED, RUNNING, INCOMPLETE)
FAILURES: Final = (FAILED, HANG, INTERRUPTED)
"""Those that have a cause."""

_CLOCK_STEP_NS = 50_000_000


def status_of(records: Sequence[RankRecord], nodes: Sequence[NodeStatus], met: bool, state: str | None = None) -> str:
    """One of `STATUSES`.

    What the agents saw counts first: a rank that is killed cannot log it. A result that was reached before
    somebody stopped the run stays a result.

    Args:
        met: whether an evaluation reached the target.
        state: how the run stands for who can look at its processes (`lost`, where they are gone without a word); None
            where nobody looked: then one that its agents last called running counts as running.
    """
    reasons = [record.stopped for record in records if record.stopped is not None]
    ended = bool(reasons) and reasons[0] != "stopped"
    states = {state, *(node.state for node in nodes)}
    for gravest in (INTERRUPTED, HANG, FAILED):
        if gravest in states:
            return gravest
    if "aborted" in states:
        return FAILED
    if "stopped" in states and not ended:
        return STOPPED
    if any(record.failure for record in records):
        return FAILED
    if reasons:
        return (GOAL_REACHED if met else GOAL_MISSED) if ended else STOPPED
    going_on = any(not node.final for node in nodes) if state is None else state in GOING_ON
    return RUNNING if going_on else INCOMPLETE


def warnings_of(
    spec: RunSpec, status: str, records: Sequence[RankRecord], nodes: Sequence[NodeStatus], split: Split
) -> Iterator[str]:
    """What is to be known before the numbers are used, in plain words, the gravest first."""
    if not spec.comparable:
        yield f"{standing_of(spec)} with other systems' results."
    if spec.resumed_run:
        yield f"resumed from {sanitise(spec.resumed_run)}: its times are those of the rest, not of the whole training."
    if spec.changes:
        yield f"changed from the recipe: {', '.join(sanitise(f'{k}={v}') for k, v in spec.changes.items())}."
    if spec.beside:
        others = ", ".join(sanitise(run) for run in spec.beside)
        yield f"other runs were going on on the same machine, so its times are not its own: {others}."
    yield from (sanitise(caveat) for caveat in spec.caveats)
    yield from _about_result(status, records, nodes)
    if status != RUNNING:
        yield from _about_presence(spec, records)
    for record in records:
        yield from _about_log(record, spec, status)
    yield from _about_time(split, status)
    yield from _about_clocks(records, split)


def standing_of(spec: RunSpec) -> str:
    """`closed: comparable`, `open: not comparable`; a reduced recipe is named before its division."""
    kind = "smoke" if spec.recipe == "smoke" else spec.division
    return sanitise(f"{kind}: {'' if spec.comparable else 'not '}comparable")


def is_sound(status: NodeStatus) -> bool:
    """Whether the values that are used here are of their types: the file came from a node."""
    numbers = [status.node, status.clock_offset_ns]
    for failure in status.failures:
        numbers += [failure.rank, failure.exit_code, failure.seen_unix_ns]
    return isinstance(status.state, str) and all(type(number) is int for number in numbers)


def _about_result(status: str, records: Sequence[RankRecord], nodes: Sequence[NodeStatus]) -> Iterator[str]:
    said = {record.stopped for record in records} - {None}
    if len(said) > 1:
        yield f"The ranks do not agree on why the run ended: {', '.join(sorted(str(s) for s in said))}."
    if status == GOAL_MISSED and "goal" in said:
        yield "The ranks say that the goal was reached, but no evaluation in the logs reaches it."
    if status == INCOMPLETE:
        ended = nodes and all(node.final for node in nodes)
        cause = "its processes have ended" if ended else "there is no word from its processes"
        yield f"The run is incomplete: no log tells how it ended, and {cause}."


def _about_presence(spec: RunSpec, records: Sequence[RankRecord]) -> Iterator[str]:
    missing = set(range(spec.ranks)) - {record.rank for record in records}
    if missing:
        yield f"No log of {_ranks(missing)}: their time, steps and results are not in this report."
    cut = [record.rank for record in records if not record.health.complete]
    if cut:
        yield f"The log of {_ranks(cut)} was cut off: what came after its last line is unknown."


def _about_log(record: RankRecord, spec: RunSpec, status: str) -> Iterator[str]:
    of_rank = f"in the log of rank {record.rank}"
    for noun, number in _damage(record.health, status == RUNNING):
        yield f"{count(number, noun)} {of_rank}."
    if record.malformed:
        yield f"{count(record.malformed, 'event')} without the fields of its kind {of_rank}: left out."
    if record.uneven_steps:
        yield f"{count(record.uneven_steps, 'step')} whose phases do not add up to it {of_rank}."
    if record.start_ns is None:
        yield f"No log_start {of_rank}: it cannot be placed in time and is left out of the split."
    elif record.rank_said not in (None, record.rank) or record.run_id not in ("", sanitise(spec.run_id)):
        said = f"rank {record.rank_said} of run {record.run_id}"
        yield f"The log of rank {record.rank} says that it is of {said}: the folder mixes runs."


def _damage(health: LogHealth, running: bool) -> Iterator[tuple[str, int]]:
    # The last line of a log that is being written is torn most of the time.
    torn = 0 if running else health.torn
    counts = {
        "corrupt line": health.corrupt,
        "torn line": torn,
        "lost line": health.lost,
        "repeated or misplaced line": health.out_of_order,
    }
    yield from ((noun, number) for noun, number in counts.items() if number)


def _about_time(split: Split, status: str) -> Iterator[str]:
    astray = [rank for rank in split.ranks if not rank.adds_up]
    if astray and status not in {RUNNING, INCOMPLETE}:
        worst = max(astray, key=lambda rank: abs(rank.unaccounted_percent))
        yield (
            f"The times of {_ranks([rank.rank for rank in astray])} do not add up to the wall time: "
            f"{worst.unaccounted_percent:.1f} % of rank {worst.rank}'s is unaccounted, over {TOLERANCE_PERCENT:g} %."
        )
    for rank in split.ranks:
        if rank.overlap_ns > _CLOCK_STEP_NS:
            yield f"{duration(rank.overlap_ns / 1e9)} of rank {rank.rank}'s time is claimed by two events."


def _about_clocks(records: Sequence[RankRecord], split: Split) -> Iterator[str]:
    for record in records:
        step_ns = record.clock_step_ns or 0
        if abs(step_ns) > _CLOCK_STEP_NS:
            yield (
                f"The wall clock of rank {record.rank}'s node was set by {step_ns / 1e9:+.3f} s in the run. "
                "Durations are not affected, as they come from the monotonic clock."
            )
    early = [rank.rank for rank in split.ranks if rank.parts_ns["launch"] < 0]
    if early:
        yield f"By its node's wall clock {_ranks(early)} began before the launch: the nodes' clocks disagree."


def _ranks(numbers: Sequence[int] | set[int]) -> str:
    return f"rank{'' if len(numbers) == 1 else 's'} {ranges(numbers)}"
