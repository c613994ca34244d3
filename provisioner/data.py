"""A prepared data set onto the nodes: made once on the controller, then spread, verified file by file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..errors import MlbError
from .bootstrap import HOME
from .spread import Parcel, Watch, spread
from .ssh import SshTransport


def send(doors: Mapping[str, SshTransport], prepared: Path, watch: Watch) -> dict[str, MlbError | None]:
    """Have every node hold the prepared data set; what is there, whole, is not sent again.

    Args:
        prepared: the data set's folder on this machine; its name holds its fingerprint.
        watch: told how far each node is.

    Returns:
        Node name -> None, or why it does not have the data.
    """
    at = _place(prepared)
    files = {at / path.name: path for path in sorted(prepared.iterdir()) if path.is_file()}
    return spread(doors, Parcel(files), watch)


def path_on(home: PurePosixPath, prepared: Path) -> PurePosixPath:
    """Where a node has the data set, given mlb's folder there (`ReadyNode.home`)."""
    return home / _place(prepared).relative_to(HOME)


def _place(prepared: Path) -> PurePosixPath:
    return HOME / "datasets" / prepared.name
