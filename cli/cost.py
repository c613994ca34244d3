"""What a run cost, in words, from what is known of its fleet."""

from __future__ import annotations

from ..errors import MlbError
from ..results.metrics import Metrics


def cost_of(metrics: Metrics) -> str:
    """The run's share at the fleet's list price, beside what the fleet has been billed for since it was made."""
    if metrics.spec.fleet == "local":
        return "nothing was rented"
    from ..infra import fleet as fleets
    from ..infra.folder import FleetFolder, state_home

    try:
        fleet = fleets.load(FleetFolder(state_home(), metrics.spec.fleet))
    except MlbError:
        fleet = None
    if fleet is None or fleet.usd_per_hour is None or metrics.split.wall_s is None:
        return "not known: the fleet's record is gone or has no price"
    if fleet.usd_per_hour == 0:
        return "nothing was rented"
    end_s = metrics.launched_unix_ns / 1e9 + metrics.split.wall_s
    if not fleet.blueprint.created <= end_s <= fleet.blueprint.expires_epoch:
        return "not known: the fleet of this name is another one now"
    clock = fleet.usd_per_hour * metrics.split.wall_s / 3600
    billed = fleet.usd_per_hour * (end_s - fleet.blueprint.created) / 3600
    return (
        f"${clock:.2f} on the clock, ${billed:.2f} billed from the fleet's creation to the run's end "
        f"(${fleet.usd_per_hour:.2f} per hour, {fleet.price_source}; without disks and traffic)"
    )
