"""Starts a launch plan's units."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..errors import DiskFull
from ..results.run import RunFolder, RunSpec, write_json
from .plan import LaunchPlan
from .transport import Transport

_ROOM_BYTES = 200 << 20
"""Free space a run must find: its logs take a few hundred bytes a step."""


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
    """Start every node's unit; returns as soon as they are started."""
    for node in plan.nodes:
        transports[node.node].start(node.argv, node.env, folder.node_log(node.node))


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
