"""Which backends task 0a measures, and why it leaves the others out; on this machine and on a fleet alike."""

from __future__ import annotations

from ..provisioner.backends import missing
from ..provisioner.shape import BACKENDS, Shape
from ..results.backends import MPI_PACKAGES
from .request import Request


def measured(request: Request, shape: Shape, *, on_fleet: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The backends that are measured in turn, and a sentence for each other one; none of them for `--backend gloo`."""
    if shape.backend == "gloo" and request.backend == "gloo":
        return ("gloo",), ()
    reasons = {backend: _why_not(backend, request, shape, on_fleet) for backend in BACKENDS}
    return (
        tuple(backend for backend, why in reasons.items() if not why),
        tuple(f"{backend} is left out: {why}" for backend, why in reasons.items() if why),
    )


def libraries_of(request: Request) -> tuple[str, ...]:
    """The packages that a fleet's nodes need beside what every node has."""
    taken = request.backend != "gloo" and not missing("mpi", request.wheelhouse)
    return MPI_PACKAGES if taken else ()


def _why_not(backend: str, request: Request, shape: Shape, on_fleet: bool) -> str:
    """Empty where the backend is measured."""
    if backend == shape.backend:
        return ""
    if shape.ranks == 1:
        return "one rank has nobody to communicate with."
    if backend == "nccl":
        asked = request.backend is not None
        return f"it needs GPUs, and {f'--backend {request.backend} puts ranks on CPUs' if asked else 'there are none'}."
    if trouble := missing(backend, request.wheelhouse if on_fleet else None):
        return " ".join(trouble)
    if backend == "ucc" and on_fleet:
        return "nobody knows whether the nodes' torch has it. If it has: --backend ucc"
    return ""
