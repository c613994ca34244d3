"""The training loop, one for all tasks: it owns time, the log and the end of a run; the task owns the maths."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..aggregation.base import Aggregation
from ..results import keys
from ..results.run import RunSpec
from ..results.writer import EventLog
from ..tasks.base import Batch, Evaluation, Task
from .alignment import ClockExchange
from .checkpoint import Checkpoints, Position
from .clock import Mark, clock_for
from .loss import LossReader, cause_of
from .overhead import Overhead
from .stopwatch import Step, Stopwatch, is_sampled

WARMUP_STEPS = 3
"""Steps of a process that are marked as warm-up: they pay for first allocations, kernel selection and connection
set-up, which a resumed run pays for again."""


class TrainingLoop:
    """Trains until the goal is met, the epochs or steps are used up, or the loss stops being a number."""

    def __init__(
        self,
        spec: RunSpec,
        task: Task,
        aggregation: Aggregation,
        log: EventLog,
        device: torch.device,
        clocks: ClockExchange | None = None,
        *,
        checkpoints: Checkpoints | None = None,
        start: Position | None = None,
    ) -> None:
        """Get ready to train.

        Args:
            clocks: where ranks compare clocks; None where this rank is alone.
            checkpoints: saves the run's state from time to time; None: nothing does.
            start: where a resumed run goes on; the task is in the state it had there.
        """
        self._spec = spec
        self._task = task
        self._aggregation = aggregation
        self._log = log
        self._clock = clock_for(device)
        self._watch = Stopwatch(self._clock, self._log_group)
        aggregation.observer = self._watch
        aggregation.clip_norm = task.clip_norm
        self._forward = aggregation.wrap(task.forward)
        self._clocks = clocks
        self._overhead = Overhead(self._clock, log, spec.seed) if spec.measure_overhead else None
        self._losses = LossReader(device)
        self._recent_losses: deque[float] = deque(maxlen=4)
        self._checkpoints = checkpoints
        self._start = start or Position()
        self._steps = self._start.steps
        self._tokens = 0

    def run(self) -> str:
        """Train to the end; returns the reason of the end: `goal`, `epochs` or `steps`."""
        self._compare_clocks()
        self._log.event(keys.RUN_START)
        reason = self._train()
        self._log.event(keys.RUN_STOP, status="success" if reason == "goal" else "aborted", reason=reason)
        if self._spec.max_steps is None and "test" in self._task.splits:
            self._evaluate("test", epoch=0)
        with self.stage(keys.STAGE_FINISH):
            self._compare_clocks()
            self._aggregation.finish()
            self._log.event(keys.PARAMETER_DIGEST, value=parameter_digest(self._task.model))
            if self._checkpoints is not None:
                self._checkpoints.wait()
        return reason

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Log what happens inside as an interval outside of steps."""
        start = time.monotonic_ns()
        yield
        log_stage(self._log, name, start)

    def _train(self) -> str:
        for epoch in range(self._start.epoch, self._spec.max_epochs + 1):
            with self.stage(keys.STAGE_EPOCH):
                self._clock.settle()
                if epoch > self._start.epoch:  # the first of this process comes right behind the comparison before it
                    self._compare_clocks()
                self._log.event(keys.EPOCH_START, epoch_num=epoch)
            self._epoch(epoch)
            self._log.event(keys.EPOCH_STOP, epoch_num=epoch)
            if self._steps == self._spec.max_steps:
                return "steps"
            evaluation = self._evaluate("validation", epoch)
            if self._spec.met_by(evaluation.quality):
                return "goal"
            with self.stage(keys.STAGE_EPOCH):
                self._adapt(epoch, evaluation)
        return "epochs"

    def _epoch(self, epoch: int) -> None:
        done = self._start.epoch_steps if epoch == self._start.epoch else 0
        batches = self._task.batches(epoch, done)
        start: Mark | None = None
        while self._steps != self._spec.max_steps:
            if self._overhead:
                start = self._step_of_pair(self._overhead, epoch, batches)
            else:
                sampled = is_sampled(self._steps, self._spec.measure_every)
                start = self.step(epoch, batches, start, measured=sampled)
            if start is None:
                break
            done += 1
            self._write_steps(self._watch.finished())
            if self._checkpoints is not None and self._checkpoints.due(self._steps):
                self._save(self._checkpoints, Position(epoch, done, self._steps))
                start = None
        self._write_steps(self._watch.finished(wait=True))
        if self._overhead:
            self._overhead.write()

    def _save(self, checkpoints: Checkpoints, position: Position) -> None:
        self._write_steps(self._watch.finished(wait=True))  # a loss that is no number is not saved
        with self.stage(keys.STAGE_CHECKPOINT):
            checkpoints.take(self._task, position)

    def step(
        self, epoch: int, batches: Iterator[Batch], start: Mark | None = None, *, measured: bool = True
    ) -> Mark | None:
        """One training step, timed from the mark `start` (None: from now).

        Returns:
            Its last mark, where the next step starts; None if there was no batch left.
        """
        step = self._watch.begin(epoch, self._steps, start=start, measured=measured)
        if start is not None:
            self._watch.lap("other")  # writing down the step before, which is no waiting for data
        batch = next(batches, None)
        if batch is None:
            self._watch.abandon()
            return None
        self._watch.lap("input")
        batch = self._task.to_device(batch)
        self._watch.lap("host_to_device")
        *earlier, last = batch.parts or (batch,)
        losses = []
        for part in earlier:
            with self._aggregation.accumulating():
                losses.append(self._pass(part, "backward"))
        losses.append(self._pass(last, self._aggregation.backward_ends_in))
        step.bytes_reduced = self._aggregation.reduce()
        self._watch.lap("communication")
        self._aggregation.clip()
        self._task.optimise()
        self._watch.lap("optimiser")
        if self._aggregation.acts_after_step:
            step.bytes_reduced += self._aggregation.after_step()
            self._watch.lap("communication")
        step.samples, step.tokens = batch.samples, batch.tokens
        self._tokens = batch.tokens
        step.warmup = self._steps - self._start.steps < WARMUP_STEPS
        step.loss = self._losses.capture(torch.stack(losses).sum() if batch.parts else losses[0])
        self._steps += 1
        return self._watch.end()

    def _pass(self, part: Batch, backward_ends_in: str) -> torch.Tensor:
        """Forward and backward; returns the loss."""
        objective, loss = self._forward(part)
        self._watch.lap("forward")
        objective.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self._watch.lap(backward_ends_in)
        return loss

    def _step_of_pair(self, overhead: Overhead, epoch: int, batches: Iterator[Batch]) -> Mark | None:
        """As `step`, but one of each pair unmeasured, and both timed together with their logging."""
        number, start = self._steps, self._clock.mark()
        measured = not overhead.is_bare(number)
        cpu_ns = time.process_time_ns()
        end = self.step(epoch, batches, start, measured=measured)
        if end is not None:
            if measured:
                self._write_steps(self._watch.finished())
            end = self._clock.mark()
            if number - self._start.steps >= WARMUP_STEPS + 1:
                overhead.took(number, self._tokens, start, end, time.process_time_ns() - cpu_ns)
        return end

    def _log_group(self, number: int, ranks: tuple[int, ...], steps_behind: int) -> None:
        self._log.event(keys.GROUP, number=number, ranks=ranks, steps_behind=steps_behind)

    def _write_steps(self, steps: list[Step]) -> None:
        for step in steps:
            loss, times = self._losses.read(step.loss), self._watch.times(step)
            end_ns = times["start_ns"] + times["step_ns"]
            facts = {"epoch_num": step.epoch_num, "step": step.step, **times, "samples": step.samples}
            if step.measured:
                more = {"bytes_reduced": step.bytes_reduced, "loss": loss, "warmup": step.warmup}
                self._log.event(keys.STEP, time_ns=end_ns, **facts, tokens=step.tokens, **more)
            else:
                self._log.event(keys.BARE_STEP, time_ns=end_ns, **facts, tokens=step.tokens, warmup=step.warmup)
            if not math.isfinite(loss):
                where = f"the loss became {loss} in step {step.step} of epoch {step.epoch_num}"
                raise FloatingPointError(f"{where}; {cause_of(self._recent_losses)}")
            self._recent_losses.append(loss)

    def _evaluate(self, split: str, epoch: int) -> Evaluation:
        start = time.monotonic_ns()
        self._log.event(keys.EVAL_START, time_ns=start, epoch_num=epoch, split=split)
        with self._aggregation.evaluating(self._task.averages()):
            evaluation = self._task.evaluate(split)
        self._clock.settle()
        stop = time.monotonic_ns()
        self._log.event(
            keys.EVAL_STOP,
            time_ns=stop,
            epoch_num=epoch,
            split=split,
            start_ns=start,
            duration_ns=stop - start,
            samples=evaluation.samples,
        )
        self._log.event(
            keys.EVAL_ACCURACY,
            time_ns=stop,
            value=evaluation.quality,
            metric=f"{split} {self._task.metric}",
            epoch_num=epoch,
            split=split,
        )
        for name, value in evaluation.details.items():
            self._log.event(keys.EVAL_DETAIL, time_ns=stop, name=name, value=value, epoch_num=epoch, split=split)
        return evaluation

    def _compare_clocks(self) -> None:
        """Log how far this rank's clock is from rank 0's; all ranks come here together."""
        if self._clocks is None:
            return
        offset = self._clocks.measure()
        if offset is None:
            self._log.event(keys.CLOCK_SYNC, trouble=self._clocks.trouble)
            return
        fields = {"offset_ns": offset.offset_ns, "error_ns": offset.error_ns, "rounds": offset.rounds}
        self._log.event(keys.CLOCK_SYNC, time_ns=offset.time_ns, **fields)

    def _adapt(self, epoch: int, evaluation: Evaluation) -> None:
        optimiser = self._task.end_epoch(evaluation.quality)
        if optimiser:
            self._log.event(keys.OPTIMISER_SWITCH, value=optimiser, epoch_num=epoch)


def log_stage(log: EventLog, name: str, start_ns: int) -> None:
    """Log the interval from `start_ns` to now as a stage."""
    now = time.monotonic_ns()
    log.event(keys.STAGE, time_ns=now, name=name, start_ns=start_ns, duration_ns=now - start_ns)


def parameter_digest(model: torch.nn.Module) -> str:
    """SHA-256 over the bytes of all parameters in their order: equal digests mean bit-identical weights."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
