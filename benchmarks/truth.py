"""Injected causes against what mlb measures: python benchmarks/truth.py [CASE...]; exit code 1 if one is missed.

Ranks are processes in network namespaces of their own (links.py); their compute is sleep (truth_rank.py), so that what
is injected is known to a tenth of a millisecond. Beside mlb's answer stands MLBench's way: the host's time around a
blocking all-reduce, on the same logs, which cannot tell waiting from transferring and sees nothing under DDP.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from common import machine
from links import burst_bytes
from mlb.results.breakdown import STEP_PARTS
from mlb.results.stragglers import Stragglers
from mlb.results.windows import WINDOW
from truth_run import WARM_UP, Case, Outcome, run

FRAME = 1514 / 1448
"""Bytes on the wire for a byte of payload in full Ethernet frames with TCP timestamps."""


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    case: str
    what: str
    injected: float | str
    measured: float | str
    bound: str
    ok: bool
    mlbench: str = ""


def within(case: str, what: str, injected: float, measured: float, percent: float, mlbench: str = "") -> Finding:
    """A finding that must be true to so many percent."""
    ok = abs(measured - injected) <= percent / 100 * abs(injected)
    return Finding(case, what, injected, measured, f"{percent:g} %", ok, mlbench)


def sleeps() -> list[Finding]:
    """50 ms on a rank in a phase: named right in every step, recovered as waiting, no transfer invented."""
    return _sleeps(sleep_case())


def clocks() -> list[Finding]:
    """The same with clocks that are 7 s ahead and 3.6 s behind, and run 100 ppm too fast and too slow."""
    wrong = {"1": (7_000_000_000, 100.0), "2": (-3_600_000_000, -100.0)}
    return _sleeps(replace(sleep_case(), name="clocks off, sleeps", clocks=wrong))


def weights() -> list[Finding]:
    """The same with weights that are averaged after the optimiser's step: its own step is to blame then."""
    return _sleeps(replace(sleep_case(), name="weights, sleeps", pattern="weights"))


def sleep_case() -> Case:
    faults = {}
    for turn in range(4):  # each rank in each phase once in 32 steps
        for place, phase in ((1, "input"), (3, "forward"), (5, "backward"), (6, "optimiser")):
            faults[f"{(turn + place) % 4} {phase} {8 * turn + place}"] = 50.0
    return Case("sleeps", steps=50 * 8 + WARM_UP, faults_ms=faults, period=32)


def _sleeps(case: Case) -> list[Finding]:
    outcome = run(case)
    window = outcome.step % 8
    optimiser = 6 if case.pattern == "weights" else 7  # the step in which its being late is seen
    clean = ~np.isin(window, (1, 3, 5, optimiser))
    usual = float(np.median(outcome.transfer[:, clean]))
    findings = []
    for phase, place in (("input", 1), ("forward", 3), ("backward", 5), ("optimiser", optimiser)):
        hit = window == place
        right, tried = _named(outcome, phase, place)
        # The rank that sleeps waits least; the others wait for it, whatever they would have waited without it.
        waits = float(np.median(np.sort(outcome.wait[:, hit], axis=0)[1:]))
        mlbench = f"communication {outcome.mlbench_ms[:, hit].mean():.1f} ms"
        name = f"{case.name}: {phase}"
        findings += [
            Finding(name, "rank and phase named", tried, right, "all", right == tried and tried >= 50, "not named"),
            within(name, "waiting, ms", 50.0, waits, 5, mlbench),
            within(name, "transfer, ms", usual, float(np.median(outcome.transfer[:, hit])), 5, mlbench),
        ]
    if case.clocks:
        # Rank 0's truth against the others': the exchange must find what was set.
        drifts = [clock.drift_ppm for clock in (outcome.alignment.clocks or {}).values()]
        for rank, (_, ppm) in case.clocks.items():
            drift = drifts[int(rank)]
            measured = float("nan") if drift is None else drift
            findings.append(within(case.name, f"drift of rank {rank}, ppm", -ppm, measured, 5))
    return findings


def _named(outcome: Outcome, phase: str, place: int) -> tuple[int, int]:
    """In how many of the steps with this fault the rank and the phase are named right."""
    right = tried = 0
    faulty = 6 if phase == "optimiser" else place
    for turn in range(4):
        found = Stragglers(outcome.blocks[0].joined.ranks, certain_ns=outcome.alignment.error_ns or 0)
        for block in outcome.blocks:
            number = block.joined["step"][0]
            found.add(block, (number % 32 == 8 * turn + place) & (number >= WARM_UP))
        tried += found.windows
        right += int(found.blamed[(turn + faulty) % 4, WINDOW.index(phase)])
    return right, tried


def graph() -> list[Finding]:
    """Gossip on a ring: its neighbours wait for a late rank, and the rank on the other side knows nothing of it."""
    faults = {f"2 forward {step}": 50.0 for step in (3, 11)}
    outcome = run(Case("ring of 6", ranks=6, steps=50 * 8 + WARM_UP, pattern="gossip", payload_bytes=200_000,
                       rates_mbit=(100.0,), faults_ms=faults, period=16))  # fmt: skip
    hit, clean = outcome.step % 8 == 3, outcome.step % 8 == 1
    # The transfer of those in between is truly shorter: their neighbours have one link less to send over meanwhile.
    near, far = [1, 3], [5]
    usual = float(np.median(outcome.transfer[far][:, clean]))
    found = Stragglers(outcome.blocks[0].joined.ranks, certain_ns=outcome.alignment.error_ns or 0)
    for block in outcome.blocks:
        number = block.joined["step"][0]
        found.add(block, (number % 8 == 3) & (number >= WARM_UP))
    right = int(found.blamed[2, WINDOW.index("forward")])
    mlbench = f"communication {outcome.mlbench_ms[near][:, hit].mean():.1f} ms"
    afar = f"communication {outcome.mlbench_ms[far][:, hit].mean():.1f} ms"
    return [
        Finding("ring of 6", "rank and phase named", found.windows, right, "all", right == found.windows, "not named"),
        within(
            "ring of 6", "waiting of neighbours, ms", 50.0, float(np.median(outcome.wait[near][:, hit])), 5, mlbench
        ),
        within(
            "ring of 6",
            "transfer on the other side, ms",
            usual,
            float(np.median(outcome.transfer[far][:, hit])),
            5,
            afar,
        ),
    ]


def stale() -> list[Finding]:
    """A server with two steps of grace: all are held up by the slow rank at last, by as much as it is slower."""
    faults = {f"1 backward {step}": 30.0 for step in range(8)}
    outcome = run(Case("two steps of grace", pattern="ssp:staleness=2", payload_bytes=100_000, rates_mbit=(0.0,),
                       faults_ms=faults))  # fmt: skip
    others = [0, 2, 3]
    waits = float(np.median(outcome.wait[others]))
    mlbench = f"communication {outcome.mlbench_ms[others].mean():.1f} ms"
    return [
        within("two steps of grace", "waiting (30 slept), ms", 30.0, waits, 5, mlbench),
        within("two steps of grace", "its own waiting, ms", 0.0, float(np.median(outcome.wait[1])), 5, ""),
        _critical(outcome, 1),
    ]


def rates() -> list[Finding]:
    """The link's rate: transfer is bytes on the wire over the rate, and compute knows nothing of it."""
    findings, compute = [], []
    # Two cores move 1 Gbit/s between two ranks, but not between four.
    for rate, payload, ranks in ((1000.0, 4_000_000, 2), (200.0, 1_000_000, 4), (50.0, 500_000, 4)):
        outcome = run(Case(f"link {rate:g} Mbit/s", ranks=ranks, rates_mbit=(rate,), payload_bytes=payload))
        findings.append(_transfer(outcome, rate))
        compute.append((outcome.case.name, np.median(outcome.part("forward") + outcome.part("backward"))))
    return findings + [within(name, "compute, ms", compute[0][1], value, 5) for name, value in compute[1:]]


def delays() -> list[Finding]:
    """The link's delay, by which gloo's ring is held up in every round."""
    findings, compute = [], []
    for delay in (0.0, 1.0, 20.0):
        case = Case(f"delay {delay:g} ms", ranks=2, delay_ms=delay, payload_bytes=1_000_000, rates_mbit=(100.0,))
        outcome = run(case)
        findings.append(_transfer(outcome, 100.0))
        compute.append((case.name, np.median(outcome.part("forward") + outcome.part("backward"))))
    return findings + [within(name, "compute, ms", compute[0][1], value, 5) for name, value in compute[1:]]


def _transfer(outcome: Outcome, rate_mbit: float) -> Finding:
    """Bytes that must cross the slowest link over its rate, less what the link had saved up, and the delays of gloo's
    ring: 2 (n-1) rounds one behind the other, each crossing the link twice, as the receiver first says it is ready."""
    case, n = outcome.case, outcome.case.ranks
    on_wire = 2 * (n - 1) / n * case.payload_bytes * FRAME - burst_bytes(rate_mbit)
    expected = on_wire * 8 / rate_mbit / 1e3 + 2 * (n - 1) * 2 * case.delay_ms
    mlbench = f"communication {np.median(outcome.mlbench_ms):.1f} ms"
    return within(case.name, "transfer, ms", expected, float(np.median(outcome.transfer, axis=1).max()), 10, mlbench)


def both() -> list[Finding]:
    """A slow link and a slow rank at once, and one slow network card among fast ones."""
    faults = {f"1 forward {step}": 30.0 for step in range(8)}
    outcome = run(Case("slow link and slow rank", rates_mbit=(100.0,), faults_ms=faults))
    others = [0, 2, 3]
    mlbench = f"communication {outcome.mlbench_ms[others].mean():.1f} ms"
    # The slow rank also leaves a ring on a slow link at another time than the rest: all of its lateness is the truth.
    late = float(np.median(outcome.arrived_ms[1] - outcome.arrived_ms[others]))
    waits = float(np.median(outcome.wait[others]))
    findings = [
        _transfer(outcome, 100.0),
        within("slow link and slow rank", "waiting (30 slept), ms", late, waits, 5, mlbench),
        _critical(outcome, 1),
    ]
    slow = run(Case("one slow card of 50 Mbit/s", rates_mbit=(200.0, 200.0, 50.0, 200.0)))
    # Ranks before the slow card end early, and wait for the last in the next step: the slowest has it all.
    return [*findings, _transfer(slow, 50.0)]


def _critical(outcome: Outcome, rank: int) -> Finding:
    named = outcome.communication.ranks[rank].critical_steps
    of = outcome.communication.windows
    return Finding(outcome.case.name, f"steps that waited for rank {rank}", of, named, "all", named == of, "not named")


def overlap() -> list[Finding]:
    """DDP's buckets under a backward that hides about half of them: exposed is what switching them off saves."""
    outcome = run(replace(OVERLAPPED, name="overlap", off_in_odd_steps=True))
    on = outcome.step % 2 == 0
    saved = float(np.median(outcome.step_ms[:, on]) - np.median(outcome.step_ms[:, ~on]))
    exposed = float(np.median((outcome.part("exposed_transfer") + outcome.part("exposed_wait"))[:, on]))
    own = [sum(outcome.part(part) for part in STEP_PARTS if not part.startswith("exposed"))[:, of] for of in (on, ~on)]
    slower = float(np.median(own[0]) - np.median(own[1]))
    hidden = 100 * (outcome.communication.overlap or 0.0)
    return [
        within("overlap", "exposed, ms", saved, exposed, 3, "communication 0.0 ms"),
        # Two cores have to move the bytes too: what that costs the compute beside it is not communication's time.
        Finding("overlap", "  own work slower beside it", "", slower, "", True),
        Finding("overlap", "transfer hidden, %", "about half", hidden, "20 to 80", 20 < hidden < 80, "nothing"),
    ]


def alone() -> list[Finding]:
    """One rank: there is nobody to communicate with."""
    outcome = run(Case("one rank alone", ranks=1, steps=32))
    found = sum(float(values.sum()) for values in (outcome.transfer, outcome.wait))
    mlbench = f"communication {outcome.mlbench_ms.mean():.3f} ms"
    return [Finding("one rank alone", "communication, ms", 0.0, found, "exact", found == 0.0, mlbench)]


def what_ifs() -> list[Finding]:
    """Each prediction against a run in which it is true."""
    slow = {f"2 forward {step}": 25.0 for step in range(8)}
    case = Case("what if", rates_mbit=(100.0,), faults_ms=slow)
    before = run(case)
    predicted = {what.name: what.step_ms for what in before.communication.what_ifs}
    real = {
        "communication free": replace(case, payload_bytes=4, rates_mbit=(0.0,)),
        "slowest rank as fast as the others": replace(case, faults_ms={}),
        "link twice as fast": replace(case, rates_mbit=(200.0,)),
    }
    findings = [_what_if(name, predicted[name], run(changed)) for name, changed in real.items()]
    ahead = {what.name: what.step_ms for what in run(OVERLAPPED).communication.what_ifs}["link twice as fast"]
    real = run(replace(OVERLAPPED, rates_mbit=(2 * OVERLAPPED.rates_mbit[0],)))
    return [*findings, _what_if("link twice as fast, overlapped", ahead, real)]


def _what_if(name: str, predicted_ms: float, real: Outcome) -> Finding:
    return within(f"what if: {name}", "step, ms", float(real.step_ms.mean()), predicted_ms, 5, "no answer")


OVERLAPPED = Case(
    "overlapped", ranks=2, pattern="ddp", layers=8, payload_bytes=4 << 20, bucket_mb=0.5, backward_ms=160.0,
    rates_mbit=(100.0,),
)  # fmt: skip

CASES: Mapping[str, Callable[[], list[Finding]]] = {
    function.__name__: function
    for function in (sleeps, clocks, weights, graph, stale, rates, delays, both, overlap, alone, what_ifs)
}


WIDTHS = (44, 30, 10, 9, 9, 6)


def show(*cells: str) -> None:
    """A row of the table, at once: a case takes a while."""
    *first, last = cells
    print(
        "  ".join([*(cell.ljust(width) for cell, width in zip(first, WIDTHS, strict=True)), last]).rstrip(), flush=True
    )


def _text(value: float | str) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("truth.py needs root: it makes network namespaces")
    unknown = [name for name in sys.argv[1:] if name not in CASES]
    if unknown:
        sys.exit(f"no case {unknown[0]!r}: {', '.join(CASES)}")
    print(machine(), flush=True)
    show("case", "what", "injected", "measured", "bound", "", "MLBench's way")
    number = missed = 0
    for name in sys.argv[1:] or CASES:
        for f in CASES[name]():
            number, missed = number + 1, missed + (not f.ok)
            verdict = "ok" if f.ok else "MISSED"
            show(f.case, f.what, _text(f.injected), _text(f.measured), f.bound, verdict, f.mlbench)
    print(f"{number} findings, {missed} missed")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
