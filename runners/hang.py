"""Finds out that a node's ranks hang, and where: no event for too long, then the stacks of all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ..results import keys
from ..results.process import is_suspended
from ..results.run import RunFolder
from ..results.tail import last_lines

QUIET_FACTOR = 6
"""Outside of steps (start-up, evaluations) nothing is logged while work goes on: the bound is so many times as long."""

_LOOK_EVERY_S = 1.0
_STACKS_S = 3.0
_TAIL_BYTES = 64 << 10


class HangWatch:
    """Watches the event logs of a node's ranks grow."""

    def __init__(self, folder: RunFolder, ranks: Sequence[int], after_s: float, on_hang: Callable[[str], None]) -> None:
        """Start watching.

        Args:
            after_s: silence of all ranks, within training steps, that counts as a hang.
            on_hang: called once at most, from a thread, with what was seen.
        """
        self._paths = [folder.rank_events(rank) for rank in ranks]
        self._after_s = after_s
        self._on_hang = on_hang
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _watch(self) -> None:
        sizes, changed = self._sizes(), time.monotonic()
        while not self._stop.wait(min(_LOOK_EVERY_S, self._after_s / 4)):
            now = self._sizes()
            if now != sizes:
                sizes, changed = now, time.monotonic()
            quiet_s = time.monotonic() - changed
            # The logs are read only once they are silent.
            if quiet_s > self._after_s and (
                quiet_s > QUIET_FACTOR * self._after_s or all(_within_steps(path) for path in self._paths)
            ):
                self._on_hang(f"no event of any of its ranks for {quiet_s:.0f} s")
                return

    def _sizes(self) -> list[int]:
        return [path.stat().st_size if path.exists() else -1 for path in self._paths]


def _within_steps(path: Path) -> bool:
    """Whether the last event of a log is a training step."""
    try:
        return bool(json.loads(last_lines(path, 1, _TAIL_BYTES)[0])["key"] == keys.STEP)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def collect_stacks(folder: RunFolder, pids: Mapping[int, int]) -> tuple[int, ...]:
    """Have every rank's stacks written into its output file: by py-spy where it is, else by the rank itself.

    Returns:
        The ranks that the others seem to wait for: those that are suspended, else those that are in no collective.
    """
    begin = {rank: _size(folder.rank_log(rank)) for rank in pids}
    program = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    for rank, pid in pids.items():
        if program is None or not _dump(program, pid, folder.rank_log(rank)):
            # Also to one that is suspended: its stack is written should it go on.
            _ask(pid)
    end = time.monotonic() + _STACKS_S
    while time.monotonic() < end and any(_size(folder.rank_log(r)) == begin[r] for r in _awake(pids)):
        time.sleep(0.05)
    suspended = tuple(rank for rank, pid in pids.items() if is_suspended(pid))
    if suspended:
        return suspended
    # A moment for those that have begun to write.
    time.sleep(0.2)
    waiting = {rank: _in_collective(_text_from(folder.rank_log(rank), begin[rank])) for rank in pids}
    return tuple(rank for rank, waits in waiting.items() if not waits)


def _dump(program: str, pid: int, log: Path) -> bool:
    with log.open("ab") as output:
        try:
            done = subprocess.run(
                [program, "dump", "--pid", str(pid)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=20, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return False
    return done.returncode == 0


def _ask(pid: int) -> None:
    """Send the signal on which `faulthandler` writes the stacks; the rank registered it at its start."""
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError:
        return


def _awake(pids: Mapping[int, int]) -> Iterable[int]:
    return [rank for rank, pid in pids.items() if not is_suspended(pid)]


def _in_collective(stacks: str) -> bool:
    return "torch/distributed/" in stacks or "aggregation/" in stacks


def _text_from(log: Path, offset: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read(1 << 20).decode(errors="replace")
    except OSError:
        return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
