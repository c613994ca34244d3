"""The run folder: where each file of a run lies, what was asked for (`RunSpec`), how a node fared (`NodeStatus`).

This is the seam between the rooms: the CLI makes a spec, the provisioner launches it, the runners work by it,
and the report reads it. Paths are properties of `RunFolder` and nowhere else (docs/run-folder.md).
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import ResultsInvalid
from .cost import Rent
from .files import write_text
from .node import NodeStatus as NodeStatus
from .node import RankFailure as RankFailure
from .node import status_from
from .spec_check import edited, faults_of

RUN_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RunSpec:
    """What a run is to do: everything a rank needs to know, and everything a reader needs to repeat it."""

    run_id: str
    """Unique name of the run and of its folder: `<date>_<task>_<fleet>_<id>`."""
    task: str
    goal: str
    recipe: str
    """`reference` keeps every hyperparameter as published, `fast` is ours for the same model and target, `custom` the
    reference with changes; `smoke` is reduced and not comparable."""
    division: str
    """`closed` where nothing was changed, `open` otherwise, `smoke` for the reduced goals."""
    comparable: bool
    metric: str
    """Name of the quality metric, as printed: `validation perplexity`."""
    target: float
    """Value of the metric that ends the run; which side is better is `target_is_upper_bound`."""
    target_is_upper_bound: bool
    """True where the quality has to fall to the target (perplexity), False where it has to rise to it."""
    max_epochs: int
    max_steps: int | None
    """Training steps after which the run ends, goal or not; None for no such bound."""
    seed: int
    dataset: str
    """`wikitext-2`, `synthetic`, …"""
    data_path: str
    """Folder of the prepared data set, on each node."""
    data_origin: str
    """Where the prepared data came from, for people."""
    best_possible: float | None
    """The best quality the data itself allows, where that is known (synthetic data), else None."""
    ranks: int
    backend: str
    """Over which the ranks meet."""
    threads_per_rank: int
    fleet: str
    created_unix_ns: int
    """Wall clock at which the run was asked for: the zero of "everything on the clock"."""
    argv: tuple[str, ...]
    """The command line that made this run."""
    mlb_version: str
    git_revision: str
    """Commit of the source tree mlb runs from, `-dirty` appended where it has changes; empty if unknown."""
    schema_version: int = RUN_SCHEMA_VERSION
    changes: dict[str, str] = field(default_factory=dict)
    """Hyperparameter -> value, of those that differ from the recipe."""
    checkpoint_steps: int | None = None
    """A checkpoint is taken after every so many steps; None: never."""
    resumed_run: str = ""
    """The run that this one goes on with; empty where it starts anew."""
    resume_from: str = ""
    """Folder of the checkpoint that it goes on from, on each node."""
    beside: tuple[str, ...] = ()
    """Runs that were going on on the same machines when this one was launched."""
    launched_unix_ns: int = 0
    """Wall clock at which the launcher began to start processes; 0 before that."""
    aggregation: str = "allreduce"
    """The communication pattern and what of its options was set, as `--aggregation` takes it: `topk:ratio=0.1`."""
    measure_overhead: bool = False
    """Whether half of the steps are trained without being measured, to say what measuring costs."""
    measure_every: int = 1
    """Of every so many blocks of ten steps one is measured; 1: all are."""
    batch_per_rank: int | None = None
    """Samples of each rank in a step; None for the recipe's own."""
    caveats: tuple[str, ...] = ()
    """What a reader of the result has to know of the circumstances it was asked for in; shown as warnings."""
    backends: tuple[str, ...] = ()
    """What task 0a measures in turn, `backend` among it; empty in trainings."""
    nodes: int = 1
    node_names: tuple[str, ...] = ()
    """The fleet's names of the nodes, in rank order; empty on this machine."""
    network: str = ""
    """What the backend was seen to go over between the nodes before the run: `Socket`, `AWS Libfabric`, `TCP`; empty
    where nobody looked, as on one node."""
    rent: Rent | None = None
    """What the fleet cost when the run was asked for; None in runs of earlier versions."""
    hang_after_s: float = 300.0
    """Seconds without an event of any of a node's ranks after which they count as hanging; start-up and
    evaluations, which log nothing while they last, have six times as long."""

    @property
    def ranks_per_node(self) -> int:
        return self.ranks // self.nodes

    def ranks_of(self, node: int) -> range:
        """The global ranks of a node: torchrun counts them node by node."""
        return range(node * self.ranks_per_node, (node + 1) * self.ranks_per_node)

    def node_of(self, rank: int) -> int:
        return rank // self.ranks_per_node

    def name_of(self, node: int) -> str:
        """`node 2 (demo-2)`: the number that the logs use, and the fleet's name where there is one."""
        named = f" ({self.node_names[node]})" if 0 <= node < len(self.node_names) else ""
        return f"node {node}{named}"

    def met_by(self, quality: float) -> bool:
        """Whether `quality` reaches the target (a NaN never does)."""
        return quality <= self.target if self.target_is_upper_bound else quality >= self.target


class RunFolder:
    """The files of one run; every path in one place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Path:
        return self.path / "run.json"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def health(self) -> Path:
        return self.path / "health.json"

    @property
    def events(self) -> Path:
        return self.path / "events"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders in it."""
        return self.events, self.logs, self.path / "pids"

    @property
    def checkpoints(self) -> Path:
        """Holds a folder a checkpoint, on each node."""
        return self.path / "checkpoints"

    @property
    def stop_request(self) -> Path:
        """Exists once somebody asked for the run to stop."""
        return self.path / "stop-requested"

    @property
    def token(self) -> Path:
        """The secret by which the agents of this run know each other."""
        return self.path / "token"

    @property
    def reserve(self) -> Path:
        """Room on the disk that is given back when something fails, so that a full disk still takes the last words."""
        return self.path / "reserve"

    def checkpoint(self, steps: int) -> Path:
        """The folder of the checkpoint after so many steps."""
        return self.checkpoints / f"step-{steps:08d}"

    def whole_checkpoints(self, ranks: int) -> list[Path]:
        """The checkpoints that every rank has written, the oldest first."""
        found = sorted(self.checkpoints.glob("step-*"))
        return [path for path in found if all(rank_checkpoint(path, rank).is_file() for rank in range(ranks))]

    def rank_events(self, rank: int) -> Path:
        return self.events / f"rank-{rank:05d}.jsonl"

    def rank_log(self, rank: int) -> Path:
        return self.logs / f"rank-{rank:05d}.log"

    def rank_pid(self, rank: int) -> Path:
        return self.path / "pids" / f"rank-{rank:05d}.pid"

    def node_log(self, node: int) -> Path:
        return self.logs / f"node-{node:05d}.log"

    def node_status(self, node: int) -> Path:
        return self.path / f"node-{node:05d}.json"

    def node_resources(self, node: int) -> Path:
        return self.path / f"resources-{node:05d}.jsonl"

    def node_environment(self, node: int) -> Path:
        return self.path / f"environment-{node:05d}.json"

    def create(self) -> None:
        """Make the folder and its sub-folders, readable by the owner alone."""
        for folder in (self.path, *self.folders):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read_spec(self) -> RunSpec:
        """The run's spec.

        Raises:
            ResultsInvalid: the folder holds no readable spec, so it is not a run folder.
        """
        return _spec_from(self._read_json(self.spec))

    def read_status(self, node: int) -> NodeStatus | None:
        """The last status of a node's agent, or None if it wrote none yet."""
        if not self.node_status(node).exists():
            return None
        raw = self._read_json(self.node_status(node))
        try:
            return status_from(raw)
        except (TypeError, KeyError, ValueError, OverflowError, AttributeError) as error:
            raise ResultsInvalid(
                f"{self.node_status(node)} is not a node status.",
                why=f"{type(error).__name__}: {error}",
                fix="The run's logs may still be read: mlb bench logs " + self.run_id,
            ) from error

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ResultsInvalid(
                f"{self.path} is not a readable run folder.",
                why=f"{path.name}: {error}",
                fix="Name a run shown by `mlb runs`, or the path of a folder with a run.json in it.",
            ) from error
        if not isinstance(value, dict):
            raise ResultsInvalid(
                f"{self.path} is not a readable run folder.",
                why=f"{path.name} holds a {type(value).__name__} where an object is expected.",
                fix="Name a run shown by `mlb runs`, or the path of a folder with a run.json in it.",
            )
        return value


def rank_checkpoint(checkpoint: Path, rank: int) -> Path:
    """A rank's part of a checkpoint."""
    return checkpoint / f"rank-{rank:05d}.pt"


def write_json(path: Path, value: Any) -> None:
    """Write `value`, a dataclass or plain data, to `path` in one step: readers see the old file or the new one.

    Raises:
        OSError: the file could not be written; the old one, if any, is untouched.
    """
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    write_text(path, json.dumps(plain, indent=2) + "\n")


def _spec_from(raw: dict[str, Any]) -> RunSpec:
    version = raw.get("schema_version")
    if version != RUN_SCHEMA_VERSION:
        raise ResultsInvalid(
            f"The run was written in format {version!r}; this version of mlb reads format {RUN_SCHEMA_VERSION}.",
            fix="Read it with the version of mlb that its run.json names under `mlb_version`.",
        )
    known = {f.name for f in fields(RunSpec)}
    missing = sorted(f.name for f in fields(RunSpec) if f.name not in raw and f.default is f.default_factory is MISSING)
    if missing or not set(raw) <= known:
        raise edited(f"missing: {missing or 'nothing'}; unknown: {sorted(set(raw) - known) or 'nothing'}")
    tuples = {name: tuple(value) for name, value in raw.items() if isinstance(value, list)}
    try:
        rent = None if raw.get("rent") is None else Rent.from_json(raw["rent"])
    except TypeError as error:
        raise edited(f"rent: {error}") from error
    spec = RunSpec(**{**raw, **tuples, "rent": rent})
    if faults := list(faults_of(spec)):
        raise edited("; ".join(faults[:3]))
    return spec
