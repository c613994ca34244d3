"""How long the steps of a command may take, and what the outside is told and asked on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .quote import Quote
from .readiness import Check
from .terraform import Event, Plan


@dataclass(frozen=True)
class Limits:
    """How long each step may take, in seconds."""

    apply_s: float = 900.0
    destroy_s: float = 900.0
    ready_s: float = 900.0
    lock_s: float = 0.0


@dataclass(frozen=True)
class Watcher:
    """What the outside is told, and asked.

    Attributes:
        say: one line about the step that begins.
        event: Terraform's own events.
        check: a node's check, as it comes in.
        confirm: the quote and the plan; False ends it with nothing created.
        warn: what must be read before anything is confirmed, however quiet the rest is.
    """

    say: Callable[[str], None] = lambda _: None
    event: Callable[[Event], None] = lambda _: None
    check: Callable[[Check], None] = lambda _: None
    confirm: Callable[[Quote, Plan], bool] = lambda _quote, _plan: True
    warn: Callable[[str], None] = lambda _: None
