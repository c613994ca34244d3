"""What each rank did in each step, told apart: computing, transferring, waiting for a slower rank, and the rest.

With a(r, k) the time at which rank r was ready for collective k, e(r, k) its end there, and the release
A(k) = max over r of a(r, k): before A(k) the others wait for the slowest, after it the network works.

    M(r) = union over k of [a(r, k), e(r, k)]      T(r) = union over k of [A(k), e(r, k)]
    B(r) = where the rank's own work stood still for communication
    exposed transfer = |T and B|    exposed wait = |M and B| - |T and B|    hidden = |M| - |M and B|
    step = compute + exposed transfer + exposed wait + input + host-to-device + other
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .clocks import RankClock
from .columns import ABSENT, OPERATIONS, Integers
from .intervals import union_ns, union_within_ns
from .join import Joined

STEP_PARTS: Final = (
    "input",
    "host_to_device",
    "forward",
    "backward",
    "optimiser",
    "exposed_transfer",
    "exposed_wait",
    "other",
)
"""The parts of a step, in the report's order; they add up to it. `other` holds the launching of collectives too."""

COMPUTE: Final = ("forward", "backward", "optimiser")


@dataclass(frozen=True)
class Breakdown:
    """Joined steps, told apart; arrays of nanoseconds, shape (R, S) where nothing else is said."""

    joined: Joined
    parts: Mapping[str, Integers]
    """Each of `STEP_PARTS`."""
    transfer_ns: Integers
    """All time in which the network worked, hidden or not."""
    wait_ns: Integers
    """All time between a rank's arrival and the slowest's in which the network did not work."""
    hidden_ns: Integers
    """Communication, waiting included, beside which the rank went on computing."""
    hidden_transfer_ns: Integers
    release_ns: Integers
    """A(k) by each rank's own clock, from its own start of the step, shape (R, S, K)."""
    wire_bytes: Integers
    """What each rank has to send at least, shape (S,)."""

    @property
    def residual_ns(self) -> Integers:
        """What the parts leave of the step, or have too much."""
        whole: Integers = self.joined["step_ns"] - np.sum(list(self.parts.values()), axis=0)
        return whole


def break_down(joined: Joined, clocks: Mapping[int, RankClock] | None, world_size: int) -> Breakdown:
    """Tell the parts of joined steps apart.

    Args:
        world_size: ranks of the run, those without a log included.
        clocks: of every rank; None for the way without clocks, which takes the shortest duration of a collective
            over the ranks for its transfer: true where at least one rank arrives last and all end together.
    """
    there = joined.arrival_ns != ABSENT
    arrival, end = np.where(there, joined.arrival_ns, 0), np.where(there, joined.end_ns, 0)
    release = np.clip(_release(joined, arrival, end, clocks), arrival, end)
    blocked = joined.blocked_start_ns, joined.blocked_end_ns
    communication, transfer = union_ns(arrival, end), union_ns(release, end)
    exposed = union_within_ns(arrival, end, *blocked)
    exposed_transfer = union_within_ns(release, end, *blocked)
    calls = np.maximum(0, joined["communication_ns"] - exposed)
    own = {name: joined[f"{name}_ns"] for name in STEP_PARTS if not name.startswith("exposed")}
    parts = own | {"exposed_transfer": exposed_transfer, "exposed_wait": exposed - exposed_transfer}
    parts["other"] = own["other"] + calls
    return Breakdown(
        joined,
        {name: parts[name] for name in STEP_PARTS},
        transfer,
        communication - transfer,
        communication - exposed,
        transfer - exposed_transfer,
        release,
        _wire_bytes(joined, world_size),
    )


def _release(joined: Joined, arrival: Integers, end: Integers, clocks: Mapping[int, RankClock] | None) -> Integers:
    if clocks is None:
        shortest: Integers = (end - arrival).min(axis=0)
        return end - shortest
    start = joined["start_ns"][..., None]
    # Each rank's clock at its own arrival: over one step even a bad clock keeps its rate.
    ahead = np.stack([clocks[rank].to_first_ns(start[r] + arrival[r]) for r, rank in enumerate(joined.ranks)])
    release: Integers = (start + arrival + ahead).max(axis=0) - ahead - start
    return release


def _wire_bytes(joined: Joined, n: int) -> Integers:
    """Lower bound of what a rank sends: 2 (n-1)/n of an all-reduce's payload, and so on, as in NCCL's `busbw`
    (nccl-tests, doc/PERFORMANCE.md)."""
    factors = {"all_reduce": 2 * (n - 1) / n, "all_gather": (n - 1) / n, "reduce_scatter": (n - 1) / n}
    factors["all_to_all"] = (n - 1) / n
    table = np.array([*(factors.get(word, 1.0) for word in OPERATIONS), 1.0, 0.0])
    # ABSENT, which is -1, takes the last one.
    sent: Integers = (np.maximum(joined.payload_bytes, 0) * table[joined.operation]).sum(axis=-1).astype(np.int64)
    return sent
