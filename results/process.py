"""Who a process is, beyond its pid: pids are used again, a pid together with a start time is not. Linux's /proc."""

from __future__ import annotations

from pathlib import Path


def start_ticks(pid: int) -> int:
    """A process's start in clock ticks since boot; 0 if there is no such process."""
    return _state_and_start(pid)[1]


def is_running(pid: int, started_ticks: int) -> bool:
    """Whether the very process that started then still runs; one that only waits to be reaped does not."""
    state, start = _state_and_start(pid)
    return start != 0 and start == started_ticks and state != "Z"


def is_suspended(pid: int) -> bool:
    """Whether the process is stopped by a signal or a debugger."""
    return _state_and_start(pid)[0] in ("T", "t")


def incarnation() -> str:
    """Names one boot of this machine; a container or a namespace that was started anew counts as one, too."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{start_ticks(1)}"


def _state_and_start(pid: int) -> tuple[str, int]:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", 0
    # The command's name, in parentheses, may hold spaces: count fields behind it.
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19])
