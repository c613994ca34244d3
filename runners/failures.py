"""Turns a dead rank into words: its exit code, what its log says, the end of its output."""

from __future__ import annotations

import signal
from pathlib import Path

from ..results import keys
from ..results.log import read_log
from ..results.run import RankFailure, RunFolder
from ..results.tail import last_lines
from ..results.text import how_it_ended

_LAST_LINES = 20
_LAST_BYTES = 16_384
_VMSTAT = Path("/proc/vmstat")


def count_oom_kills(file: Path = _VMSTAT) -> int:
    """How many processes the kernel has ended for want of memory since it was booted; 0 where it does not count."""
    try:
        counts = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


def describe(
    folder: RunFolder, *, rank: int, pid: int, exit_code: int, seen_unix_ns: int, oom_kills: int = 0
) -> RankFailure:
    """Everything known about the death of `rank`.

    Args:
        oom_kills: how many processes of the machine the kernel has ended for want of memory during the run.
    """
    said = _failure_event(folder, rank)
    if said is not None:
        message, collateral = said
    elif exit_code == -signal.SIGKILL and oom_kills:
        # The kernel does not say whom: containers of one machine share the counter.
        many = f"{oom_kills} process{'es' if oom_kills > 1 else ''}"
        message = f"killed by SIGKILL: memory ran out, for which the kernel ended {many} during the run"
        collateral = False
    else:
        message, collateral = how_it_ended(exit_code), False
    return RankFailure(
        rank=rank,
        pid=pid,
        exit_code=exit_code,
        seen_unix_ns=seen_unix_ns,
        collateral=collateral,
        message=message,
        last_lines=_last_lines(folder, rank),
    )


def _failure_event(folder: RunFolder, rank: int) -> tuple[str, bool] | None:
    """The message and the collateral mark of the rank's own last words, if it had time for any."""
    path = folder.rank_events(rank)
    if not path.exists():
        return None
    events = [event for event in read_log(path).events if event.key == keys.FAILURE]
    if not events:
        return None
    fields = events[-1].fields
    return f"{fields.get('kind')}: {fields.get('message')}", bool(fields.get("collateral"))


def _last_lines(folder: RunFolder, rank: int) -> tuple[str, ...]:
    try:
        return tuple(last_lines(folder.rank_log(rank), _LAST_LINES, _LAST_BYTES))
    except OSError:
        return ()
