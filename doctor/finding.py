"""What a check finds, and where it looks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OK: Final = "ok"
WARN: Final = "warning"
FAIL: Final = "fault"
STATES: Final = (OK, WARN, FAIL)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: str
    """`ok`; `warning`: mlb works, something will be slower, wrong or missed; `fault`: something will not work."""
    what: str
    fix: str = ""
    """What to do about it; empty where nothing is to be done."""


@dataclass(frozen=True)
class Place:
    """Where the checks look."""

    runs_dir: Path
    cache_dir: Path
    state_home: Path
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    online: bool = False
    """Whether anything outside this machine may be asked."""
    shm: Path = Path("/dev/shm")  # noqa: S108  # POSIX's folder of shared memory
    network: Path = Path("/sys/class/net")


def ok(name: str, what: str) -> Finding:
    return Finding(name, OK, what)


def warn(name: str, what: str, fix: str) -> Finding:
    return Finding(name, WARN, what, fix)


def fail(name: str, what: str, fix: str) -> Finding:
    return Finding(name, FAIL, what, fix)
