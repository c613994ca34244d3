"""What the dashboard is over: folders, tasks, and the command that starts runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Home:
    """Everything the dashboard looks at or calls."""

    runs_dir: Path
    state_home: Path
    tasks: Sequence[Mapping[str, Any]]
    """The catalogue as plain data: what can be started."""
    command: tuple[str, ...]
    """Argv of `mlb`, as which actions are carried out: the same checks, the same record."""
