"""`mlb bench logs -f`: the output of a run's agents and ranks as it grows, each line with its origin."""

from __future__ import annotations

import time
from pathlib import Path

from ..provisioner.runs import Watcher
from ..results.run import RunFolder
from ..results.tail import last_lines
from ..results.text import harmless
from .console import show_text
from .fleets import watcher

_LOOK_EVERY_S = 0.3
_CHUNK_BYTES = 256 << 10
_LAST_BYTES = 1 << 20
_LINE_BYTES = 64 << 10
"""A line that grows beyond this is shown as far as it goes."""


class _Tail:
    """One file's lines, from its last ones on."""

    def __init__(self, path: Path, lines: int) -> None:
        self._path, self._lines = path, lines
        self._at: int | None = None
        self._rest = b""

    def new_lines(self) -> list[str]:
        """The lines that were completed since the last call; at first the last ones that are there."""
        if not self._path.exists():
            return []
        if self._at is None:
            self._at = self._path.stat().st_size
            return last_lines(self._path, self._lines, _LAST_BYTES)
        with self._path.open("rb") as file:
            file.seek(self._at)
            chunk = file.read(_CHUNK_BYTES)
        self._at += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode(errors="replace") for line in lines]


def show_as_it_grows(folder: RunFolder, rank: int | None, lines: int) -> None:
    """Print until the run is over or the user has seen enough (ctrl-C)."""
    spec = folder.read_spec()
    ranks = range(spec.ranks) if rank is None else (rank,)
    files = {f"rank {r}": folder.rank_log(r) for r in ranks}
    if rank is None:
        files |= {f"node {n}": folder.node_log(n) for n in range(spec.nodes)}
    tails = {name: _Tail(path, lines) for name, path in files.items()}
    try:
        with watcher(folder) as watch:
            _show(watch, tails)
    except KeyboardInterrupt:
        return


def _show(watch: Watcher, tails: dict[str, _Tail]) -> None:
    while True:
        # State first: what was written before the end is then surely read after it.
        over = watch.state().over
        shown = [_show_new(name, tail) for name, tail in tails.items()]
        if over and not any(shown):
            return
        if not any(shown):
            time.sleep(_LOOK_EVERY_S)


def _show_new(name: str, tail: _Tail) -> int:
    lines = tail.new_lines()
    for line in lines:
        show_text(f"{name} | {harmless(line)}")
    return len(lines)
