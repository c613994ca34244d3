"""What makes a node unfit for timing, and what a reader of the result should merely know: numbers against limits."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..results.text import sanitise
from .links import Link, speed_of

# NVML's nvmlClocksThrottleReasons: hardware slowdown, software thermal, hardware thermal, hardware power brake.
_SLOWED = {0x08: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "power brake"}


@dataclass(frozen=True)
class Limits:
    """Beyond these a node is unfit, or, where it says so, only warned of."""

    disk_free_bytes: int = 1 << 30
    shm_free_bytes: int = 32 << 20
    """NCCL passes data between the GPUs of a node through shared memory."""
    slow_link: float = 0.25
    """A link with less than this share of the bandwidth that a quarter of the links have is not like the others."""
    slow_rtt: float = 10.0
    """Warned of: a round trip this many times the median, if it is above a millisecond, too."""
    clock_offset_s: float = 0.5
    """Warned of only. Steps are compared by monotonic clocks that the ranks align; launch, ending, wall time and cost
    are counted by the nodes' wall clocks, which the report puts right by this very measurement and the ranks' own."""
    load_per_core: float = 0.5
    """Warned of: somebody else computes on the node."""
    network: str = ""
    """What the ranks of several nodes must go over, a key of `NETWORKS`; empty for whatever they find."""


NETWORKS = {"efa": ("libfabric", "ofi"), "ib": ("ib",), "tcp": ("socket", "tcp")}
"""As it is asked for -> how NCCL's name for it begins or ends: `AWS Libfabric`, `IB`, `IBext_v8`, `Socket`."""


@dataclass(frozen=True)
class Problem:
    """One finding and what it was read from; `node` is empty where it is about all of them."""

    node: str
    evidence: str


Facts = Mapping[str, Mapping[str, Any]]


def judge(
    facts: Facts, gpus_asked: Mapping[str, int], links: Sequence[Link], limits: Limits
) -> tuple[list[Problem], list[Problem]]:
    """What is wrong, and what is worth a warning."""
    problems = [*_gpu_problems(facts, gpus_asked), *_room_problems(facts, limits), *_link_problems(links, limits)]
    warnings = [*_differences(facts), *_clock_warnings(facts, limits), *_rtt_warnings(links, limits)]
    warnings += [
        Problem(
            name,
            f"{node['busy_cores']:.1f} of {node['cores']} cores were busy before the run: something else runs there",
        )
        for name, node in facts.items()
        if min(node["load_1min"], node["busy_cores"]) > limits.load_per_core * node["cores"]
    ]
    return problems, warnings


def judge_network(reduced: Mapping[str, Any] | None, limits: Limits) -> tuple[list[Problem], list[Problem]]:
    """As `judge`, of what the all-reduce of all nodes went over; nothing where there was none."""
    if reduced is None:
        return [], []
    found = [sanitise(name) for name in reduced.get("networks", ())]
    odd = [name for name in found if limits.network and network_of(name) != limits.network]
    if limits.network and (odd or not found):
        went = " and ".join(found) or "a network that it does not name"
        return [
            Problem("", f"{reduced.get('backend')} goes over {went} between the nodes, not over {limits.network}")
        ], []
    slow = reduced.get("backend") == "nccl" and any(network_of(name) == "tcp" for name in found)
    text = "NCCL goes over TCP sockets between the nodes, not over InfiniBand or EFA"
    return [], [Problem("", text)] if slow else []


def network_of(name: str) -> str:
    """The key of `NETWORKS` for NCCL's name of a network; empty for one that is not known."""
    lower = name.lower()
    return next((key for key, marks in NETWORKS.items() if lower.startswith(marks) or lower.endswith(marks)), "")


def _gpu_problems(facts: Facts, asked: Mapping[str, int]) -> list[Problem]:
    found = []
    for name, node in facts.items():
        gpus = node["gpus"]
        if len(gpus) < asked[name]:
            found.append(Problem(name, f"nvidia-smi lists {len(gpus)} GPUs, {asked[name]} were asked for"))
        for gpu in gpus:
            which = f"GPU {sanitise(gpu.get('index', '?'))}"
            errors = sanitise(gpu.get("ecc.errors.uncorrected.volatile.total", ""))
            if errors.isdigit() and int(errors):
                found.append(Problem(name, f"{which} has had {errors} uncorrected memory errors since its last reset"))
            reasons = _slowdowns(str(gpu.get("clocks_throttle_reasons.active", "")))
            if reasons:
                found.append(Problem(name, f"{which} is slowed down: {', '.join(reasons)}"))
    return found


def _slowdowns(mask: str) -> list[str]:
    try:
        bits = int(mask, 16)
    except ValueError:
        return []
    return [reason for bit, reason in _SLOWED.items() if bits & bit]


def _room_problems(facts: Facts, limits: Limits) -> list[Problem]:
    wanted = {
        "disk_free_bytes": ("disk", limits.disk_free_bytes),
        "shm_free_bytes": ("shared memory", limits.shm_free_bytes),
    }
    return [
        Problem(name, f"{node[key] >> 20} MiB are free on {what}, {least >> 20} are needed")
        for name, node in facts.items()
        for key, (what, least) in wanted.items()
        if node[key] < least
    ]


def _link_problems(links: Sequence[Link], limits: Limits) -> list[Problem]:
    found = [Problem(link.a, f"no link to {link.b}: {link.problem}") for link in links if link.problem]
    slow, usual = slow_links(links, limits), _usual_speed(links)
    # A node that is slow is slow to everybody: it is in more slow links than its partners are.
    count = Counter(end for link in slow for end in (link.a, link.b))
    for link in slow:
        culprit = link.a if count[link.a] >= count[link.b] else link.b
        other = link.b if culprit == link.a else link.a
        text = f"{speed_of(link) / 1e6:,.0f} Mbit/s to {other}; the best of {len(links)} links have {usual / 1e6:,.0f}"
        found.append(Problem(culprit, text))
    return found


def slow_links(links: Sequence[Link], limits: Limits) -> list[Link]:
    """The links that work, but far slower than the others."""
    usual = _usual_speed(links)
    return [link for link in links if not link.problem and speed_of(link) < limits.slow_link * usual]


def _usual_speed(links: Sequence[Link]) -> float:
    """What the better links have; 0 where nobody can say, as with two links: which is the odd one?"""
    speeds = [speed_of(link) for link in links if not link.problem]
    # Not the median: of three nodes one slow one has two of the three links.
    return statistics.quantiles(speeds, n=4)[2] if len(speeds) > 2 else 0.0


def _rtt_warnings(links: Sequence[Link], limits: Limits) -> list[Problem]:
    rtts = {link: link.rtt_s for link in links if link.rtt_s is not None}
    if len(rtts) < 3:
        return []
    median = statistics.median(rtts.values())
    return [
        Problem(link.a, f"{1e3 * rtt:.2f} ms round trip to {link.b}; the median is {1e3 * median:.2f} ms")
        for link, rtt in rtts.items()
        if rtt > max(limits.slow_rtt * median, 1e-3)
    ]


def _clock_warnings(facts: Facts, limits: Limits) -> list[Problem]:
    return [
        Problem(
            name, f"its clock is {node['clock_offset_s']:+.3f} s (± {node['clock_error_s']:.3f}) off this machine's"
        )
        for name, node in facts.items()
        if abs(node["clock_offset_s"]) - node["clock_error_s"] > limits.clock_offset_s
    ]


def _differences(facts: Facts) -> list[Problem]:
    """Nodes that are not all alike: the slowest decides, and it is not the one a reader thinks of."""
    by_kind = {"MTU": {name: str(node["mtu"]) for name, node in facts.items()}}
    for what, field in (("GPU", "name"), ("driver", "driver_version"), ("ECC mode", "ecc.mode.current")):
        by_kind[what] = {
            name: ", ".join(sorted({sanitise(gpu.get(field, "")) for gpu in node["gpus"]})) or "none"
            for name, node in facts.items()
        }
    found = []
    for what, values in by_kind.items():
        kinds = {kind: [name for name in values if values[name] == kind] for kind in values.values()}
        if len(kinds) > 1:
            each = "; ".join(f"{kind} on {', '.join(names)}" for kind, names in kinds.items())
            found.append(Problem("", f"{what} differs: {each}"))
    return found
