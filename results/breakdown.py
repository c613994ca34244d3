"""What each rank did in each step, told apart: computing, transferring, waiting for a slower rank, and the rest.

With a(r, k) the time at which rank r was ready for collective k, e(r, k) its end there, and the release
A(k) = max over r of a(r, k): before A(k) the others wait for the slowest, after it the network works. Where a rank
waits for some of the others only, or for what they did some steps before, the maximum is over those (releases.py).

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

from .columns import ABSENT, OPERATIONS, Integers
from .intervals import union_ns, union_within_ns
from .join import Joined
from .releases import Releases

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
    handling_ns: Integers
    """What of `other` was handing over, compressing and unpacking what is communicated."""
    release_ns: Integers
    """A(k) by each rank's own clock, from its own start of the step, shape (R, S, K)."""
    blocker: Integers | None
    """The place of the rank that each waited for longest; None where all wait for all."""
    all_meet: bool
    """Whether every rank waits for every other in each step, if by way of others."""
    wire_bytes: Integers
    """What each rank has to send at least, shape (S,)."""

    @property
    def residual_ns(self) -> Integers:
        """What the parts leave of the step, or have too much."""
        whole: Integers = self.joined["step_ns"] - np.sum(list(self.parts.values()), axis=0)
        return whole


def break_down(joined: Joined, releases: Releases, world_size: int) -> Breakdown:
    """Tell the parts of joined steps apart.

    Args:
        releases: one for all pieces of a run, which come in their order.
        world_size: ranks of the run, those without a log included.
    """
    there = joined.arrival_ns != ABSENT
    arrival, end = np.where(there, joined.arrival_ns, 0), np.where(there, joined.end_ns, 0)
    found = releases.of(joined, arrival, end)
    release = found.release_ns
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
        calls,
        release,
        found.blocker,
        found.all_meet,
        _wire_bytes(joined, world_size),
    )


def _wire_bytes(joined: Joined, world_size: int) -> Integers:
    """Lower bound of what a rank sends: 2 (n-1)/n of an all-reduce's payload, and so on, as in NCCL's `busbw`
    (nccl-tests, doc/PERFORMANCE.md), n the ranks of the collective; the first rank's where they differ."""
    n = np.full(joined.operation.shape, world_size)
    for number, group in joined.groups.get(joined.ranks[0], {}).items():
        n[joined.group[0] == number] = len(group.ranks) or world_size
    factor = {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0}
    table = np.array([*(factor.get(word, 0.0) for word in OPERATIONS), 0.0, 0.0])
    whole = np.array([*(word not in factor for word in OPERATIONS), True, False])
    # ABSENT, which is -1, takes the last one.
    share = table[joined.operation] * (n - 1) / n + whole[joined.operation]
    sent: Integers = (np.maximum(joined.payload_bytes, 0) * share).sum(axis=-1).astype(np.int64)
    return sent
