"""Looks at the files while somebody is looking at the page, and tells every page what changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from ..errors import MlbError
from ..provisioner.runs import find
from .home import Home
from .overview import Overview
from .watch import RunWatch

LOOK_EVERY_S: Final = 0.5
_OVERVIEW_EVERY: Final = 2
"""Looks between two looks at all runs: a run's own curves are what moves."""
_BEAT_EVERY: Final = 30
"""Looks between two signs of life, by which a page notices that the dashboard is gone."""


class Hub:
    """One look serves all pages; without a page nothing is looked at."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.overview = Overview(home)
        self.watches: dict[str, RunWatch] = {}
        self._pages: dict[asyncio.Queue[str], str] = {}
        self._task: asyncio.Task[None] | None = None
        self._last = ""

    async def stream(self, run: str) -> AsyncIterator[str]:
        """The events for one page that shows `run` (empty: none), as text of an event stream."""
        queue: asyncio.Queue[str] = asyncio.Queue(maxsize=64)
        self._pages[queue] = run
        try:
            self._last = await asyncio.to_thread(self._overview)
            yield _message("overview", self._last)
            if run:
                yield await asyncio.to_thread(self._run_message, run, True)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look())
            while True:
                yield await queue.get()
        finally:
            del self._pages[queue]

    def _overview(self) -> str:
        return json.dumps(self.overview.to_json(), separators=(",", ":"), allow_nan=False)

    async def _look(self) -> None:
        looks = 0
        while self._pages:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            if looks % _OVERVIEW_EVERY == 0:
                said = await asyncio.to_thread(self._overview)
                if said != self._last:
                    self._last = said
                    self._tell(None, _message("overview", said))
            for run in {run for run in self._pages.values() if run}:
                text = await asyncio.to_thread(self._run_message, run, False)
                if text:
                    self._tell(run, text)
            if looks % _BEAT_EVERY == 0:
                self._tell(None, ": still here\n\n")
        self.watches.clear()

    def _tell(self, run: str | None, text: str) -> None:
        for queue, shown in self._pages.items():
            if run is None or run == shown:
                with suppress(asyncio.QueueFull):  # a page that does not read gets the next state, not every state
                    queue.put_nowait(text)

    def _run_message(self, run: str, always: bool) -> str:
        try:
            watch = self._watch(run)
        except MlbError as error:
            return _message("gone", json.dumps({"run": run, "why": error.what})) if always else ""
        return _message("run", json.dumps(_finite(watch.to_json()), allow_nan=False)) if watch.poll() or always else ""

    def _watch(self, run: str) -> RunWatch:
        if run not in self.watches:
            folder = find(self.home.runs_dir, run)
            self.watches[run] = RunWatch(folder, folder.read_spec())
        return self.watches[run]


def _message(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    """JSON of a browser has no infinity."""
    text = json.dumps(value)
    plain: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return plain
