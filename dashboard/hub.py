"""Looks at the files while somebody is looking at the page, and tells every page what changed."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from types import EllipsisType
from typing import Any, Final

from ..errors import MlbError
from ..provisioner.runs import find
from .attend import Attendants
from .home import Home
from .overview import Overview
from .watch import RunWatch

LOOK_EVERY_S: Final = 0.5
FIRST_LOOK_S: Final = 0.1
"""Of the runs that were not read yet; a page is painted with what is known by then."""
_PAUSE_S: Final = 0.005
_OVERVIEW_EVERY: Final = 2
"""Looks between two looks at all runs: a run's own curves are what moves."""
_BEAT_EVERY: Final = 30
"""Looks between two signs of life, by which a page notices that the dashboard is gone."""

Shown = tuple[str, int | None]
"""A run, and the one of its nodes that is looked at; None for all of them."""


class Hub:
    """One look serves all pages; without a page nothing is looked at."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.overview = Overview(home)
        self.attendants = Attendants(home)
        self.watches: dict[str, RunWatch] = {}
        self._pages: dict[asyncio.Queue[str], Shown] = {}
        self._task: asyncio.Task[None] | None = None
        self._last = ""
        self._lock = threading.Lock()
        """Held by the one thread that reads a run on."""

    def warm_up(self) -> None:
        """Read the runs before the first page asks, a moment at a time, so that a page need not wait for it."""
        while self.overview.to_json(FIRST_LOOK_S) and self.overview.unread:
            time.sleep(_PAUSE_S)

    async def stream(self, run: str, node: int | None = None) -> AsyncIterator[str]:
        """The events for one page that shows `run` (empty: none), of its nodes all or one, as an event stream."""
        queue: asyncio.Queue[str] = asyncio.Queue(maxsize=64)
        self._pages[queue] = run, node
        try:
            # What can be read in a moment comes at once; the look that follows tells the rest.
            self._last = await asyncio.to_thread(self._overview, FIRST_LOOK_S)
            yield _message("overview", self._last)
            if run:
                for text in await asyncio.to_thread(self._all_of, run, node):
                    yield text
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look())
            while True:
                yield await queue.get()
        finally:
            del self._pages[queue]

    def _overview(self, budget_s: float = LOOK_EVERY_S) -> str:
        return json.dumps(self.overview.to_json(budget_s), separators=(",", ":"), allow_nan=False)

    async def _look(self) -> None:
        # A page that comes while the attendants are let go of, one that is loaded anew say, finds this task at work.
        while self._pages:
            await self._look_for_pages()
            self.watches.clear()
            await asyncio.to_thread(self.attendants.let_go)

    async def _look_for_pages(self) -> None:
        looks = 0
        while self._pages:
            if not self.overview.unread:
                await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            if looks % _OVERVIEW_EVERY == 0 or self.overview.unread:
                said = await asyncio.to_thread(self._overview)
                await asyncio.to_thread(self.attendants.attend, self.overview.live_on_fleets)
                if said != self._last:
                    self._last = said
                    self._tell(_message("overview", said))
            shown = set(self._pages.values())
            for run in self.watches.keys() - {run for run, _ in shown}:
                del self.watches[run]
            for run in {run for run, _ in shown if run}:
                for node, text in await asyncio.to_thread(self._news, run):
                    self._tell(text, run, node)
            if looks % _BEAT_EVERY == 0:
                self._tell(": still here\n\n")

    def _tell(self, text: str, run: str | None = None, node: int | EllipsisType | None = ...) -> None:
        """To all pages; to those that show a run; to those that show one node, or all, of it."""
        for queue, shown in self._pages.items():
            if run is None or (run == shown[0] and node in (..., shown[1])):
                with suppress(asyncio.QueueFull):  # a page that does not read gets the next state, not every state
                    queue.put_nowait(text)

    def _all_of(self, run: str, node: int | None) -> list[str]:
        """All there is to say of a run, for a page that has just come."""
        with self._lock:
            new = run not in self.watches
            try:
                watch = self._watch(run)
            except MlbError as error:
                return [_message("gone", json.dumps({"run": run, "why": error.what}))]
            # What is new of a run that is followed already is told to all of its pages, by the next look.
            if new:
                watch.poll()
                watch.hardware.poll()
            return [_said("run", watch.to_json()), _said("nodes", watch.nodes(node))]

    def _news(self, run: str) -> list[tuple[int | EllipsisType | None, str]]:
        """What is new of a run since the last look, and for whom."""
        news: list[tuple[int | EllipsisType | None, str]] = []
        with self._lock, suppress(MlbError):
            watch = self._watch(run)
            if watch.poll():
                news.append((..., _said("run", watch.to_json())))
            if watch.hardware.poll():
                # As of now: a page that comes later sees by itself what was read.
                nodes = {node for one, node in list(self._pages.values()) if one == run}
                news += [(node, _said("nodes", watch.nodes(node))) for node in nodes]
            if size := watch.output():
                news.append((..., _said("output", {"run": run, "bytes": size})))
        return news

    def _watch(self, run: str) -> RunWatch:
        if run not in self.watches:
            folder = find(self.home.runs_dir, run)
            self.watches[run] = RunWatch(folder, folder.read_spec())
        return self.watches[run]


def _message(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"


def _said(kind: str, value: dict[str, Any]) -> str:
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        # JSON of a browser has no infinity.
        text = json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None))
    return _message(kind, text)
