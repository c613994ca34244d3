"""Communication of training steps, summed up over a run: what it cost, who was waited for, what would help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .breakdown import STEP_PARTS, Breakdown
from .columns import OPERATIONS, Integers
from .course import Course
from .extent import Extent
from .reduction import Alignment, Reduction, Taker, reduce
from .run import RunFolder, RunSpec
from .stragglers import Stragglers
from .windows import WINDOW


@dataclass(frozen=True)
class RankTimes:
    """One rank's mean step, without the warm-up; milliseconds."""

    rank: int
    step_ms: float
    parts_ms: dict[str, float]
    transfer_ms: float
    wait_ms: float
    hidden_ms: float
    hidden_transfer_ms: float
    handling_ms: float
    """Of `other`: handing over, compressing and unpacking what is communicated."""
    critical_steps: int
    """Steps in which the others waited for this rank."""
    caused_wait_ms: float
    """How long they did in such a step, in the mean."""
    blamed: dict[str, int]
    """Phase -> steps in which it was the one that took this rank longer than the others."""
    exposed_ns: dict[str, int]
    """Exposed transfer and wait over all joined steps, warm-up included: shares of the wall time."""


@dataclass(frozen=True)
class WhatIf:
    """A mean step under other circumstances, from the logs; `benchmarks/truth.py` checks each against a real run."""

    name: str
    step_ms: float
    rank: int | None = None


@dataclass(frozen=True)
class Communication:
    """The comparison of all ranks' steps."""

    reduction: Reduction
    ranks: tuple[RankTimes, ...]
    steps: int
    """Joined steps that the means are over."""
    collectives_per_step: dict[str, float]
    payload_bytes_per_step: float
    wire_bytes_per_step: float
    worst_residual: float
    """The largest share of any step of any rank that its parts leave out or count twice."""
    windows: int
    balanced_steps: int
    course: Course
    """Who was waited for, over the steps."""
    what_ifs: tuple[WhatIf, ...]

    @property
    def overlap(self) -> float | None:
        """Hidden transfer over all transfer, over all ranks; None where nothing was transferred."""
        transfer = sum(rank.transfer_ms for rank in self.ranks)
        return sum(rank.hidden_transfer_ms for rank in self.ranks) / transfer if transfer else None

    @property
    def bus_bytes_per_s(self) -> float | None:
        """Bytes a rank had to send per second in which the network worked (`busbw` of nccl-tests)."""
        transfer = sum(rank.transfer_ms for rank in self.ranks) / max(1, len(self.ranks))
        return self.wire_bytes_per_step / transfer * 1e3 if transfer else None

    def mean_ms(self, part: str) -> float:
        """A part of the mean step, mean over ranks."""
        return sum(rank.parts_ms[part] for rank in self.ranks) / len(self.ranks)

    def to_json(self) -> dict[str, Any]:
        alignment, health = self.reduction.alignment, self.reduction.health
        return {
            "method": alignment.method,
            "why_not_clocks": alignment.why,
            "clock_error_ns": alignment.error_ns,
            "clock_drift_ppm": {str(rank): clock.drift_ppm for rank, clock in (alignment.clocks or {}).items()},
            "joined_ranks": list(self.reduction.joined_ranks),
            "joined_steps": health.joined,
            "steps_of_rank": {str(rank): steps for rank, steps in health.steps.items()},
            "steps_not_on_all_ranks": health.alone,
            "mismatched_steps": health.mismatched,
            "unended_steps": health.unended,
            "misplaced_steps": health.misplaced,
            "measured_steps": self.steps,
            "worst_residual": self.worst_residual,
            "collectives_per_step": self.collectives_per_step,
            "payload_bytes_per_step": self.payload_bytes_per_step,
            "wire_bytes_per_step": self.wire_bytes_per_step,
            "bus_bytes_per_s": self.bus_bytes_per_s,
            "overlap": self.overlap,
            "balanced_steps": self.balanced_steps,
            "ranks": [vars(rank) for rank in self.ranks],
            "what_ifs": [vars(what_if) for what_if in self.what_ifs],
        }


@dataclass
class _Sums:
    """Sums over joined steps; arrays are by rank."""

    certain_ns: int = 0
    steps: int = 0
    worst_residual: float = 0.0
    operations: Counter[int] = field(default_factory=Counter)
    payload_bytes: int = 0
    wire_bytes: int = 0
    times: dict[str, Integers] = field(default_factory=dict)
    exposed_of_all: dict[str, Integers] = field(default_factory=dict)
    stragglers: Stragglers | None = None

    def add(self, steps: Breakdown) -> None:
        counted = ~steps.joined.warmup
        if self.stragglers is None:
            self.stragglers = Stragglers(steps.joined.ranks, self.certain_ns)
        self.stragglers.add(steps, counted)
        length = np.maximum(1, steps.joined["step_ns"])
        self.worst_residual = max(self.worst_residual, float((np.abs(steps.residual_ns) / length).max()))
        for part in ("exposed_transfer", "exposed_wait"):
            self.exposed_of_all[part] = self.exposed_of_all.get(part, 0) + steps.parts[part].sum(axis=1)
        self.steps += int(counted.sum())
        found = {f"parts {part}": values for part, values in steps.parts.items()} | {
            "step": steps.joined["step_ns"],
            "transfer": steps.transfer_ns,
            "wait": steps.wait_ns,
            "hidden": steps.hidden_ns,
            "hidden_transfer": steps.hidden_transfer_ns,
            "handling": steps.handling_ns,
        }
        for name, values in found.items():
            self.times[name] = self.times.get(name, 0) + values[:, counted].sum(axis=1)
        codes, numbers = np.unique(steps.joined.operation[counted], return_counts=True)
        self.operations.update(dict(zip(codes.tolist(), numbers.tolist(), strict=True)))
        self.payload_bytes += int(np.maximum(steps.joined.payload_bytes[counted], 0).sum())
        self.wire_bytes += int(steps.wire_bytes[counted].sum())


def communication_of(
    folder: RunFolder, spec: RunSpec, extent: Extent | None = None
) -> tuple[Reduction, Communication | None]:
    """Read the run's logs and compare the ranks' steps; None beside the totals if no step is on all of them.

    Args:
        extent: where the logs lie in time, if the run is wanted over time too.

    Raises:
        ResultsInvalid: a log cannot be read, or is in a format this version does not know.
    """
    sums = _Sums()

    def begin(alignment: Alignment) -> Taker:
        nonlocal sums
        sums = _Sums(certain_ns=alignment.error_ns or 0)
        return sums.add

    reduction = reduce(folder, spec, begin, extent)
    return reduction, _communication(reduction, sums)


def _communication(reduction: Reduction, sums: _Sums) -> Communication | None:
    found = sums.stragglers
    if found is None or not reduction.health.joined:
        return None
    steps = max(1, sums.steps)
    times = {name: values / steps / 1e6 for name, values in sums.times.items()}
    counts = {(*OPERATIONS, "other")[code]: count / steps for code, count in sums.operations.items() if code >= 0}
    return Communication(
        reduction=reduction,
        ranks=tuple(_rank(place, rank, times, sums, found) for place, rank in enumerate(found.ranks)),
        steps=sums.steps,
        collectives_per_step=counts,
        payload_bytes_per_step=sums.payload_bytes / steps,
        wire_bytes_per_step=sums.wire_bytes / steps,
        worst_residual=sums.worst_residual,
        windows=found.windows,
        balanced_steps=found.balanced,
        course=found.course,
        what_ifs=tuple(_what_ifs(float(times["step"].mean()), found)),
    )


def _rank(place: int, rank: int, times: dict[str, np.ndarray], sums: _Sums, found: Stragglers) -> RankTimes:
    critical = int(found.critical[place])
    blamed = {phase: int(found.blamed[place, p]) for p, phase in enumerate(WINDOW) if found.blamed[place, p]}
    mean = {name: float(values[place]) for name, values in times.items()}
    return RankTimes(
        rank=rank,
        step_ms=mean["step"],
        parts_ms={part: mean[f"parts {part}"] for part in STEP_PARTS},
        transfer_ms=mean["transfer"],
        wait_ms=mean["wait"],
        hidden_ms=mean["hidden"],
        hidden_transfer_ms=mean["hidden_transfer"],
        handling_ms=mean["handling"],
        critical_steps=critical,
        caused_wait_ms=float(found.caused_ns[place]) / 1e6 / max(1, critical),
        blamed=blamed,
        exposed_ns={part: int(values[place]) for part, values in sums.exposed_of_all.items()},
    )


def _what_ifs(step_ms: float, found: Stragglers) -> Iterator[WhatIf]:
    """The mean step, plus what the group's step model (stragglers.py) says that the change is worth."""
    if not found.windows or len(found.ranks) < 2 or not found.all_meet:
        return
    per_step = 1e6 * found.windows
    yield WhatIf("communication free", step_ms - found.transfer_ns / per_step)
    slowest = int(found.window_ns.argmax())
    gained = found.longest_ns - int(found.longest_without_ns[slowest])
    yield WhatIf("slowest rank as fast as the others", step_ms - gained / per_step, found.ranks[slowest])
    gained_ns = found.transfer_ns - found.transfer_at_twice_ns
    yield WhatIf("link twice as fast", step_ms - gained_ns / per_step)
