"""How the provisioner reaches a node: start a unit there that outlives the connection, see whether it lives, end it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..results.process import is_running


class Transport(Protocol):
    """One node's door."""

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """Start a unit of its own: no terminal, no link to this process, output to `log` on the node."""

    def alive(self, pid: int, start_ticks: int) -> bool:
        """Whether the very process that started then still runs."""

    def signal(self, pid: int, start_ticks: int, number: signal.Signals) -> bool:
        """Send a signal to that process; False if it is gone."""


class LocalTransport:
    """This machine: units are processes in a session of their own."""

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            subprocess.Popen(
                list(argv),
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=log.parent,
            )

    def alive(self, pid: int, start_ticks: int) -> bool:
        return is_running(pid, start_ticks)

    def signal(self, pid: int, start_ticks: int, number: signal.Signals) -> bool:
        if not self.alive(pid, start_ticks):
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True
