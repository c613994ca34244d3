"""What a failure of Terraform means for the next step: another zone, another day, other credentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..errors import CapacityError, MlbError, ProvisionFailed
from .fleet import Attempt, Fleet
from .terraform import TerraformFailed

Kind = Literal["capacity", "quota", "credentials", "other"]

# Codes and words of AWS and GCP. `_WITH_DETAILS` and its like are found too, since parts are enough.
_CREDENTIALS = ["ExpiredToken", "RequestExpired", "InvalidClientTokenId", "AuthFailure", "UnauthorizedOperation"]
_GOOGLE_CREDENTIALS = ["could not find default credentials", "invalid authentication credentials", "invalid_grant"]
_QUOTA = ["VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"]
_GOOGLE_QUOTA = ["QUOTA_EXCEEDED", "quotaExceeded", "Quota '"]
_CAPACITY = ["InsufficientInstanceCapacity", "InsufficientHostCapacity", "ZONE_RESOURCE_POOL_EXHAUSTED", "stockout"]
_WORDS: tuple[tuple[Kind, list[str]], ...] = (
    ("credentials", [*_CREDENTIALS, *_GOOGLE_CREDENTIALS, "No valid credential sources"]),
    ("quota", [*_QUOTA, *_GOOGLE_QUOTA]),
    ("capacity", [*_CAPACITY, "does not have enough resources", "Unsupported: Your requested instance type"]),
)


def kind_of(problems: Sequence[str], *, timed_out: bool = False) -> Kind:
    """The kind of a failure. A deadline counts as lack of capacity: providers wait for it without a word."""
    text = "\n".join(problems)
    for kind, words in _WORDS:
        if any(word in text for word in words):
            return kind
    return "capacity" if timed_out else "other"


def goes_on(fleet: Fleet) -> str:
    """What to say of a fleet that is still there after an error: what it costs, and what can be done."""
    return (
        f"{billed(fleet)} `mlb infra apply --name {fleet.name}` checks it again, "
        f"`mlb infra destroy --name {fleet.name}` ends it."
    )


def billed(fleet: Fleet) -> str:
    """One sentence that says what the machines of a fleet cost while nobody uses them."""
    spec = fleet.blueprint.spec
    if spec.cloud in ("docker", "ssh"):
        return "The fleet is kept; nothing of it is billed."
    machines = "1 machine is" if spec.nodes == 1 else f"{spec.nodes} machines are"
    price = "a price that nobody knows" if fleet.usd_per_hour is None else f"${fleet.usd_per_hour:,.2f} an hour"
    return f"The fleet is kept: {machines} still billed at {price}."


def short(error: TerraformFailed) -> str:
    """One line of what went wrong."""
    if error.timed_out:
        return "no answer before the deadline"
    return (error.problems[0] if error.problems else error.what)[:300]


def provision_failed(error: TerraformFailed) -> MlbError:
    """What to raise for a creation that failed and was cleaned up."""
    kind = kind_of(error.problems, timed_out=error.timed_out)
    hints = {
        "quota": "Ask the cloud for a higher quota, or use fewer or other machines.",
        "credentials": "Renew your credentials and try again.",
    }
    why = "\n".join(error.problems)
    return ProvisionFailed("The fleet could not be created; nothing of it is left.", why=why, fix=hints.get(kind, ""))


def no_capacity(attempts: Sequence[Attempt]) -> CapacityError:
    """What to raise when all zones were tried; nothing of the fleet is left."""
    lines = [f"{a.zone}: {a.outcome} ({a.seconds:g} s)" for a in attempts]
    return CapacityError(
        "No zone has the machines.",
        why="\n".join(lines),
        fix="Try another --region, another --gpu-type, fewer --nodes, or --spot.",
    )
