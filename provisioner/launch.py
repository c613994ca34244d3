"""Starts a launch plan's units, on this machine or on a fleet's nodes."""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DiskFull, MlbError, NodeUnfit
from ..results.run import RunFolder, RunSpec, write_json
from . import begin_on_node
from .fan_out import fan_out, refuse_if_any_failed
from .plan import LaunchPlan, NodePlan
from .transport import Transport

if TYPE_CHECKING:
    from .ssh import SshTransport  # loads paramiko, which a run on this machine does not need

_ROOM_BYTES = 200 << 20
"""Free space a run must find: its logs take a few hundred bytes a step."""

_PORT_ATTEMPTS = 5


def prepare_folder(folder: RunFolder, spec: RunSpec, plan: LaunchPlan) -> None:
    """Make the run folder and write down what is about to be started.

    Raises:
        DiskFull: there is no room, or it ran out on the way; nothing of the folder is left.
    """
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(folder.path.parent)
        folder.create()
        write_json(folder.spec, spec)
        write_json(folder.plan, plan)
    except OSError as error:
        shutil.rmtree(folder.path, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(folder.path.parent, 0) from error
        raise


def launch(plan: LaunchPlan, folder: RunFolder, transports: Mapping[int, Transport]) -> None:
    """Start every node's unit on this machine; returns as soon as they are started."""
    for node in plan.nodes:
        transports[node.node].start(node.argv, node.env, folder.node_log(node.node))


def begin_on_fleet(
    spec: RunSpec,
    make_plan: Callable[[int], LaunchPlan],
    folder: RunFolder,
    doors: Mapping[int, SshTransport],
    data_paths: Mapping[int, str],
) -> LaunchPlan:
    """Make the run's folders, here and on every node, and settle on ports that are free on the first node.

    Args:
        make_plan: the plan for an attempt, from 0; each names other ports.
        data_paths: where the data set is on each node.

    Returns:
        The plan that can be started with `launch_on_fleet`.

    Raises:
        NodeNotReady: a node cannot be reached, or has no room; names all such nodes. Nothing was started.
        DiskFull: there is no room here.
    """
    token = secrets.token_hex(16)
    for attempt in range(_PORT_ATTEMPTS):
        plan = make_plan(attempt)
        answers = _begin(spec, plan, doors, token, data_paths)
        for node in plan.nodes:
            _check_node(node, answers[node.name])
        if not answers[plan.nodes[0].name]["busy_ports"]:
            prepare_folder(folder, spec, plan)
            return plan
    raise NodeUnfit(
        f"{plan.nodes[0].name} has no free ports for the run.",
        why=f"{_PORT_ATTEMPTS} pairs were tried, the last {plan.ports}.",
        fix="Look there with: ss -ltnp",
    )


def launch_on_fleet(plan: LaunchPlan, doors: Mapping[int, Transport]) -> None:
    """Start every node's unit; returns as soon as they are started.

    Raises:
        NodeNotReady: a unit could not be started, by node; those that were are left to end by themselves, since
            their agents find the others missing.
    """
    _all(plan, lambda node: _start(plan.nodes[node], doors[node]), "the launch")


def request_stop(plan: LaunchPlan, doors: Mapping[int, SshTransport]) -> dict[str, dict[str, Any] | MlbError]:
    """Leave a request to stop on every node; node -> answer or error."""
    name = RunFolder(Path()).stop_request.name

    def work(node: NodePlan) -> dict[str, Any]:
        answer: dict[str, Any] = doors[node.node].call("stop", {"folder": node.folder, "name": name}, begin_on_node)
        return answer

    return fan_out({node.name: node for node in plan.nodes}, work)


def _all(plan: LaunchPlan, work: Callable[[int], Any], doing: str) -> dict[str, Any]:
    return refuse_if_any_failed(fan_out({node.name: node.node for node in plan.nodes}, work), doing)


def _start(node: NodePlan, door: Transport) -> None:
    log = RunFolder(Path(node.folder)).node_log(node.node)
    door.start(node.argv, node.env, log)


def _begin(
    spec: RunSpec, plan: LaunchPlan, doors: Mapping[int, SshTransport], token: str, data_paths: Mapping[int, str]
) -> dict[str, Any]:
    def begin(node: int) -> Any:
        here = replace(spec, data_path=data_paths[node])
        return doors[node].call("begin", _request(here, plan, plan.nodes[node], token), begin_on_node)

    return _all(plan, begin, "the launch")


def _request(spec: RunSpec, plan: LaunchPlan, node: NodePlan, token: str) -> dict[str, Any]:
    there = RunFolder(Path(node.folder))
    return {
        "folder": node.folder,
        "folders": [str(path.relative_to(there.path)) for path in there.folders],
        "files": {there.spec.name: json.dumps(asdict(spec), indent=2) + "\n", there.token.name: token},
        "ports": list(plan.ports or ()) if node.node == 0 else [],
        "address": node.address,
    }


def _check_node(node: NodePlan, answer: Mapping[str, Any]) -> None:
    free = int(answer["free_bytes"])
    if free < _ROOM_BYTES:
        raise DiskFull(
            f"No room for a run on {node.name}, in {node.folder}.",
            why=f"{free >> 20} MiB are free; a run needs {_ROOM_BYTES >> 20} MiB for its logs.",
            fix="Free some space there: mlb infra ssh " + node.name,
        )


def _check_room(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < _ROOM_BYTES:
        raise _disk_full(path, free)


def _disk_full(path: Path, free: int) -> DiskFull:
    return DiskFull(
        f"No room for a run in {path}.",
        why=f"{free >> 20} MiB are free; a run needs {_ROOM_BYTES >> 20} MiB for its logs.",
        fix="Free some space, or set MLB_HOME to a folder on another disk.",
    )
