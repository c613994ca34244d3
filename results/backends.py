"""What the backend mpi needs of PyPI: asked before a run on the controller, and on its nodes."""

from __future__ import annotations

from importlib import metadata
from typing import Final

MPI_PACKAGES: Final = ("mpi4py", "mpich")
"""On every node: torch's own builds have no MPI."""


def mpi_packages_missing() -> list[str]:
    """Those that this Python does not have; nothing is loaded for the answer."""
    return [name for name in MPI_PACKAGES if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
