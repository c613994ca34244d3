"""Ties processes of a run together, so that no orphan stays whatever is killed: Linux's prctl and process tree."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

AGENT_PID_VARIABLE = "MLB_AGENT_PID"
"""The agent's pid, in the environment of its ranks."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent() -> None:
    """Have the kernel kill this rank when its agent dies, however the agent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # An agent that died before the call above would go unnoticed.
    if os.getppid() != int(os.environ.get(AGENT_PID_VARIABLE, os.getppid())):
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that `kill_descendants` finds it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants() -> None:
    """Kill and reap all children, and the grandchildren that come to this process as its children die."""
    while children := _children():
        for pid in children:
            _kill(pid)
            _reap(pid)


def _children() -> list[int]:
    return [pid for thread in Path("/proc/self/task").iterdir() for pid in _children_of(thread)]


def _children_of(thread: Path) -> list[int]:
    try:
        return [int(pid) for pid in (thread / "children").read_text().split()]
    except OSError:
        # The thread has ended; its children are the process's, and seen under another thread.
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
