"""A node is ready when it says so itself: SSH, first boot over, the GPUs that were asked for, clock, disk."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import NodeNotReady
from . import deadline, ssh
from .blueprint import iso
from .fleet import Node
from .folder import FleetFolder

MAX_PARALLEL = 64
MIN_DISK_GB = 5.0
MAX_CLOCK_OFFSET_S = 5.0
RETRY_S = 0.2
WRONG_KEY = "its host key is not the one that is pinned: somebody may be in between"
_MAX_EVIDENCE = 500
_MAX_ANSWER = 4096

# What nvidia-smi says as it says it, after a line of ours, and then one line of JSON: from plain sh, so that nothing
# need be installed on the node, and with as few processes as can be, since each costs its processor a millisecond.
_GPUS_FOLLOW = "mlb-gpus"
PROBE = (
    r"""
set -u
boot=none
if command -v cloud-init >/dev/null 2>&1; then
  cloud-init status --wait >/dev/null 2>&1
  boot=$(cloud-init status 2>/dev/null | sed -n 's/^status: *//p')
fi
"""
    # Not before the first boot is over, which may take minutes: what it says of the timer is of that moment.
    + deadline.PROBE
    + r"""
smi=0
echo mlb-gpus
if command -v nvidia-smi >/dev/null 2>&1; then
  what=name,driver_version,ecc.mode.current
  # A driver that does not know one field refuses them all.
  gpus=$(nvidia-smi --query-gpu=$what,ecc.errors.uncorrected.volatile.total --format=csv,noheader 2>&1) ||
    gpus=$(nvidia-smi --query-gpu=$what --format=csv,noheader 2>&1) || smi=$?
  printf '%s\n' "$gpus"
fi
echo
set -- $(df -Pk .)
read -r uptime _ </proc/uptime
printf '{"boot": "%s", "nvidia_smi": %s, "disk_kb": %s, "cpus": %s, "time_s": %s, "uptime_s": %s, "timer": "%s"}\n' \
  "$boot" "$smi" "${11:-0}" "$(nproc)" "$(date +%s)" "$uptime" "$timer"
"""
)


@dataclass(frozen=True)
class Check:
    """What one node said; `problems` is empty when it is ready, `ends_in_s` None when no deadline timer is armed."""

    node: str
    problems: tuple[str, ...]
    seconds: float
    boot: str = ""
    gpus: int = 0
    driver: str = ""
    gpu_names: str = ""
    disk_gb: float = 0.0
    cpus: int = 0
    clock_offset_s: float = 0.0
    ends_in_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_all(
    folder: FleetFolder,
    nodes: Sequence[Node],
    deadline_s: float,
    on_done: Callable[[Check], None] = lambda _: None,
    *,
    ends_epoch: int | None = None,
) -> tuple[Check, ...]:
    """Ask all nodes at once; one that does not answer by the deadline has that as its problem.

    Args:
        ends_epoch: when the nodes must end by a timer of their own, in seconds since 1970; None where none is needed.
    """
    until = time.monotonic() + deadline_s
    stop = threading.Event()

    def one(node: Node) -> Check:
        check = check_node(folder, node, until, stop, ends_epoch)
        on_done(check)
        return check

    with ThreadPoolExecutor(max_workers=min(MAX_PARALLEL, max(1, len(nodes)))) as pool:
        try:
            return tuple(pool.map(one, nodes))
        finally:
            # After ctrl-C the pool still waits for its threads: they must not go on to the deadline.
            stop.set()


def refuse_if_any_failed(checks: Sequence[Check], note: str = "") -> None:
    """Raises NodeNotReady, which names each node that is not ready with its evidence, and ends with the note."""
    bad = [c for c in checks if c.problems]
    if bad:
        lines = [f"{c.node}: {problem}" for c in bad for problem in c.problems]
        raise NodeNotReady(
            f"{len(bad)} of {len(checks)} nodes are not ready: {', '.join(c.node for c in bad)}.",
            why="\n".join([*lines, *filter(None, [note])]),
        )


def check_node(
    folder: FleetFolder, node: Node, until: float, stop: threading.Event, ends_epoch: int | None = None
) -> Check:
    """Try until the node answers or the time is over; a wrong host key is never tried twice."""
    begun = time.monotonic()
    while True:
        left = max(1.0, until - time.monotonic())
        answer = ssh.run(folder, node, "sh -s", stdin=PROBE, timeout_s=left, stop=stop)
        took = time.monotonic() - begun
        if answer.code == 0:
            return judge(node, answer.out, took, ends_epoch)
        if "HOST IDENTIFICATION HAS CHANGED" in answer.err or "Host key verification failed" in answer.err:
            return Check(node.name, (WRONG_KEY,), took)
        if time.monotonic() + RETRY_S >= until or stop.wait(RETRY_S):
            return Check(node.name, (f"no answer by SSH: {clean(answer.err) or answer.code}",), took)


def judge(node: Node, out: str, seconds: float, ends_epoch: int | None = None) -> Check:
    """What a node's answer comes to."""
    try:
        *before, last = out.strip().splitlines()
        said = json.loads(last[:_MAX_ANSWER])
        gpus = _after_last(_GPUS_FOLLOW, before)
        check = Check(
            node=node.name,
            problems=(),
            seconds=round(seconds, 3),
            boot=clean(str(said["boot"])),
            gpus=-1 if int(said["nvidia_smi"]) else len(gpus),
            driver=clean(gpus[0].split(",")[1]) if gpus and "," in gpus[0] else "",
            gpu_names=clean("; ".join(gpus)),
            disk_gb=round(int(said["disk_kb"]) / 1e6, 1),
            cpus=int(said["cpus"]),
            clock_offset_s=round(int(said["time_s"]) + 0.5 - time.time(), 1),
            ends_in_s=deadline.left_s(str(said["timer"]), float(said["uptime_s"])),
        )
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return Check(node.name, (f"its answer makes no sense: {clean(out)}",), seconds)
    worn = _memory_errors(gpus) if check.gpus > 0 else []
    late = [] if ends_epoch is None else _deadline_problems(check, ends_epoch)
    return Check(**{**asdict(check), "problems": (*_problems(check, node), *worn, *late)})


def _after_last(mark: str, lines: Sequence[str]) -> list[str]:
    """The lines that are not blank behind the last one that is `mark`: a greeting may stand before it."""
    begin = max((i for i, line in enumerate(lines) if line.strip() == mark), default=len(lines))
    return [line.strip() for line in lines[begin + 1 :] if line.strip()]


def clean(text: str) -> str:
    """Remote text without control characters and at a bearable length: it is shown on a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()[:_MAX_EVIDENCE]


def _problems(check: Check, node: Node) -> list[str]:
    problems = []
    if check.boot not in ("none", "done", "disabled"):
        problems.append(f"first boot ended as {check.boot!r} (cloud-init status --long says more)")
    if check.gpus < 0:
        problems.append(f"nvidia-smi failed: {check.gpu_names}")
    elif check.gpus < node.gpus:
        problems.append(f"{check.gpus} GPUs instead of {node.gpus}: {check.gpu_names or 'no nvidia-smi'}")
    if check.disk_gb < MIN_DISK_GB:
        problems.append(f"{check.disk_gb} GB of disk free, {MIN_DISK_GB:g} are needed")
    if abs(check.clock_offset_s) > MAX_CLOCK_OFFSET_S:
        problems.append(f"its clock is {check.clock_offset_s:g} s off this machine's")
    return problems


def _memory_errors(gpus: Sequence[str]) -> list[str]:
    """Of each GPU whose last field counts errors: consumer cards have `[N/A]` there, old drivers nothing."""
    counted = [(i, gpu, gpu.split(",")[3:]) for i, gpu in enumerate(map(clean, gpus))]
    return [
        f"GPU {i} has had {errors[0].strip()} uncorrected memory errors since its last reset: {gpu}"
        for i, gpu, errors in counted
        if errors and re.fullmatch(r" *0*[1-9][0-9]*", errors[0])
    ]


def _deadline_problems(check: Check, ends_epoch: int) -> list[str]:
    if check.ends_in_s is None:
        return [f"no deadline timer is armed (mlb-deadline): nothing on it would end it at {iso(ends_epoch)}"]
    late_s = time.time() + check.ends_in_s - ends_epoch
    if late_s > deadline.SLACK_S:
        return [f"its deadline timer fires {late_s:.0f} s after the fleet's deadline ({iso(ends_epoch)})"]
    return []
