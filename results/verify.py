"""Does a run hold what it claims? Everything is recomputed from the raw logs; each fault is one sentence.

What this cannot see: logs that were invented as a whole, consistently. Checksums say that an archive is intact,
not who made it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import ResultsInvalid
from .keys import STEP
from .line import Event
from .log import visit_log
from .metrics import Metrics, compute
from .rank import RankRecord
from .run import NodeStatus, RunFolder, RunSpec
from .text import sanitise
from .verdict import GOAL_REACHED, RUNNING
from .verify_log import Story, faults_across, faults_of_log, story_of

_SHOWN: Final = 40
_OPEN_MAY_CHANGE: Final = ("recipe", "max_epochs")
"""What a run may be asked for differently and is open then."""
_CLOCK_NS: Final = 1_000_000_000
"""How far two machines' wall clocks may disagree before it is called a fault."""


@dataclass(frozen=True)
class Reference:
    """What the catalogue of tasks says about a goal; a closed run has to match it."""

    metric: str
    target: float
    target_is_upper_bound: bool
    max_epochs: int
    recipe: str
    comparable: bool
    """Whether runs of this goal can be compared at all."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """As the ranks log them; only those named here are compared."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one run."""

    run_id: str
    faults: tuple[str, ...]
    metrics: Metrics | None

    @property
    def sound(self) -> bool:
        return not self.faults


def verify(folder: RunFolder, reference: Reference | None = None, state: str | None = None) -> Verdict:
    """Check a run folder against itself and against the catalogue's entry for its goal; `state` as for `compute`."""
    try:
        spec = folder.read_spec()
        metrics = compute(folder, state=state)
        stories = {r: story_of(r, p) for r in range(spec.ranks) if (p := folder.rank_events(r)).exists()}
    except ResultsInvalid as error:
        return Verdict(folder.run_id, (sanitise(f"{error.what} {error.why}"),), None)
    faults = [
        *_of_spec(folder, spec),
        *_of_recipe(spec, metrics, reference),
        *_of_presence(spec, metrics, stories),
        *(fault for story in stories.values() for fault in faults_of_log(spec, story)),
        *faults_across(spec, list(stories.values())),
        *_of_nodes(folder, spec, metrics.records),
        *_of_result(metrics, stories),
        *_of_claims(folder, metrics),
    ]
    return Verdict(spec.run_id, tuple(dict.fromkeys(sanitise(fault) for fault in faults)), metrics)


def across(verdicts: Sequence[tuple[Verdict, RunFolder]]) -> list[str]:
    """Faults of several runs that are shown together as repeats: one run twice, one seed twice."""
    faults: list[str] = []
    seen: dict[tuple[object, ...], str] = {}
    for verdict, folder in verdicts:
        if verdict.metrics is None:
            continue
        spec = verdict.metrics.spec
        named = {
            ("run", spec.run_id): "is the same run as",
            ("seed", spec.task, spec.goal, spec.ranks, spec.fleet, spec.seed): f"has the seed {spec.seed} of",
        }
        log = folder.rank_events(0)
        if log.exists():
            named["steps", _steps(log)] = "has the very same step times as"
        for key, words in named.items():
            if key in seen:
                faults.append(f"{spec.run_id} {words} {seen[key]}: they are no independent repeats.")
            seen.setdefault(key, spec.run_id)
    return list(dict.fromkeys(faults))


def _steps(path: Path) -> str:
    """A fingerprint of the times of all steps: no two runs share it."""
    digest = hashlib.sha256()
    steps = 0

    def take(event: Event) -> None:
        nonlocal steps
        if event.key == STEP:
            steps += 1
            digest.update(str(event.fields.get("step_ns")).encode() + b"\n")

    visit_log(path, take)
    return digest.hexdigest() if steps else str(path)


def _of_spec(folder: RunFolder, spec: RunSpec) -> Iterator[str]:
    if spec.run_id != folder.run_id:
        yield f"run.json is of run {spec.run_id}, the folder of {folder.run_id}."
    if spec.launched_unix_ns and spec.launched_unix_ns < spec.created_unix_ns:
        yield "run.json says that the run was launched before it was asked for."
    if spec.comparable and (spec.division != "closed" or spec.max_steps is not None or spec.dataset == "synthetic"):
        yield f"run.json calls a run comparable that is {spec.division}, on {spec.dataset}, steps {spec.max_steps}."
    if spec.division == "closed" and not spec.comparable:
        yield "run.json calls a closed run not comparable."
    if not math.isfinite(spec.target):
        yield f"run.json has the target {spec.target}."


def _of_recipe(spec: RunSpec, metrics: Metrics, reference: Reference | None) -> Iterator[str]:
    if reference is None:
        return
    if spec.comparable and not reference.comparable:
        yield f"run.json calls the goal {spec.goal} comparable; it never is."
    for name in ("metric", "target", "target_is_upper_bound", "recipe", "max_epochs"):
        expected, got = getattr(reference, name), getattr(spec, name)
        if expected != got and (name not in _OPEN_MAY_CHANGE or spec.division == "closed"):
            yield f"run.json has {name} {got}; {spec.task}'s goal {spec.goal} has {expected}."
    facts = next((record.facts for record in metrics.records if record.rank == 0), {})
    for name, expected in reference.hyperparameters.items() if spec.division == "closed" else ():
        if name in facts and facts[name] != expected:
            yield f"A closed run was trained with {name} {facts[name]}; the recipe has {expected}."
    if spec.division == "closed" and any(word.split("=")[0] in ("--set", "--steps") for word in spec.argv):
        yield f"A closed run was started with {' '.join(w for w in spec.argv if w.startswith('--'))}."


def _of_presence(spec: RunSpec, metrics: Metrics, logs: Mapping[int, Story]) -> Iterator[str]:
    for rank in range(spec.ranks):
        if rank not in logs:
            yield f"The log of rank {rank} is missing."
    if metrics.status == RUNNING:
        yield "The run is not over."


def _of_nodes(folder: RunFolder, spec: RunSpec, records: Sequence[RankRecord]) -> Iterator[str]:
    """What the agents wrote, against what the ranks did."""
    statuses: list[NodeStatus] = []
    for node in range(spec.ranks):
        try:
            status = folder.read_status(node)
        except ResultsInvalid as error:
            yield f"node-{node:05d}.json cannot be read: {error.why}"
            continue
        statuses += [status] if status else []
    if not statuses:
        yield "No node's status is there."
    for status in statuses:
        name = f"node-{status.node:05d}.json"
        if status.state == "succeeded" and status.failures:
            yield f"{name} says that the node succeeded and that ranks died."
        if status.final and status.stopped_unix_ns < status.started_unix_ns:
            yield f"{name} says that the node stopped before it started."
        for record in (r for r in records if r.rank in status.rank_pids):
            begin, end = record.unix_ns(record.begin_ns or 0), record.unix_ns(record.last_ns)
            late = status.final and end is not None and end > status.stopped_unix_ns + _CLOCK_NS
            if late or (begin is not None and begin < status.started_unix_ns - _CLOCK_NS):
                yield f"The log of rank {record.rank} lies outside the time in which its node's agent ran."


def _of_result(metrics: Metrics, stories: Mapping[int, Story]) -> Iterator[str]:
    spec = metrics.spec
    reasons = {story.reason for story in stories.values() if story.reason}
    if "goal" in reasons and not metrics.quality.reached:
        yield "The ranks say that the goal was reached; no evaluation in the logs reaches it."
    if metrics.quality.reached and reasons and "goal" not in reasons and metrics.status != "failed":
        yield f"An evaluation reached the goal; the ranks give another reason for the end: {sorted(reasons)[0]}."
    if metrics.status == GOAL_REACHED and metrics.consistency.parameters_equal is not True:
        yield "It is not shown that the ranks ended with one model: digests of the parameters differ or are missing."
    if metrics.consistency.parameters_equal is False:
        yield "The ranks ended with different parameters."
    if metrics.consistency.evaluations_equal is False:
        yield "The ranks measured different qualities at the same evaluation."
    if metrics.epochs > spec.max_epochs:
        yield f"The run trained {metrics.epochs} epochs; it was allowed {spec.max_epochs}."
    if spec.max_steps is not None and metrics.steps > spec.max_steps:
        yield f"The run trained {metrics.steps} steps; it was allowed {spec.max_steps}."
    over = [rank.rank for rank in metrics.split.ranks if not rank.adds_up]
    if over and metrics.status == GOAL_REACHED:
        yield f"The times of rank {over[0]} do not add up to the wall time within 1 %."


def _of_claims(folder: RunFolder, metrics: Metrics) -> Iterator[str]:
    """metrics.json, number by number, against the logs."""
    if not folder.metrics.exists():
        return
    try:
        claimed = json.loads(folder.metrics.read_text())
    except (OSError, ValueError, RecursionError) as error:
        yield f"metrics.json cannot be read: {type(error).__name__}."
        return
    recomputed = json.loads(json.dumps(metrics.to_json()))
    if isinstance(claimed, dict):
        # A version's own words about the numbers, and the numbers are compared.
        claimed.pop("warnings", None)
    differing = list(_differences("", claimed, recomputed))
    for path, said, found in differing[:_SHOWN]:
        yield f"metrics.json says {path} {_short(said)}; the logs say {_short(found)}."
    if len(differing) > _SHOWN:
        yield f"metrics.json differs from the logs in {len(differing) - _SHOWN} more numbers."


def _differences(path: str, claimed: Any, found: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(claimed, dict) and isinstance(found, dict):
        for key in dict.fromkeys((*claimed, *found)):
            # A number of a later version of mlb that this file's version did not write is no claim.
            if key in claimed:
                yield from _differences(f"{path}.{key}".lstrip("."), claimed[key], found.get(key))
    elif isinstance(claimed, list) and isinstance(found, list) and len(claimed) == len(found):
        for i, (one, other) in enumerate(zip(claimed, found, strict=True)):
            yield from _differences(f"{path}[{i}]", one, other)
    elif not _same(claimed, found):
        yield path, claimed, found


def _same(one: Any, other: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other))
    # Another machine's libm may round the last digit otherwise.
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) if numbers else one == other


def _short(value: Any) -> str:
    return sanitise(json.dumps(value) if isinstance(value, dict | list) else value, 60)
