"""What `--force` saves of a run before its fleet is destroyed: it is stopped, and its files are brought here."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import MlbError
from ..infra.folder import FleetFolder
from ..infra.holder import holder_of
from ..provisioner import runs
from .bench_nodes import bring, stop_on_fleet
from .dirs import runs_dir

_BRING_S = 120.0
"""A fleet that was to be destroyed is not kept for longer than that, however much its nodes hold."""


def save_the_run(folder: FleetFolder, tell: Callable[[str], None]) -> None:
    """Stop the run that uses the fleet, and bring what it left; what cannot be saved is told, and stops nothing."""
    holder = holder_of(folder)
    if holder is None:
        return
    tell(f"Stopping the run {holder.run_id}, which uses the fleet")
    try:
        run = runs.find(runs_dir(), holder.run_id)
        _, state = stop_on_fleet(run)
        tell(f"  {run.run_id}: {state.state}")
        for node, words in bring(run, patience_s=_BRING_S).items():
            tell(f"  {node}: {words}")
        tell(f"  its files: {run.path}")
    except MlbError as error:
        tell(f"  ! what is on its nodes alone is lost: {error.what}")
