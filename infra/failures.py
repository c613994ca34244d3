"""What a failure of Terraform means for the next step: another zone, another day, other credentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Kind = Literal["capacity", "quota", "credentials", "other"]

# Codes and words of AWS and GCP. `_WITH_DETAILS` and its like are found too, since parts are enough.
_CREDENTIALS = ["ExpiredToken", "RequestExpired", "InvalidClientTokenId", "AuthFailure", "UnauthorizedOperation"]
_QUOTA = ["VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded", "QUOTA_EXCEEDED"]
_CAPACITY = ["InsufficientInstanceCapacity", "InsufficientHostCapacity", "ZONE_RESOURCE_POOL_EXHAUSTED", "stockout"]
_WORDS: tuple[tuple[Kind, list[str]], ...] = (
    ("credentials", [*_CREDENTIALS, "No valid credential sources", "could not find default credentials"]),
    ("quota", _QUOTA),
    ("capacity", [*_CAPACITY, "does not have enough resources", "Unsupported: Your requested instance type"]),
)


def kind_of(problems: Sequence[str], *, timed_out: bool = False) -> Kind:
    """The kind of a failure. A deadline counts as lack of capacity: providers wait for it without a word."""
    text = "\n".join(problems)
    for kind, words in _WORDS:
        if any(word in text for word in words):
            return kind
    return "capacity" if timed_out else "other"
