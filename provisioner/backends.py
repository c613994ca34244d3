"""The backends that not every Python has: which are missing here, and how to get them."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from ..errors import PreflightError
from ..results.backends import MPI_PACKAGES, mpi_packages_missing

_ASK_UCC = "import torch.distributed as dist; print(dist.is_ucc_available())"


def refuse_if_missing(backend: str, wheelhouse: Path | None = None) -> None:
    """Raises PreflightError where the backend is not to be had, as `missing` finds; says how to get it."""
    if trouble := missing(backend, wheelhouse):
        why, fix = trouble
        raise PreflightError(f"The backend {backend} is not there.", why=why, fix=f"{fix} Or use --backend gloo.")


def missing(backend: str, wheelhouse: Path | None = None) -> tuple[str, str] | None:
    """Why a backend cannot be used, and what to do about it; None where it can.

    Args:
        wheelhouse: a folder of wheels that nodes are to get it from, in the versions of this Python.
    """
    if backend == "mpi":
        lacking = mpi_packages_missing()
        if not lacking:
            return None if wheelhouse is None else _no_wheels(wheelhouse)
        verb = "is" if len(lacking) == 1 else "are"
        return f"{' and '.join(lacking)} {verb} not installed.", "Get it with: pip install 'mlb[mpi]'."
    if backend == "ucc" and not _torch_has_ucc():
        return "torch was built without it, as all of PyPI's are.", "It takes a torch built from source with USE_UCC=1."
    return None


def _no_wheels(wheelhouse: Path) -> tuple[str, str] | None:
    versions = {name: metadata.version(name).partition("+")[0] for name in MPI_PACKAGES}
    wanted = [f"{name}=={version}" for name, version in versions.items()
              if not list(wheelhouse.glob(f"{name}-{version}-*.whl"))]  # fmt: skip
    if not wanted:
        return None
    fix = f"Add it with: pip download --only-binary :all: --dest {wheelhouse} {' '.join(wanted)}."
    return f"{wheelhouse} has no wheel of {' and '.join(wanted)}.", fix


def _torch_has_ucc() -> bool:
    # In a process of its own: this one is to stay without torch.
    asked = subprocess.run([sys.executable, "-P", "-c", _ASK_UCC], capture_output=True, text=True, check=False)
    return asked.stdout.strip() == "True"
