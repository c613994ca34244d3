"""How long runs will take and what they will cost, from the runs that were made before."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..provisioner.runs import all_runs
from ..results.line import as_number
from .dirs import runs_dir
from .fleets import THIS_MACHINE, chosen
from .request import Request

_LOOK_AT = 300
"""Newest runs that are looked at."""
_ALIKE = ("task", "goal", "fleet")
_CLOSE = ("aggregation", "backend", "ranks", "recipe", "max_steps", "dataset")


@dataclass(frozen=True)
class Estimate:
    """The time of some runs."""

    seconds: float | None
    """None where no run like them was made."""
    known: int
    """Runs it goes by."""
    usd_per_hour: float | None
    """The fleet's list price; None where it has none, 0 where nothing is rented."""
    fleet_ends_unix_s: float
    """Infinite where it does not."""

    @property
    def usd(self) -> float | None:
        """Of all of them; None where that is not known."""
        if self.usd_per_hour == 0:
            return 0.0
        if self.seconds is None or self.usd_per_hour is None:
            return None
        return self.usd_per_hour * self.seconds / 3600


def estimate(requests: Sequence[Request]) -> Estimate:
    """The time and cost of runs one after the other: each as long as the median of the runs most like it."""
    fleet = chosen(requests[0].fleet) if requests else None
    past = _past()
    usd_per_hour, ends_unix_s = (fleet.usd_per_hour, fleet.expires_unix_s) if fleet else (0.0, math.inf)
    times: list[float] = []
    used = 0
    for request in requests:
        near = _nearest(request, fleet.name if fleet else THIS_MACHINE, past)
        if not near:
            return Estimate(None, 0, usd_per_hour, ends_unix_s)
        times.append(median(near))
        used = max(used, len(near))
    return Estimate(sum(times), used, usd_per_hour, ends_unix_s)


def _past() -> list[tuple[dict[str, Any], float]]:
    """What was asked for and the wall time of the whole runs that came to their own end, the newest first."""
    found = []
    for run in all_runs(runs_dir())[: -_LOOK_AT - 1 : -1]:
        try:
            spec, metrics = json.loads(run.spec.read_text()), json.loads(run.metrics.read_text())
            wall_s = as_number(metrics["time"]["wall_s"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        ended = str(metrics.get("status", "")).startswith("goal")
        if wall_s and ended and isinstance(spec, dict) and not spec.get("resumed_run"):
            found.append((spec, wall_s))
    return found


def _nearest(request: Request, fleet: str, past: Sequence[tuple[dict[str, Any], float]]) -> list[float]:
    from ..tasks import catalogue

    info = catalogue.task(request.task)
    goal = request.goal or info.default_goal
    wanted = {
        "task": request.task,
        "goal": goal,
        "fleet": fleet,
        "aggregation": request.aggregation,
        "backend": request.backend,
        "ranks": request.ranks,
        "recipe": request.recipe,
        "max_steps": request.max_steps,
        "dataset": info.goal(goal).data_named(request.data),
    }
    alike = [(spec, wall_s) for spec, wall_s in past if all(spec.get(name) == wanted[name] for name in _ALIKE)]
    # A bound on the steps decides how long a run is: without the same one nothing is known.
    alike = [one for one in alike if one[0].get("max_steps") == request.max_steps]
    scored = [(sum(w is None or spec.get(n) == w for n, w in wanted.items() if n in _CLOSE), t) for spec, t in alike]
    best = max((score for score, _ in scored), default=0)
    return [t for score, t in scored if score == best][:5]
