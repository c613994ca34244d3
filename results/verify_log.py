"""One rank's log as a story, and what is wrong with it: order, clocks, counts, and what contradicts itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from . import keys
from .health import LogHealth
from .line import Event, as_ns, as_number
from .log import visit_log
from .quality import TEST_SPLIT
from .run import RunSpec
from .text import sanitise

_SLACK_NS: Final = 10_000_000
"""Marks of one step are taken one after the other, and a GPU's are rounded: so far two spans may overlap."""
_CLOCK_NS: Final = 1_000_000_000
_STEPS: Final = (keys.STEP, keys.BARE_STEP)


@dataclass
class Story:
    """What a rank says happened, in the order in which it says so."""

    rank: int
    said: Counter[str] = field(default_factory=Counter)
    """How often each kind of event came up."""
    step_numbers: list[int | None] = field(default_factory=list)
    samples: list[int | None] = field(default_factory=list)
    evaluations: list[tuple[int, str, float | None]] = field(default_factory=list)
    """Steps before it, split, value."""
    reason: str = ""
    faults: list[str] = field(default_factory=list)
    global_batch: int | None = None
    start: Event | None = None
    stop: Event | None = None
    health: LogHealth = field(default_factory=LogHealth)
    _span_end_ns: int = 0
    _mark_ns: int = 0
    _epoch: int = 0

    def add(self, event: Event) -> None:
        """Take in the next event."""
        self.said[event.key] += 1
        # A step may be written later than it ended: its span is checked instead.
        if event.key not in _STEPS:
            if event.time_ns < self._mark_ns:
                self.faults.append(
                    f"its clock runs backwards at line {event.seq}, by {self._mark_ns - event.time_ns} ns"
                )
            self._mark_ns = max(self._mark_ns, event.time_ns)
        self._span_end_ns = _span(self, event, self._span_end_ns)
        if event.key in (*_STEPS, keys.EVAL_ACCURACY) and not self.said[keys.RUN_START]:
            self.faults.append(f"it has a {event.key} before run_start")
        if event.key in _STEPS:
            self._epoch = _step(self, event, self._epoch)
        elif event.key in _TAKE:
            _TAKE[event.key](self, event)


def story_of(rank: int, path: Path) -> Story:
    """Read a log with the eyes of a referee, in bounded memory.

    Raises:
        ResultsInvalid: it cannot be read.
    """
    story = Story(rank)
    story.health = visit_log(path, story.add)
    return story


def faults_of_log(spec: RunSpec, story: Story) -> Iterator[str]:
    """Each fault of one log as a sentence."""
    name, health = f"The log of rank {story.rank}", story.health
    for noun, number in (
        ("corrupt", health.corrupt),
        ("torn", health.torn),
        ("missing", health.lost),
        ("repeated or misplaced", health.out_of_order),
    ):
        if number:
            yield f"{name} has {number} {noun} line{'s' if number > 1 else ''}."
    yield from (f"{name}: {fault}." for fault in story.faults[:10])
    yield from (f"{name} {fault}" for fault in _of_first_line(spec, story))
    yield from (f"{name} {fault}" for fault in _of_counts(story))
    if not spec.resumed_run and story.step_numbers and story.step_numbers[0] != 0:
        yield f"{name} begins with step {story.step_numbers[0]}."
    met = next(
        (n for n, split, v in story.evaluations if split != TEST_SPLIT and v is not None and spec.met_by(v)), None
    )
    if met is not None and len(story.step_numbers) > met:
        yield f"{name}: training went on after the goal was met, for {len(story.step_numbers) - met} steps."
    if story.reason and story.reason != "stopped" and not health.complete:
        yield f"{name} says how the run ended, and was cut off."


def faults_across(spec: RunSpec, stories: Sequence[Story]) -> Iterator[str]:
    """What the logs of several ranks say against each other."""
    for what, values in (
        ("number of steps", {len(story.step_numbers) for story in stories}),
        ("number of evaluations", {len(story.evaluations) for story in stories}),
        ("reason of the end", {story.reason for story in stories}),
    ):
        ended = all(story.said[keys.RUN_STOP] and story.reason != "stopped" for story in stories)
        if len(values) > 1 and (ended or what == "reason of the end"):
            yield f"The ranks do not agree on the {what}: {', '.join(sorted(map(str, values)))}."
    batch = next((story.global_batch for story in stories if story.global_batch), None)
    if batch and len(stories) == spec.ranks:
        for step, samples in enumerate(zip(*(story.samples for story in stories), strict=False)):
            if sum(s or 0 for s in samples) > batch:
                yield f"Step {step} trained on {sum(s or 0 for s in samples)} samples; the global batch is {batch}."
                break


def _span(story: Story, event: Event, end_ns: int) -> int:
    """Check that spans of time lie one behind the other; returns where the last one ends."""
    field_name = "step_ns" if event.key in _STEPS else "duration_ns"
    if event.key not in (*_STEPS, keys.STAGE, keys.EVAL_STOP):
        return end_ns
    start, length = as_ns(event.fields.get("start_ns")), as_ns(event.fields.get(field_name))
    if start is None or length is None:
        story.faults.append(f"a {event.key} at line {event.seq} has no start and length")
        return end_ns
    if start < end_ns - _SLACK_NS:
        story.faults.append(
            f"a {event.key} at line {event.seq} begins {(end_ns - start) / 1e9:.3f} s before the last one ends"
        )
    if abs(event.time_ns - start - length) > _SLACK_NS:
        story.faults.append(f"a {event.key} at line {event.seq} does not end where its start and length say")
    return max(end_ns, start + length)


def _step(story: Story, event: Event, epoch: int) -> int:
    fields = event.fields
    story.step_numbers.append(as_ns(fields.get("step")))
    story.samples.append(as_ns(fields.get("samples")))
    # A run that goes on from a checkpoint does not begin at 0.
    expected = (story.step_numbers[0] or 0) + len(story.step_numbers) - 1
    if story.step_numbers[-1] != expected:
        story.faults.append(f"step {expected} calls itself {sanitise(fields.get('step'), 20)}")
    if story.said[keys.RUN_STOP]:
        story.faults.append(f"step {sanitise(fields.get('step'), 20)} comes after run_stop")
    phases = [as_ns(fields.get(f"{phase}_ns")) for phase in keys.PHASES]
    length = as_ns(fields.get("step_ns")) or 0
    uneven = None in phases or abs(sum(p or 0 for p in phases) - length) > max(10_000, length // 100)
    if uneven and event.key == keys.STEP:
        story.faults.append(f"the phases of step {sanitise(fields.get('step'), 20)} do not add up to it")
    now = as_ns(fields.get("epoch_num")) or 0
    if now < epoch:
        story.faults.append(f"step {sanitise(fields.get('step'), 20)} goes back from epoch {epoch} to {now}")
    return max(now, epoch)


def _evaluation(story: Story, event: Event) -> None:
    split, value = str(event.fields.get("split")), as_number(event.fields.get("value"))
    story.evaluations.append((len(story.step_numbers), split, value))
    if split != TEST_SPLIT and story.said[keys.RUN_STOP]:
        story.faults.append(f"the {sanitise(split, 20)} evaluation at line {event.seq} comes after run_stop")
    if value is None:
        story.faults.append(f"the evaluation at line {event.seq} has no value")


def _run_stop(story: Story, event: Event) -> None:
    story.reason = story.reason or sanitise(event.fields.get("reason", ""), 40)
    success = event.fields.get("status") == "success"
    if success != (event.fields.get("reason") == "goal"):
        status, reason = (sanitise(event.fields.get(name), 20) for name in ("status", "reason"))
        story.faults.append(f"run_stop has the status {status} and the reason {reason}")


def _of_first_line(spec: RunSpec, story: Story) -> Iterator[str]:
    start, stop = story.start, story.stop
    if start is None:
        yield "has no log_start."
        return
    for name, expected in (("rank", story.rank), ("run_id", spec.run_id), ("world_size", spec.ranks)):
        if start.fields.get(name) != expected:
            yield f"says that it is of {name} {sanitise(start.fields.get(name), 80)}, not {expected}."
    if start.seq != 0:
        yield "does not begin with its log_start."
    unix, launched = as_ns(start.fields.get("unix_time_ns")), spec.launched_unix_ns
    if unix is not None and launched and unix < launched - _CLOCK_NS:
        yield f"begins {(launched - unix) / 1e9:.1f} s before the launch."
    if launched and start.fields.get("launched_unix_ns") not in (None, 0, launched):
        yield "names another moment of the launch than run.json."
    stop_unix = as_ns(stop.fields.get("unix_time_ns")) if stop else None
    if stop and stop_unix is not None and unix is not None:
        drift = (stop_unix - unix) - (stop.time_ns - start.time_ns)
        if abs(drift) > _CLOCK_NS:
            yield f"has two clocks that disagree by {drift / 1e9:+.1f} s between its first and its last line."


def _of_counts(story: Story) -> Iterator[str]:
    said = story.said
    for key in (keys.LOG_START, keys.RUN_START, keys.RUN_STOP, keys.LOG_STOP, keys.PARAMETER_DIGEST):
        if said[key] > 1:
            yield f"has {said[key]} events {key}; there is one."
    if said[keys.EVAL_ACCURACY] != said[keys.EVAL_STOP]:
        yield f"has {said[keys.EVAL_ACCURACY]} results of {said[keys.EVAL_STOP]} evaluations."
    if said[keys.RUN_STOP] and not said[keys.RUN_START] and story.reason != "stopped":
        yield "has a run_stop without a run_start."


def _log_start(story: Story, event: Event) -> None:
    story.start = story.start or event


def _log_stop(story: Story, event: Event) -> None:
    story.stop = event


def _global_batch(story: Story, event: Event) -> None:
    story.global_batch = as_ns(event.fields.get("value"))


_TAKE: dict[str, Callable[[Story, Event], None]] = {
    keys.LOG_START: _log_start,
    keys.LOG_STOP: _log_stop,
    keys.EVAL_ACCURACY: _evaluation,
    keys.RUN_STOP: _run_stop,
    keys.GLOBAL_BATCH_SIZE: _global_batch,
}
