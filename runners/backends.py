"""Which of the backends that are not torch's own a run uses."""

from __future__ import annotations

from ..results.run import RunSpec


def mpi_is_wanted(spec: RunSpec) -> bool:
    """Whether ranks of this run are MPI's, too."""
    return "mpi" in (spec.backend, *spec.backends)
