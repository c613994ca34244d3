"""`mlb bench` on a fleet: hold it, make its nodes ready, send the data, launch."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import Locked, MlbError, UsageError
from ..provisioner import bootstrap, data, hold, runs, wheel
from ..provisioner.bootstrap import ReadyNode
from ..provisioner.fan_out import refuse_if_any_failed
from ..provisioner.fleet import Fleet
from ..provisioner.launch import begin_on_fleet, launch_on_fleet, request_stop
from ..provisioner.nodes import Node
from ..provisioner.plan import LaunchPlan, Place, candidate_ports, plan
from ..provisioner.shape import Shape
from ..provisioner.ssh import SshTransport
from ..results.holder import holder_in, mark_in
from ..results.run import RunFolder, RunSpec, write_json
from .bench_health import caveats_of, health_of, limits_of
from .bench_run import Started, debug_stage
from .bench_spec import Ask, Where, make_spec, new_run_id, prepare, shape_of
from .console import note, progress
from .dirs import cache_dir, runs_dir
from .fleets import doors_to, let_go, watcher
from .request import Request

if TYPE_CHECKING:
    from ..tasks.catalogue import Prepared

_QUEUE_LOOK_S = 5.0
_UNKNOWN_BYTES = 1 << 50


def start_on(fleet: Fleet, request: Request) -> Started:
    """Launch a run on a fleet.

    Raises:
        MlbError: it cannot be launched; nothing goes on.
    """
    ask, where = Ask.of(request), where_on(fleet, request)
    names, limits = where.node_names, limits_of(fleet, request)
    with held(fleet, where.run_id, queue=request.queue), doors_to(fleet, names) as doors:
        ready = make_ready(request, names, doors, ask.choice.libraries)
        debug_stage("nodes ready", ask.asked_ns)
        found = health_of(fleet, ready, doors, limits)
        debug_stage("health checked", ask.asked_ns)
        shape = shape_on([node.node for node in ready], fleet, request, ask.goal.memory_bytes_per_rank)
        prepared = prepare(ask, shape)
        send_data(prepared, names, doors)
        debug_stage("data ready", ask.asked_ns)
        where = replace(where, caveats=(*where.caveats, *caveats_of(found)), network=found.network)
        spec = make_spec(ask, shape, prepared, where)
        folder, interrupted = launched(spec, fleet, ready, doors, prepared.path)
        write_json(folder.health, found)
        debug_stage("launched", ask.asked_ns)
    return Started(spec, folder, ask.goal, interrupted)


def spec_on(fleet: Fleet, request: Request) -> RunSpec:
    """What would be run, as far as it is known without asking a node: cores and memory are the nodes' affair."""
    ask, where, _ = Ask.of(request), where_on(fleet, request), limits_of(fleet, request)
    nodes, memory_bytes = known_nodes(fleet, where.node_names, request.ranks), ask.goal.memory_bytes_per_rank
    shape = shape_on(nodes, fleet, request, memory_bytes)
    return make_spec(ask, shape, prepare(ask, shape), where)


def plan_of(spec: RunSpec, fleet: Fleet) -> LaunchPlan:
    """The plan of a run, with what only the nodes know left open: home folders and environments."""
    by_name = {node.name: node for node in fleet.nodes}
    home, python = PurePosixPath("~/.mlb"), "~/.mlb/env/FINGERPRINT/bin/python"
    names = spec.node_names
    places = [Place(name, by_name[name].private_ip, python, _folder(home, spec), fleet.cloud) for name in names]
    return _plan(spec, fleet, places, 0)


def where_on(fleet: Fleet, request: Request) -> Where:
    names = tuple(nodes_of(fleet, request.nodes))
    run_id = request.run_id or new_run_id(request.task, fleet.name)
    return Where(run_id, fleet.name, names, caveats(fleet), rent=fleet.rent(time.time()))


@contextmanager
def held(fleet: Fleet, run_id: str, *, queue: bool) -> Iterator[None]:
    """Hold the fleet while a run is launched on it; from then on the run holds it until it is over.

    Raises:
        Locked: another run holds it, and `queue` does not say to wait for its end.
    """
    told = False
    while not hold.take(fleet.folder, run_id):
        holder = holder_in(fleet.folder)
        if holder is None or _is_over(holder.run_id):
            continue
        if not queue:
            raise Locked(
                f"The fleet {fleet.name} is held by the run {holder.run_id}.",
                why="Two runs at a time would measure each other.",
                fix=f"Wait for it with --queue, follow it (mlb bench attach {holder.run_id}), or stop it "
                f"(mlb bench stop {holder.run_id}). If it is none of this machine's: rm {mark_in(fleet.folder)}",
            )
        if not told:
            note(f"waiting for the run {holder.run_id}, which holds the fleet {fleet.name}")
            told = True
        time.sleep(_QUEUE_LOOK_S)
    try:
        yield
    finally:
        hold.give_up(fleet.folder, run_id)


def launched(
    spec: RunSpec, fleet: Fleet, ready: Sequence[ReadyNode], doors: Mapping[int, SshTransport], prepared: Path | None
) -> tuple[RunFolder, bool]:
    """Start a run on nodes that are ready and hold its data, if any; its folder here, and whether ctrl-C came then.

    Raises:
        NodeNotReady: a node has no room or no port, or could not start its unit.
        DiskFull: there is no room here.
    """
    folder = RunFolder(runs_dir() / spec.run_id)
    places = [Place(r.node.name, r.node.private_ip, r.python, _folder(r.home, spec), fleet.cloud) for r in ready]
    paths = {i: str(data.path_on(r.home, prepared)) if prepared else "" for i, r in enumerate(ready)}
    spec = replace(spec, launched_unix_ns=time.time_ns())
    made = begin_on_fleet(spec, lambda attempt: _plan(spec, fleet, places, attempt), folder, doors, paths)
    with _whole() as interrupted:
        try:
            launch_on_fleet(made, doors)
        except MlbError:
            # Those that were started would wait for the others in vain.
            request_stop(made, doors)
            raise
        hold.hand_over(fleet.folder, spec.run_id, made.nodes[0].name)
    return folder, bool(interrupted)


def nodes_of(fleet: Fleet, wanted: int | None) -> list[str]:
    """The names of the first `wanted` nodes, all where None.

    Raises:
        UsageError: the fleet has fewer.
    """
    names = [node.name for node in fleet.nodes]
    if wanted is not None and wanted > len(names):
        raise UsageError(
            f"The fleet {fleet.name} has {len(names)} nodes, not {wanted}.",
            fix=f"Give --nodes a number from 1 to {len(names)}, or make it larger: "
            f"mlb infra apply --name {fleet.name} --nodes {wanted}",
        )
    return names[:wanted]


def make_ready(
    request: Request, names: Sequence[str], doors: Mapping[int, SshTransport], libraries: tuple[str, ...] = ()
) -> list[ReadyNode]:
    """The nodes with mlb's environment on them, in rank order.

    Args:
        libraries: packages that the run needs beside what every node has.

    Raises:
        NodeNotReady, UsageError, PreflightError: names every node that cannot be made ready, and why.
    """
    built, pythons = wheel.build(cache_dir()), (sys.executable,)
    offer = bootstrap.supplies(built, request.wheelhouse, pythons, request.backend, libraries)
    by_name = {name: doors[i] for i, name in enumerate(names)}
    ready = refuse_if_any_failed(bootstrap.ready(by_name, offer, note), "making ready")
    return [ready[name] for name in names]


def send_data(prepared: Prepared, names: Sequence[str], doors: Mapping[int, SshTransport]) -> None:
    """Have every node hold the data set.

    Raises:
        NodeNotReady: names every node that does not, and why.
    """
    by_name = {name: doors[i] for i, name in enumerate(names)}
    done: dict[str, int] = {}
    with progress(f"data of {prepared.name} to the nodes") as report:

        def watch(name: str, there: int, whole: int) -> None:
            done[name] = there
            report(sum(done.values()), whole * len(names))

        refuse_if_any_failed(data.send(by_name, prepared.path, watch), "sending the data")


def shape_on(nodes: Sequence[Node], fleet: Fleet, request: Request, memory_bytes_per_rank: int) -> Shape:
    """The ranks of the run over all nodes: as many on each, as the smallest node takes.

    Raises:
        UsageError, PreflightError: a node lacks the cores, GPUs or memory that were asked for.
    """
    shapes = [shape_of(_share_of(node, fleet), request, memory_bytes_per_rank) for node in nodes]
    smallest = min(shapes, key=lambda shape: shape.ranks)
    if len({shape.backend for shape in shapes}) > 1:
        raise UsageError("Some of the nodes have GPUs, others none.", fix="Use all nodes' CPUs with: --backend gloo")
    threads = min(shape.threads_per_rank for shape in shapes)
    return Shape(smallest.ranks * len(nodes), smallest.backend, threads)


def known_nodes(fleet: Fleet, names: Sequence[str], ranks: int | None) -> list[Node]:
    """The nodes as far as the fleet's record knows them: their cores and memory are taken to be enough."""
    return [
        Node(node.name, node.gpus, (ranks or 1) * len(names), _UNKNOWN_BYTES, node.private_ip)
        for node in fleet.nodes
        if node.name in names
    ]


def caveats(fleet: Fleet) -> tuple[str, ...]:
    """What a reader of a result on this fleet has to know."""
    if fleet.cloud == "docker":
        return ("the nodes are containers of one machine: they share its cores, and their network is its memory.",)
    return ()


def _share_of(node: Node, fleet: Fleet) -> Node:
    """Containers of one machine each see all of its cores, and its memory."""
    if fleet.cloud != "docker":
        return node
    # Of all of the fleet's, used or not: the same ranks on a node whatever `--nodes` says, or sizes would not compare.
    nodes = len(fleet.nodes)
    return replace(node, cores=max(1, node.cores // nodes), memory_bytes=node.memory_bytes // nodes)


def _plan(spec: RunSpec, fleet: Fleet, places: Sequence[Place], attempt: int) -> LaunchPlan:
    return plan(spec, places, fleet=fleet.name, ports=candidate_ports(spec.run_id, attempt))


def _folder(home: PurePosixPath, spec: RunSpec) -> PurePosixPath:
    return home / "runs" / spec.run_id


def _is_over(run_id: str) -> bool:
    """Whether the run that holds the fleet is known here and over; its mark is then taken away."""
    try:
        folder = runs.find(runs_dir(), run_id)
        with watcher(folder, again=True) as watch:
            watch.look_once()
            over = watch.state().over
    except (UsageError, MlbError):
        return False
    if over:
        let_go(folder)
    return over


@contextmanager
def _whole() -> Iterator[list[int]]:
    """Keep a ctrl-C waiting until what is inside is done: half a launch is none, and its other half would run on.

    Gives the list of those that came; the second one is not kept.
    """
    came: list[int] = []

    def later(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, later)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)
