"""The numbers of a run, from the files of its folder alone; a run that goes on gives those it has so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ResultsInvalid
from .communication import Communication, communication_of
from .consistency import Consistency, consistency_of, warnings_about
from .cost import cost_of, energy_j_of
from .doubts import doubts_about
from .extent import Extent, extent_of, guess_extent
from .health import CORRUPT_SHOWN
from .line import finite
from .overhead import MeasuringCost, measuring_cost
from .probe import Probe, probe_of
from .quality import Quality, quality_of
from .rank import RankRecord
from .reduction import Reduction
from .resources import NodeResources, node_resources
from .run import NodeStatus, RunFolder, RunSpec
from .series import Series, read_series, series_of
from .split import Split, split_of
from .text import sanitise
from .throughput import Throughput, throughput_of
from .verdict import FAILURES, RUNNING, FailureCause, failure_of, is_sound, status_of, warnings_of
from .wall import set_wall_offsets

METRICS_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Metrics:
    """Everything a report says about a run."""

    spec: RunSpec
    hosts: tuple[str, ...]
    status: str
    """One of `verdict.STATUSES`."""
    stop_reason: str | None
    """As the ranks logged it: `goal`, `epochs`, `steps`, `stopped`; None if they did not."""
    launch_clock: str
    """What the launch is counted from: `launched`, or `created` where that is not known."""
    launched_unix_ns: int
    """That moment: the zero of the split."""
    quality: Quality
    time_to_target_s: float | None
    """From `run_start` to the evaluation that met the target, with everything on the clock."""
    time_to_target_from_launch_s: float | None
    training_only_s: float | None
    """Time in training steps up to that evaluation, on the rank where it is the longest."""
    throughput: Throughput
    steps: int
    epochs: int
    tokens: int
    samples: int
    split: Split
    communication: Communication | None
    """The ranks' steps compared; None where no step is in the logs of all ranks."""
    probe: Probe | None
    """What an all-reduce could do before the run; None where nobody looked."""
    measuring_cost: MeasuringCost | None
    """What measuring costs a step; None in a run that does not measure it."""
    resources: tuple[NodeResources, ...]
    """Of the nodes that were sampled."""
    consistency: Consistency
    series: Series | None
    """The run over time; None where nobody asked for it, and while there is nothing to show."""
    records: tuple[RankRecord, ...]
    """Of the ranks that have a log."""
    own_ranks: tuple[int, ...]
    """Those of them whose log is of this run and this rank."""
    failure: FailureCause | None
    warnings: tuple[str, ...]

    @property
    def details(self) -> dict[str, Any]:
        """What the last evaluations found besides the quality, as the first rank logged it."""
        return self.records[0].details if self.records else {}

    @property
    def foreign_ranks(self) -> tuple[int, ...]:
        """Those whose log is there and is of another run or another rank, as the warnings say."""
        return tuple(record.rank for record in self.records if record.rank not in self.own_ranks)

    def refuse_if_nothing_is_known(self) -> None:
        """For a run that is over.

        Raises:
            ResultsInvalid: it has no log that could be believed, and nobody said how it failed.
        """
        begun = [record for record in self.records if record.start_ns is not None]
        if self.status in FAILURES or any(record.rank in self.own_ranks for record in begun):
            return
        others = ", ".join(sorted({record.run_id for record in begun} - {""}))
        raise ResultsInvalid(
            f"Nothing can be said about the run {sanitise(self.spec.run_id)}: none of its {self.spec.ranks} ranks has "
            "a log of it.",
            why=f"The logs in its folder are of {others}." if others else "The logs are missing or hold no log_start.",
            fix="Pull the run's logs again, or name another run: mlb runs",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for `metrics.json`; numbers that are not finite are the log's words for them."""
        spec = self.spec
        names = (
            "run_id",
            "task",
            "goal",
            "recipe",
            "changes",
            "division",
            "comparable",
            "metric",
            "target",
            "seed",
            "ranks",
        )
        facts: dict[str, Any] = {
            "schema_version": METRICS_SCHEMA_VERSION,
            **{name: getattr(spec, name) for name in names},
            "target_is_upper_bound": spec.target_is_upper_bound,
            "dataset": spec.dataset,
            "dataset_origin": spec.data_origin,
            "backend": spec.backend,
            "aggregation": spec.aggregation,
            "fleet": spec.fleet,
            "hosts": list(self.hosts),
            "mlb_version": spec.mlb_version,
            "git_revision": spec.git_revision,
            "status": self.status,
            "stop_reason": self.stop_reason,
            "launch_clock": self.launch_clock,
            "quality": asdict(self.quality),
            "time_to_target_s": self.time_to_target_s,
            "time_to_target_from_launch_s": self.time_to_target_from_launch_s,
            "training_only_s": self.training_only_s,
            "throughput": asdict(self.throughput),
            "steps": self.steps,
            "epochs": self.epochs,
            "tokens": self.tokens,
            "samples": self.samples,
            "time": self.split.to_json(),
            "communication": self.communication and self.communication.to_json(),
            "probe": self.probe and asdict(self.probe),
            "measuring_cost": self.measuring_cost and asdict(self.measuring_cost),
            "cost": (cost := cost_of(self)) and cost.to_json(),
            "energy_j": energy_j_of(self),
            "resources": [asdict(node) for node in self.resources],
            "consistency": asdict(self.consistency),
            "logs": _logs_json(self.records),
            "failure": self.failure and self.failure.to_json(),
            "hyperparameters": self.records[0].facts if self.records else {},
            "evaluation_details": self.details,
            "warnings": list(self.warnings),
        }
        plain: dict[str, Any] = finite(facts)
        return plain


def compute(folder: RunFolder, buckets: int = 0, *, state: str | None = None) -> Metrics:
    """The metrics of the run in `folder`, finished or not.

    Args:
        buckets: of its series, which takes a quarter more time; 0 for none.
        state: how the run stands, where somebody looked at its processes (see `status_of`).

    Raises:
        ResultsInvalid: it is no run folder, or a log in it cannot be read or has a format of another version.
    """
    spec = folder.read_spec()
    guessed = guess_extent(folder, spec, buckets) if buckets else None
    reduction, communication = communication_of(folder, spec, guessed)
    records = reduction.records
    nodes, broken = _statuses(folder, spec)
    walls = set_wall_offsets(folder, spec, records, reduction.alignment.clocks or {}, nodes)
    launched = spec.launched_unix_ns or min((r.launched_unix_ns for r in records if r.launched_unix_ns), default=0)
    zero = launched or spec.created_unix_ns
    split = split_of(records, zero)
    quality = quality_of(spec, records, zero)
    reached = quality.reached
    status = status_of(records, nodes, reached is not None, state)
    consistency = consistency_of(spec, records)
    doubts = doubts_about(spec, reduction, communication, status == RUNNING)
    warnings = [*warnings_of(spec, status, records, nodes, split), *walls, *warnings_about(consistency), *doubts]
    return Metrics(
        spec=spec,
        hosts=tuple(dict.fromkeys(record.host for record in records if record.host)),
        status=status,
        stop_reason=next((record.stopped for record in records if record.stopped is not None), None),
        launch_clock="launched" if launched else "created",
        launched_unix_ns=zero,
        quality=quality,
        time_to_target_s=reached.since_run_start_s if reached else None,
        time_to_target_from_launch_s=reached.since_launch_s if reached else None,
        training_only_s=reached.training_s if reached else None,
        throughput=throughput_of(records, spec.ranks),
        steps=max((record.all_steps.steps for record in records), default=0),
        epochs=max((record.epochs for record in records), default=0),
        tokens=sum(record.all_steps.tokens for record in records),
        samples=sum(record.all_steps.samples for record in records),
        split=split,
        communication=communication,
        probe=probe_of(folder),
        measuring_cost=measuring_cost(records),
        resources=tuple(_resources(folder, spec)),
        consistency=consistency,
        series=_series(folder, reduction, guessed, extent_of(records, zero, split.wall_s, buckets))
        if buckets
        else None,
        records=records,
        own_ranks=reduction.joined_ranks,
        failure=failure_of(records, nodes) if status in FAILURES else None,
        warnings=(*warnings, *broken),
    )


def _series(folder: RunFolder, reduction: Reduction, guessed: Extent | None, extent: Extent | None) -> Series | None:
    if extent is None:
        return None
    if extent == guessed:
        return series_of([reduction.series[rank] for rank in extent.shift_ns])
    # A log that grew meanwhile, whose ends are damaged, or whose node's wall clock was off: read once more, now that
    # its extent is known.
    return series_of([read_series(folder, rank, extent) for rank in extent.shift_ns])


def _statuses(folder: RunFolder, spec: RunSpec) -> tuple[list[NodeStatus], list[str]]:
    """What the nodes' agents last said, and a warning for each that cannot be read."""
    statuses: list[NodeStatus] = []
    broken: list[str] = []
    # A node holds at least one rank, so there are no more nodes than ranks.
    for node in range(spec.ranks):
        try:
            status = folder.read_status(node)
        except ResultsInvalid as error:
            broken.append(f"The status of node {node} cannot be read: {sanitise(error.why)}")
            continue
        if status is not None and is_sound(status):
            statuses.append(status)
        elif status is not None:
            broken.append(f"The status of node {node} holds values of wrong types: left out.")
    return statuses, broken


def _resources(folder: RunFolder, spec: RunSpec) -> Iterator[NodeResources]:
    for node in range(spec.ranks):
        found = node_resources(folder.node_resources(node), node)
        if found is not None:
            yield found


def _logs_json(records: Sequence[RankRecord]) -> dict[str, Any]:
    healths = [record.health for record in records]
    names = ("lines", "corrupt", "torn", "lost", "out_of_order")
    corrupt = [
        {"rank": record.rank, "offset": line.offset, "reason": line.reason}
        for record in records
        for line in record.health.corrupt_lines
    ]
    return {
        **{name: sum(getattr(health, name) for health in healths) for name in names},
        "malformed": sum(record.malformed for record in records),
        "complete": sum(health.complete for health in healths),
        "corrupt_lines": corrupt[:CORRUPT_SHOWN],
    }
