"""What measuring costs: of each pair of steps one is trained without a stopwatch, and both are timed from outside.

The pair's time runs from before the step to after its event is logged; what the log's thread does later is counted
as processor time. Beside the time stands the process's own processor time, which other ranks and other programs on
the same cores do not stretch: it needs far fewer pairs for the same certainty. All ranks leave out the same steps,
since a measured rank would hold up an unmeasured one.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ..results import keys
from ..results.writer import EventLog
from .clock import Clock, Mark
from .stopwatch import Step, Stopwatch


class BareWatch(Stopwatch):
    """Knows where a step begins and ends, and nothing in between."""

    def lap(self, phase: str) -> None:  # noqa: ARG002  # as the class above has it
        return None

    def collective(self, *_: object, **__: object) -> Callable[[], None]:
        return _nothing

    def end(self) -> Mark:
        assert self._step is not None, "end() outside a step"
        mark = self._clock.mark()
        self._step.marks.append(("other", mark))
        self._pending.append(self._step)
        self._step = None
        return mark


class Overhead:
    """Decides which steps run bare, takes the times of both kinds, and logs them."""

    def __init__(self, clock: Clock, log: EventLog, seed: int) -> None:
        self.bare = BareWatch(clock)
        self._clock = clock
        self._log = log
        self._seed = seed
        self._open: list[tuple[int, int, Mark, Mark, int]] = []
        self._log_thread_ns = log.thread_ns()

    def is_bare(self, step: int) -> bool:
        """Whether this step is to be left unmeasured: one of each pair, in an order drawn anew."""
        first = random.Random(self._seed * 1_000_003 + step // 2).random() < 0.5
        return first == (step % 2 == 0)

    def took(self, step: int, tokens: int, start: Mark, end: Mark, cpu_ns: int) -> None:
        """A step on so many tokens, and its logging, went from `start` to `end`, with so much processor time."""
        self._open.append((step, tokens, start, end, cpu_ns))

    def write(self) -> None:
        """Log the pairs so far; outside of steps, as it waits for the device."""
        times = {step: (self._clock.time_ns(end) - self._clock.time_ns(start), tokens, cpu_ns)
                 for step, tokens, start, end, cpu_ns in self._open}  # fmt: skip
        self._open.clear()
        for step in times:
            if self.is_bare(step) and step ^ 1 in times:
                pair = ("bare", times[step]), ("step", times[step ^ 1])
                names = ("ns", "tokens", "cpu_ns")
                both = {f"{kind}_{name}": n for kind, found in pair for name, n in zip(names, found, strict=True)}
                self._log.event(keys.OVERHEAD_PAIR, step=step & ~1, **both)
        now = self._log.thread_ns()
        self._log.event(keys.LOG_THREAD, cpu_ns=now - self._log_thread_ns)
        self._log_thread_ns = now

    def write_bare_steps(self, steps: list[Step]) -> None:
        """Log the steps that were not measured, so that their time has a name in the split of the wall time."""
        for step in steps:
            assert step.start is not None
            start, end = self._clock.time_ns(step.start), self._clock.time_ns(step.marks[-1][1])
            self._log.event(
                keys.BARE_STEP,
                time_ns=end,
                epoch_num=step.epoch_num,
                step=step.step,
                start_ns=start,
                step_ns=end - start,
                samples=step.samples,
                tokens=step.tokens,
                warmup=step.warmup,
            )


def _nothing() -> None:
    return None
