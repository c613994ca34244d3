"""What was asked for, looked up and checked, and the run's spec made of it."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .. import __version__
from ..aggregation import catalogue as patterns
from ..errors import UsageError
from ..provisioner.nodes import Node
from ..provisioner.runs import going_on
from ..provisioner.shape import Shape, choose
from ..results.cost import Rent
from ..results.run import RunSpec
from ..tasks import catalogue
from ..tasks.catalogue import Choice, Goal, TaskInfo
from .console import progress
from .dirs import cache_dir, runs_dir
from .request import Request
from .revision import git_revision

if TYPE_CHECKING:
    from ..tasks.catalogue import Prepared


@dataclass(frozen=True)
class Ask:
    """A request with its task and goal looked up."""

    request: Request
    info: TaskInfo
    goal: Goal
    choice: Choice
    asked_ns: int

    @classmethod
    def of(cls, request: Request) -> Ask:
        """Raises UsageError: there is no such task, goal, recipe, hyperparameter or pattern, or they do not fit."""
        asked_ns = time.time_ns()
        info = catalogue.task(request.task)
        goal = info.goal(request.goal or info.default_goal)
        choice = catalogue.choose_recipe(info, goal, request.recipe, _settings(request.settings))
        pattern = patterns.parse(request.aggregation)
        patterns.check_optimiser(pattern.info, info.name, catalogue.stepped_by(info, choice))
        if request.checkpoint_steps is not None and not pattern.info.resumable:
            able = ", ".join(name for name, other in patterns.PATTERNS.items() if other.resumable)
            raise UsageError(
                f"A run with the aggregation {pattern.info.name} cannot be saved.",
                why="The pattern has a state of its own, which checkpoints do not hold.",
                fix=f"Leave --checkpoint out, or take one of {able}.",
            )
        if request.measure_overhead and request.measure_every > 1:
            raise UsageError(
                "--measure-overhead and --measure-every exclude each other.",
                why="Each decides which steps are left unmeasured.",
                fix="Leave one of them out.",
            )
        if request.global_batch is not None and not choice.scales_by_batch:
            raise UsageError(
                f"{info.name} has no batch of each rank to set.",
                why="Its step holds as much for any number of ranks already.",
                fix="Leave --global-batch out.",
            )
        return cls(request, info, goal, choice, asked_ns)


@dataclass(frozen=True)
class Where:
    """What a run is called and where it runs."""

    run_id: str
    fleet: str
    node_names: tuple[str, ...] = ()
    """Empty on this machine."""
    caveats: tuple[str, ...] = ()
    rent: Rent = field(default_factory=lambda: Rent(0.0))
    network: str = ""
    """What the nodes' check before the run saw the backend go over."""


def shape_of(node: Node, request: Request, memory_bytes_per_rank: int) -> Shape:
    """The ranks of a request on one node.

    Args:
        memory_bytes_per_rank: what a rank needs on a CPU.

    Raises:
        UsageError, PreflightError: as `choose`; or --gpus says something else than --backend or --ranks.
    """
    ranks, backend = request.ranks, request.backend
    if request.gpus is not None:
        # Neither may win in silence: of two runs that differ in the other alone, both would be the same run.
        if backend not in (None, "nccl"):
            raise _beside_gpus(request.gpus, "backend", backend, "nccl", "Ranks on GPUs talk over nccl.")
        if ranks not in (None, request.gpus):
            raise _beside_gpus(request.gpus, "ranks", ranks, request.gpus, "Each rank has a GPU, and each GPU a rank.")
        ranks, backend = request.gpus, "nccl"
    return choose(
        node,
        ranks=ranks,
        backend=backend,
        memory_bytes_per_rank=memory_bytes_per_rank,
        oversubscribe=request.oversubscribe,
    )


def _beside_gpus(gpus: int, name: str, value: object, valid: object, why: str) -> UsageError:
    return UsageError(
        f"--gpus {gpus} and --{name} {value} exclude each other.",
        why=why,
        fix=f"Leave one of them out, or say --{name} {valid}; a setting in mlb.toml or MLB_{name.upper()} counts, too.",
    )


def prepare(ask: Ask, shape: Shape) -> Prepared:
    """The data of a run of this shape.

    Raises:
        UsageError: the pattern does not fit so many ranks; said before anything is downloaded.
        PreflightError: the data is not to be had.
    """
    request, info, goal = ask.request, ask.info, ask.goal
    patterns.parse(request.aggregation, shape.ranks, shape.backend)
    with progress(f"data of {info.name}") as report:
        return catalogue.prepare_data(
            goal,
            data=request.data,
            data_dir=request.data_dir,
            cache_dir=cache_dir(),
            offline=request.offline,
            progress=report,
        )


def make_spec(ask: Ask, shape: Shape, prepared: Prepared, where: Where) -> RunSpec:
    request, info, goal, choice = ask.request, ask.info, ask.goal, ask.choice
    # A run cut short, or on generated text, says nothing about how long the task takes.
    whole = prepared.name == goal.dataset and request.max_steps is None and request.global_batch is None
    pattern = patterns.parse(request.aggregation, shape.ranks)
    # A pattern that approximates is another algorithm, and its result another task's.
    comparable = goal.comparable and whole and choice.recipe == "reference" and pattern.info.exact
    return RunSpec(
        run_id=where.run_id,
        task=info.name,
        goal=goal.name,
        recipe=choice.recipe,
        changes=dict(choice.changes),
        division="closed" if comparable else "open",
        comparable=comparable,
        metric=goal.metric,
        target=goal.targets[prepared.name],
        target_is_upper_bound=goal.upper_bound,
        max_epochs=request.max_epochs or goal.max_epochs,
        max_steps=request.max_steps,
        checkpoint_steps=request.checkpoint_steps,
        seed=info.default_seed if request.seed is None else request.seed,
        dataset=prepared.name,
        data_path=str(prepared.path),
        data_origin=prepared.origin,
        best_possible=prepared.best_possible,
        ranks=shape.ranks,
        backend=shape.backend,
        threads_per_rank=shape.threads_per_rank,
        fleet=where.fleet,
        nodes=max(1, len(where.node_names)),
        node_names=where.node_names,
        hang_after_s=request.hang_after_s,
        caveats=where.caveats,
        network=where.network,
        rent=where.rent,
        created_unix_ns=ask.asked_ns,
        batch_per_rank=_batch_per_rank(request, shape),
        beside=() if where.node_names else tuple(other.run_id for other in going_on(runs_dir())),
        argv=("mlb", *sys.argv[1:]),
        mlb_version=__version__,
        git_revision=git_revision(),
        launched_unix_ns=time.time_ns(),
        aggregation=str(pattern),
        measure_overhead=request.measure_overhead,
        measure_every=request.measure_every,
    )


def new_run_id(task: str, fleet: str) -> str:
    """Sorts by time, says what and where, and is unique without asking anybody."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}_{task}_{fleet}_{secrets.token_hex(3)}"


def _settings(texts: tuple[str, ...]) -> dict[str, str]:
    """`key=value` pairs as typed.

    Raises:
        UsageError: one of them is no such pair.
    """
    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (key, sign, _) in zip(texts, pairs, strict=True) if not (key.strip() and sign)]:
        raise UsageError(f"{wrong[0]!r} is not KEY=VALUE.", fix="For example: --set learning_rate=0.1")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _batch_per_rank(request: Request, shape: Shape) -> int | None:
    """A rank's share of the batch that all ranks together are to keep; None for the recipe's own batch."""
    if request.global_batch is None:
        return None
    if request.global_batch % shape.ranks:
        near = shape.ranks * max(1, request.global_batch // shape.ranks)
        raise UsageError(
            f"A global batch of {request.global_batch} does not divide over {shape.ranks} ranks.",
            fix=f"Take a multiple of {shape.ranks}, such as {near}.",
        )
    return request.global_batch // shape.ranks
