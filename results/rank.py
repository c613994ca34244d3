"""What one rank's event log adds up to; it grows with evaluations, not with steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .columns import Group
from .health import LogHealth


@dataclass(frozen=True)
class RankEvaluation:
    """One evaluation as one rank logged it."""

    epoch: int | None
    split: str
    repeat: int
    """0 for the first evaluation of this split in this epoch."""
    value: float
    time_ns: int
    training_ns: int
    """Time in training steps up to here, on this rank."""

    @property
    def key(self) -> tuple[int | None, str, int]:
        """Names the same evaluation on every rank."""
        return self.epoch, self.split, self.repeat


@dataclass
class StepTotals:
    """Sums over training steps of one rank."""

    steps: int = 0
    step_ns: int = 0
    samples: int = 0
    tokens: int = 0

    def plus(self, other: StepTotals) -> StepTotals:
        return StepTotals(
            self.steps + other.steps,
            self.step_ns + other.step_ns,
            self.samples + other.samples,
            self.tokens + other.tokens,
        )


@dataclass(frozen=True)
class LoggedFailure:
    """What a rank itself said about its end."""

    kind: str
    message: str
    collateral: bool


@dataclass
class RankRecord:
    """The totals of one rank; times are of its node's monotonic clock, durations in nanoseconds."""

    rank: int
    health: LogHealth = field(default_factory=LogHealth)
    start_ns: int | None = None
    """`log_start`; with `start_unix_ns` it places this rank's times on the calendar."""
    start_unix_ns: int | None = None
    launched_unix_ns: int = 0
    begin_ns: int | None = None
    """Where the launch ends: `log_start`, or the first interval's start where that lies before it."""
    last_ns: int = 0
    """The latest time in the log; of a complete log, that of `log_stop`."""
    wall_offset_ns: int = 0
    """What to add to the node's wall clock to have that of the machine which launched the run (`wall`)."""
    clock_step_ns: int | None = None
    """How far the wall clock was set between `log_start` and `log_stop`."""
    run_id: str = ""
    host: str = ""
    rank_said: int | None = None
    run_start_ns: int | None = None
    stopped: str | None = None
    """The reason of the first `run_stop`; None before it."""
    parts_ns: Counter[str] = field(default_factory=Counter)
    outside_ns: Counter[str] = field(default_factory=Counter)
    """Collectives outside of steps, by the part of the split that they are in; waiting included."""
    unplaced_ns: int = 0
    """Such collectives whose stage or evaluation has not ended yet."""
    stages_ns: Counter[str] = field(default_factory=Counter)
    """Start-up stages by name."""
    warm_up: StepTotals = field(default_factory=StepTotals)
    measured: StepTotals = field(default_factory=StepTotals)
    epochs: int = 0
    evaluations: list[RankEvaluation] = field(default_factory=list)
    repeats: Counter[tuple[int | None, str]] = field(default_factory=Counter)
    """Evaluations of each epoch and split."""
    digest: str | None = None
    failure: LoggedFailure | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    """What the last evaluation of each split found besides the quality: `test BLEU (13a)` -> its value."""
    best_possible: float | None = None
    malformed: int = 0
    """Events of a known kind that lack what their kind needs: left out."""
    overlap_ns: int = 0
    """Time that two intervals both claim."""
    uneven_steps: int = 0
    """Steps whose phases do not add up to them."""
    busy_until_ns: int = 0
    clock_trouble: str = ""
    """Why this rank could not compare its clock with rank 0's; empty if it could."""
    groups: dict[int, Group] = field(default_factory=dict)
    """Number -> the ranks that collectives with that number wait for."""
    overhead_pairs: dict[int, tuple[float, float]] = field(default_factory=dict)
    """First step of a pair -> nanoseconds a token of its two steps, the bare one and the measured one."""
    overhead_cpu_pairs: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Likewise, of the process's processor time."""
    overhead_ns: int = 0
    """What the measured steps of the pairs took."""
    log_thread_ns: int = 0
    """Processor time of the thread that writes the log, over the steps of those pairs."""

    @property
    def all_steps(self) -> StepTotals:
        return self.warm_up.plus(self.measured)

    def unix_ns(self, time_ns: int) -> int | None:
        """The node's wall clock at `time_ns`; a later setting of it does not move it."""
        if self.start_ns is None or self.start_unix_ns is None:
            return None
        return self.start_unix_ns + time_ns - self.start_ns

    def launch_clock_ns(self, time_ns: int) -> int | None:
        """The wall clock of the machine which launched the run, at `time_ns`: one clock for the ranks of all nodes."""
        unix_ns = self.unix_ns(time_ns)
        return None if unix_ns is None else unix_ns + self.wall_offset_ns
