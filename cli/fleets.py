"""Which fleet a command means, the doors to its nodes, and how a run on it is watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MlbError, NodeNotReady, ResultsInvalid, UsageError
from ..provisioner import hold
from ..provisioner.plan import read_plan
from ..provisioner.runs import LocalWatch, Watcher, fleet_of, last_known
from ..results.run import RunFolder

if TYPE_CHECKING:
    from ..provisioner.fleet import Fleet
    from ..provisioner.ssh import SshTransport
    from ..provisioner.watch import Watch

THIS_MACHINE = "local"
"""The name that means no fleet."""


def fleets_dir() -> Path:
    """The folder of all fleets' folders."""
    from ..infra.folder import state_home

    return state_home() / "fleets"


def chosen(name: str | None) -> Fleet | None:
    """The fleet to run on: the one named, else the current one; None for this machine, where there is none.

    Raises:
        UsageError, NodeNotReady, ResultsInvalid: that fleet cannot be used. It may be billed all the same, so a run
            on this machine must then be asked for by name.
    """
    if name == THIS_MACHINE:
        return None
    from ..provisioner.fleet import load

    if name is not None:
        return load(fleets_dir(), name)
    from ..infra.folder import current_file, current_name

    current = current_name()
    if current is None:
        return None
    here = "--fleet local runs on this machine."
    by_tag = (
        f"Its machines may still be billed: `mlb infra destroy --name {current} --cloud CLOUD --region REGION` "
        "finds them by their tags."
    )
    try:
        return load(fleets_dir(), current)
    except UsageError:
        raise NodeNotReady(
            f"The record of the current fleet {current} is gone.",
            fix=f"{by_tag} Where there are none, remove {current_file()}. {here}",
        ) from None
    except NodeNotReady as error:
        raise NodeNotReady(error.what, why=_bill(current), fix=f"{error.fix} {here}") from None
    except ResultsInvalid as error:
        raise ResultsInvalid(error.what, why=error.why, fix=f"{by_tag} {here}") from None


def _bill(name: str) -> str:
    """What the machines of a fleet that is not ready cost; empty where its record does not say."""
    from ..infra.failures import billed
    from ..infra.fleet import load
    from ..infra.folder import FleetFolder, state_home

    with suppress(MlbError):
        fleet = load(FleetFolder(state_home(), name))
        return billed(fleet) if fleet else ""
    return ""


@contextmanager
def doors_to(fleet: Fleet, names: Sequence[str]) -> Iterator[dict[int, SshTransport]]:
    """A door to each of the nodes called `names`, by their rank order; closed at the end.

    Raises:
        NodeNotReady: the fleet has no such node any more.
    """
    from ..provisioner.ssh import doors

    by_name = {node.name: node for node in fleet.nodes}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise NodeNotReady(f"The fleet {fleet.name} has no node {', '.join(missing)} any more.")
    with doors(fleet, [by_name[name] for name in names]) as opened:
        yield {rank: opened[name] for rank, name in enumerate(names)}


@contextmanager
def watcher(folder: RunFolder, *, again: bool = False) -> Iterator[Watcher]:
    """What tells how a run stands, and brings its files here if it is on a fleet.

    Args:
        again: ask the nodes also of a run whose end is known already.

    Raises:
        UsageError, NodeNotReady, ResultsInvalid: its fleet is not there any more.
    """
    if not fleet_of(folder) or (not again and last_known(folder).over):
        yield LocalWatch(folder)
        return
    with fleet_watch(folder) as watch:
        yield watch


@contextmanager
def fleet_watch(folder: RunFolder) -> Iterator[Watch]:
    """The watch of a run on a fleet.

    Raises:
        UsageError, NodeNotReady, ResultsInvalid: its fleet is not there any more.
    """
    from ..provisioner.fleet import load
    from ..provisioner.watch import Watch

    plan = read_plan(folder)
    fleet = load(fleets_dir(), plan.fleet)
    with doors_to(fleet, [node.name for node in plan.nodes]) as doors, Watch(folder, doors) as watch:
        yield watch


def let_go(folder: RunFolder) -> None:
    """The run is over: its fleet, if any, is free for the next one."""
    name = fleet_of(folder)
    if name:
        hold.release(fleets_dir() / name, folder.run_id)
