"""A run as named points over its steps, for trackers of experiments: what TensorBoard, MLflow and W&B all take."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from . import keys
from .line import Event, as_ns, as_number
from .log import visit_log
from .metrics import Metrics
from .run import RunFolder
from .text import sanitise

POINTS_AT_MOST: Final = 2000
"""Of each name: windows of steps are averaged so that a long run does not become a long upload."""
_UNFIT: Final = re.compile(r"[^\w./ -]+")


@dataclass(frozen=True)
class Point:
    """One value of one name."""

    name: str
    value: float
    step: int
    unix_ns: int


@dataclass
class _Window:
    """Steps of the first rank that become one point of each name."""

    steps: int
    to_unix_ns: int
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seen: int = 0
    points: list[Point] = field(default_factory=list)
    last: tuple[int, int] = (0, 0)
    """Number of the last step, and its end."""

    def add(self, event: Event) -> None:
        if event.key == keys.EVAL_ACCURACY:
            value = as_number(event.fields.get("value"))
            if value is not None and math.isfinite(value):
                name = name_of(f"eval/{event.fields.get('metric', 'quality')}")
                self.points.append(Point(name, value, self.last[0], event.time_ns + self.to_unix_ns))
            return
        number, length_ns = as_ns(event.fields.get("step")), as_ns(event.fields.get("step_ns"))
        if event.key not in (keys.STEP, keys.BARE_STEP) or number is None or not length_ns:
            return
        self.last = number, event.time_ns
        if event.key == keys.BARE_STEP:  # it has neither phases nor a loss, but what comes next comes after it
            return
        values = {f"time/{p}_ms": as_ns(event.fields.get(f"{p}_ns")) for p in keys.PHASES}
        found: dict[str, float | None] = {name: None if v is None else v / 1e6 for name, v in values.items()}
        found |= {"time/step_ms": length_ns / 1e6, "train/loss": as_number(event.fields.get("loss"))}
        for name, value in found.items():
            if value is not None and math.isfinite(value):
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        self.seen += 1
        if self.seen >= self.steps:
            self.flush()

    def flush(self) -> None:
        step, time_ns = self.last
        for name, total in self.sums.items():
            self.points.append(Point(name, total / self.counts[name], step, time_ns + self.to_unix_ns))
        self.sums, self.counts, self.seen = {}, {}, 0


def points_of(folder: RunFolder, metrics: Metrics) -> Iterator[Point]:
    """Loss, step time and its phases as the first rank logged them, each evaluation; then the run's own numbers.

    Raises:
        ResultsInvalid: its log cannot be read.
    """
    placed = [record for record in metrics.records if record.launch_clock_ns(0) is not None]
    if placed:
        window = _Window(max(1, -(-metrics.steps // POINTS_AT_MOST)), placed[0].launch_clock_ns(0) or 0)
        visit_log(folder.rank_events(placed[0].rank), window.add)
        window.flush()
        yield from window.points
    end_ns = metrics.launched_unix_ns + round((metrics.split.wall_s or 0.0) * 1e9)
    for name, value in summary_of(metrics).items():
        yield Point(name, value, metrics.steps, end_ns)


def summary_of(metrics: Metrics) -> dict[str, float]:
    """The numbers of the whole run that are known."""
    quality, rates, communication = metrics.quality, metrics.throughput, metrics.communication
    found = {
        "run/time_to_target_s": metrics.time_to_target_s,
        "run/training_only_s": metrics.training_only_s,
        "run/wall_s": metrics.split.wall_s,
        "run/samples_per_s": rates.samples_per_s,
        "run/tokens_per_s": rates.tokens_per_s,
        "run/best_quality": quality.best.value if quality.best else None,
        "run/test_quality": quality.test.value if quality.test else None,
        "run/bus_bytes_per_s": communication.bus_bytes_per_s if communication else None,
        "run/overlap": communication.overlap if communication else None,
        **{f"run/{part}_s": metrics.split.mean_seconds(part) for part in ("launch", "startup", "communication")},
    }
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def facts_of(metrics: Metrics) -> dict[str, str]:
    """What was run, in words: the configuration, then the hyperparameters as the ranks logged them."""
    spec = metrics.spec
    names = ("task", "goal", "recipe", "division", "comparable", "dataset", "ranks", "nodes", "backend", "aggregation")
    more = ("fleet", "seed", "mlb_version", "git_revision", "target")
    facts: Mapping[str, Any] = metrics.records[0].facts if metrics.records else {}
    said = {name: getattr(spec, name) for name in (*names, *more)}
    return {name_of(key): sanitise(value, 200) for key, value in {**said, "status": metrics.status, **facts}.items()}


def name_of(text: str) -> str:
    """A name that every tracker takes."""
    return _UNFIT.sub("", sanitise(text, 100)).strip()
