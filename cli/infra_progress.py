"""How far Terraform is, redrawn in place on a terminal: what is done, what is under way and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from ..infra.terraform import Event
from .console import live_lines

_MOST_LINES = 6
_ENDS = frozenset({"apply_complete", "apply_errored"})
_DOING = {"create": "creating", "delete": "destroying", "update": "changing"}


class Progress:
    """Takes in Terraform's events; draws from the first change that begins until `stop`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._display = ExitStack()
        self._started = 0.0
        self._done = self._total = 0
        self._under_way: dict[str, tuple[float, str]] = {}

    def take(self, event: Event) -> None:
        """One event of Terraform's `-json` stream; those of other kinds are left aside."""
        kind = event.get("type")
        if kind == "change_summary" and event.get("changes", {}).get("operation") == "plan":
            self._begin()
            self._total = sum(int(event["changes"].get(verb, 0)) for verb in ("add", "change", "remove"))
        elif kind == "apply_start":
            if not self._started:
                self._started = self._clock()
                with suppress(OSError, SystemExit):  # a terminal that is gone must cut short nothing that costs money
                    self._display.enter_context(live_lines(self.text))
            self._under_way[_address(event)] = (self._clock(), str(event["hook"].get("action", "")))
        elif kind in _ENDS and _address(event) in self._under_way:
            del self._under_way[_address(event)]
            self._done += 1

    def stop(self) -> str:
        """Take the display away; gives the line that stays, or nothing when there was none."""
        with suppress(OSError, SystemExit):
            self._display.close()
        if not self._started:
            return ""
        line = f"  Terraform: {self._done} of {self._total} done in {self._clock() - self._started:.0f} s"
        self._begin()
        return line

    def text(self) -> str:
        """What is drawn now."""
        now = self._clock()
        lines = [f"  Terraform: {self._done} of {self._total} done, {now - (self._started or now):.0f} s"]
        # The display's own thread asks for this: a copy first, which no event can change on the way.
        longest = sorted(list(self._under_way.items()), key=lambda item: item[1][0])  # noqa: C414
        for address, (since, action) in longest[:_MOST_LINES]:
            lines.append(f"    {_DOING.get(action, action)} {address}, {now - since:.0f} s")
        if len(longest) > _MOST_LINES:
            lines.append(f"    and {len(longest) - _MOST_LINES} more")
        return "\n".join(lines)

    def _begin(self) -> None:
        self._started = 0.0
        self._done = self._total = 0
        self._under_way.clear()


def _address(event: Event) -> str:
    return str(event["hook"]["resource"]["addr"])
