"""All checks, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import accounts, files, leftovers, machine, tools
from .finding import Finding, Place, warn

Check = Callable[[Place], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    machine.python,
    machine.torch,
    machine.memory,
    machine.clock,
    machine.cards,
    machine.load,
    tools.terraform,
    tools.docker,
    tools.ssh,
    accounts.aws,
    accounts.gcp,
    files.folders,
    files.secrets,
    files.leftovers_of_a_crash,
    leftovers.rented,
    leftovers.runs,
)


def examine(place: Place) -> Iterator[Finding]:
    """What every check finds; a check that cannot look says so and keeps none of the others from looking."""
    for check in CHECKS:
        try:
            yield from check(place)
        except OSError as error:
            yield warn(check.__name__, f"could not be looked at: {error}", "Run mlb as a user who may read that.")
