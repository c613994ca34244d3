"""Which of the backends that are not torch's own a run uses."""

from __future__ import annotations

from ..results.backends import mpi_packages_missing
from ..results.run import RunSpec


def mpi_is_wanted(spec: RunSpec) -> bool:
    """Whether ranks of this run are MPI's, too: task 0a measures every backend unless it is held to gloo."""
    return spec.backend == "mpi" or (spec.task == "task0a" and spec.backend != "gloo" and not mpi_packages_missing())
