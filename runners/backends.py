"""Which of the backends that are not torch's own a run uses."""

from __future__ import annotations

from importlib import metadata

from ..results.run import RunSpec

MPI_PACKAGES = ("mpi4py", "mpich")


def mpi_is_there() -> bool:
    """Whether this Python has MPI; nothing is loaded for the answer."""
    try:
        return all(metadata.version(name) for name in MPI_PACKAGES)
    except metadata.PackageNotFoundError:
        return False


def mpi_is_wanted(spec: RunSpec) -> bool:
    """Whether ranks of this run are MPI's, too: task 0a measures every backend unless it is held to gloo."""
    return spec.backend == "mpi" or (spec.task == "task0a" and spec.backend != "gloo" and mpi_is_there())
