"""What the report says about training steps: parts by rank, communication, who was waited for, what would help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .breakdown import STEP_PARTS
from .communication import Communication, RankTimes, WhatIf
from .metrics import Metrics
from .probe import Probe
from .table import Table
from .text import count

RANKS_SHOWN = 4
"""Up to this many ranks have a column each; more are shown by their least and their most."""

_NODES_SHOWN = 8

_LABELS = {
    "host_to_device": "host to device",
    "exposed_transfer": "transfer, exposed",
    "exposed_wait": "waiting, exposed",
    "other": "other (4)",
}
_WHAT_IF = {
    "communication free": "communication were free",
    "slowest rank as fast as the others": "rank {rank} were as fast as the others",
    "link twice as fast": "the link were twice as fast",
}


def step_rows(metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Facts about communication, and what the measuring itself cost."""
    found = metrics.communication
    if found is not None and len(found.ranks) > 1 and found.steps:
        yield "Communication", _communication(found)
        if metrics.probe and found.bus_bytes_per_s:
            yield "  against the probe", _against(found.bus_bytes_per_s, metrics.probe)
        yield "  overlap", _overlap(found)
        yield "  told apart by", _method(found, on_gpus=metrics.spec.backend == "nccl")
        yield "Waited for", _waited_for(found)
    yield from resource_rows(metrics)
    if cost := metrics.measuring_cost:
        middle, low, high = (f"{100 * (value - 1):+.2f}" for value in (cost.ratio, cost.low, cost.high))
        yield "Measuring costs", f"{middle} % of a step (95 % {low} to {high}, {count(cost.pairs, 'pair')} of steps)"
        if cost.cpu_ratio and cost.cpu_low and cost.cpu_high:
            middle, low, high = (f"{100 * (value - 1):+.2f}" for value in (cost.cpu_ratio, cost.cpu_low, cost.cpu_high))
            yield "  in processor time", f"{middle} % (95 % {low} to {high})"


def resource_rows(metrics: Metrics) -> Iterator[tuple[str, str]]:
    """What the hardware did, a line a node."""
    for node in metrics.resources[:_NODES_SHOWN]:
        words = [f"CPU {node.cpu_percent:.0f} %", f"memory up to {node.memory_peak_bytes / 2**30:.1f} GiB"]
        words.append(f"sent {node.sent_bytes_per_s / 1e6:,.1f} MB/s")
        if node.loopback_bytes_per_s > 1e4:
            words.append(f"{node.loopback_bytes_per_s / 1e6:,.1f} MB/s within the node")
        if node.gpu_utilisation_percent is not None:
            words.append(f"{count(node.gpus, 'GPU')} {node.gpu_utilisation_percent:.0f} % in use")
        if node.throttled_percent:
            words.append(f"clocks held back in {node.throttled_percent:.0f} % of samples")
        if node.energy_j is not None:
            words.append(f"{node.energy_j / 1e3:,.1f} kJ by the GPUs' counters")
        elif node.power_w is not None:
            words.append(f"{node.power_w:,.0f} W by nvidia-smi, not to be summed up")
        yield f"Node {node.node}", ", ".join(words)
    if (hidden := len(metrics.resources) - _NODES_SHOWN) > 0:
        yield "  more", f"{count(hidden, 'node')} in metrics.json"


def step_table(found: Communication) -> Table:
    """The mean step of each rank, part by part."""
    many = len(found.ranks) > RANKS_SHOWN
    step_ms = [rank.step_ms for rank in found.ranks]
    mean = sum(step_ms) / len(step_ms)
    rows = []
    for part in STEP_PARTS:
        values = [rank.parts_ms[part] for rank in found.ranks]
        share = 100 * found.mean_ms(part) / mean if mean else 0.0
        rows.append((_LABELS.get(part, part), _ms(found.mean_ms(part)), f"{share:.1f}", *_shown(values, many)))
    rows.append(("step", _ms(mean), "100.0", *_shown(step_ms, many)))
    handling_ms = sum(rank.handling_ms for rank in found.ranks) / len(found.ranks)
    handling = f", compression included: {_ms(handling_ms)} ms" if handling_ms > 0.01 * mean else ""
    each = tuple(f"rank {rank.rank}" for rank in found.ranks) if len(found.ranks) > 1 else ()
    return Table(
        "The mean training step",
        ("part", "mean ms" if each else "ms", "%", *(("least ms", "most ms") if many else each)),
        tuple(rows),
        sums_up=not many,
        notes=(
            f"Over {count(found.steps, 'step')}, without the warm-up.",
            f"(4) What lies between the phases, and handing over and unpacking what is communicated{handling}.",
            f"The parts add up to every step of every rank: the worst is off by {100 * found.worst_residual:.2g} %.",
        ),
    )


def what_if_table(found: Communication) -> Table:
    """The mean step under other circumstances."""
    mean = sum(rank.step_ms for rank in found.ranks) / len(found.ranks)
    rows = (("(as it was)", _ms(mean), ""), *(_what_if_row(what_if, mean) for what_if in found.what_ifs))
    return Table("The mean step if ...", ("if", "step ms", "change %"), rows)


def _communication(found: Communication) -> str:
    operations = ", ".join(f"{number:g} {name}" for name, number in found.collectives_per_step.items())
    bandwidth = found.bus_bytes_per_s
    rate = f", {bandwidth / 1e6:,.1f} MB/s bus bandwidth" if bandwidth else ""
    return f"{operations or 'none'} a step, {found.payload_bytes_per_step / 1e6:,.3f} MB{rate}"


def _against(bus_bytes_per_s: float, probe: Probe) -> str:
    share = 100 * bus_bytes_per_s / probe.bus_bytes_per_s
    could = f"{probe.bus_bytes_per_s / 1e6:,.1f} MB/s"
    return f"{share:.3g} % of the {could} of one all-reduce of {probe.payload_bytes / 1e6:,.1f} MB before the run"


def _overlap(found: Communication) -> str:
    ranks = len(found.ranks)
    transfer, hidden = (sum(values) / ranks for values in zip(*map(_transfer, found.ranks), strict=True))
    share = "-" if found.overlap is None else f"{100 * found.overlap:.1f} %"
    return f"{share} of transfer: {_ms(hidden)} of {_ms(transfer)} ms a step hidden by compute"


def _method(found: Communication, *, on_gpus: bool) -> str:
    alignment = found.reduction.alignment
    if alignment.error_ns is None:
        return "the shortest duration of each collective, without clocks"
    drifts = [clock.drift_ppm for clock in (alignment.clocks or {}).values()]
    known = [abs(drift) for drift in drifts if drift is not None]
    drift = "not known" if len(known) < len(drifts) else f"up to {max(known):.2f} ppm"
    within = f"within {alignment.error_ns / 1e3:,.1f} us between"
    if not on_gpus:
        return f"aligned clocks, {within} ranks (drift {drift})"
    # CUDA events are placed on the host's clock once an epoch and after evaluations (runners/clock.py).
    return (
        f"aligned clocks, {within} hosts (drift {drift}); the times of the steps are GPU events, whose delay behind "
        "the host and drift from it since the epoch began are not in that bound"
    )


def _waited_for(found: Communication) -> str:
    if not found.windows:
        return "not known: no two steps in a row"
    critical = sorted((rank for rank in found.ranks if rank.critical_steps), key=lambda r: -r.critical_steps)
    if not critical:
        return "nobody: all ranks arrived together"
    worst = critical[0]
    phase = next(iter(Counter(worst.blamed).most_common(1)), ("no phase of its own", 0))[0]
    share = 100 * worst.critical_steps / found.windows
    return (
        f"rank {worst.rank} in {share:.0f} % of steps, {_ms(worst.caused_wait_ms)} ms each, "
        f"most often for its {_LABELS.get(phase, phase).split(' (')[0]}"
    )


def _what_if_row(what_if: WhatIf, now_ms: float) -> tuple[str, ...]:
    change = 100 * (what_if.step_ms / now_ms - 1) if now_ms else 0.0
    return _WHAT_IF[what_if.name].format(rank=what_if.rank), _ms(what_if.step_ms), f"{change:+.1f}"


def _transfer(rank: RankTimes) -> tuple[float, float]:
    return rank.transfer_ms, rank.hidden_transfer_ms


def _shown(values: list[float], many: bool) -> list[str]:
    if len(values) == 1:
        return []
    return [_ms(value) for value in ((min(values), max(values)) if many else values)]


def _ms(value: float) -> str:
    return f"{value:,.3f}"
