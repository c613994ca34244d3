"""What the nodes' hardware does, over time: their samples read by offset, kept in a bounded number."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from ..errors import ResultsInvalid
from ..results.line import as_ns
from ..results.run import RunFolder, RunSpec
from ..results.samples import Rates, Sample, fields_of, rates, sample_of

KEPT: Final = 240
"""Samples a node; of a longer run they lie further apart. Counters make the rates between them exact all the same."""
_POINTS: Final = 160
_RECENT: Final = 6
_PIECE: Final = 64 << 10
"""More than a line of a node of 16 GPUs and many interfaces."""
_AT_ONCE: Final = 1 << 20
_NODES: Final = 64
_NAMES: Final = tuple(one.name for one in fields(Rates))


class NodeSamples:
    """One node's samples, from a file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cores = 0
        self.kept: list[Sample] = []
        self.recent: deque[Sample] = deque(maxlen=_RECENT)
        self._read_to = self._apart_ns = 0

    def poll(self) -> bool:
        """Read what is new; says whether there was anything. A long file that is new to us is read here and there."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size <= self._read_to:
                    return False
                if not self.cores:
                    self._read_header(file.readline(_PIECE))
                before = self.recent[-1] if self.recent else None
                if size - self._read_to > _AT_ONCE:
                    self._here_and_there(file, size)
                file.seek(self._read_to)
                data = file.read(min(_AT_ONCE, size - self._read_to))
        except OSError:
            return False
        *lines, rest = data.split(b"\n")
        # What is longer than that is no line of samples.
        self._read_to += len(data) - (len(rest) if len(rest) < _AT_ONCE else 0)
        for line in lines:
            self._take(line)
        return bool(self.recent) and self.recent[-1] is not before

    def now(self) -> Rates | None:
        """Over the last seconds of samples."""
        return rates(self.recent[0], self.recent[-1], self.cores) if self.recent and self.cores else None

    def over_time(self) -> tuple[list[int], list[Rates]]:
        """Wall clock at the end of each stretch between two samples, in nanoseconds, and what happened in it."""
        ends = self.kept + [one for one in self.recent if not self.kept or one.time_ns > self.kept[-1].time_ns][-1:]
        pairs = pairwise(ends)
        found = [(b.unix_ns, rates(a, b, self.cores)) for a, b in pairs if self.cores]
        known = [(at, one) for at, one in found if at is not None and one is not None]
        return [at for at, _ in known], [one for _, one in known]

    def _read_header(self, line: bytes) -> None:
        header = fields_of(line)
        self.cores = as_ns(header.get("cores")) or 0

    def _here_and_there(self, file: BinaryIO, size: int) -> None:
        """Take a line at each of `KEPT` places; what follows the last is read on from there."""
        begin = self._read_to
        for i in range(KEPT):
            file.seek(begin + (size - begin) * i // KEPT)
            file.readline(_PIECE)
            self._take(file.readline(_PIECE))
        self._read_to = max(begin, file.tell())

    def _take(self, line: bytes) -> None:
        sample = sample_of(fields_of(line))
        if sample is None or (self.recent and sample.time_ns <= self.recent[-1].time_ns):
            return
        self.recent.append(sample)
        if self.kept and sample.time_ns - self.kept[-1].time_ns < self._apart_ns:
            return
        self.kept.append(sample)
        if len(self.kept) > KEPT:
            self.kept = self.kept[::2]
            self._apart_ns = (self.kept[-1].time_ns - self.kept[0].time_ns) // (len(self.kept) - 1)


class Hardware:
    """All nodes of a run."""

    def __init__(self, folder: RunFolder, spec: RunSpec) -> None:
        self._folder, self._spec = folder, spec
        count = min(max(spec.nodes, 1), _NODES)
        self.nodes = {node: NodeSamples(folder.node_resources(node)) for node in range(count)}
        self._offsets_ns: dict[int, int] = {}

    def poll(self) -> bool:
        """Read what is new of every node; says whether there was anything."""
        return sum([node.poll() for node in self.nodes.values()]) > 0

    def to_json(self, zero_unix_ns: int, node: int | None) -> dict[str, Any]:
        """What each node does now, and over time: one node, or the mean, the least and the most of all.

        Args:
            zero_unix_ns: wall clock of node 0 from which seconds are counted.
        """
        rows = [row for number, samples in self.nodes.items() if (row := self._row(number, samples))]
        chosen = [node] if node in self.nodes else list(self.nodes)
        series = [self._series(number, zero_unix_ns) for number in chosen]
        return {
            "run": self._spec.run_id,
            "rows": rows,
            "node": node if node in self.nodes else None,
            **_together([one for one in series if len(one[0]) > 1]),
        }

    def _row(self, number: int, samples: NodeSamples) -> dict[str, Any] | None:
        now = samples.now()
        if now is None:
            return None
        names = self._spec.node_names
        values = {name: value if value is None else round(value, 2) for name, value in asdict(now).items()}
        return {"node": number, "name": names[number] if number < len(names) else "", **values}

    def _series(self, number: int, zero_unix_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Seconds, and a column each of `Rates`, NaN where it is not known."""
        at_ns, values = self.nodes[number].over_time()
        at_s = (np.array(at_ns, dtype=np.float64) + self._offset_ns(number) - zero_unix_ns) / 1e9
        columns = [[np.nan if (v := getattr(one, name)) is None else v for one in values] for name in _NAMES]
        return at_s, np.array(columns, dtype=np.float64)

    def _offset_ns(self, number: int) -> int:
        """What brings a node's wall clock to node 0's, by its agent."""
        if number not in self._offsets_ns:
            try:
                status = self._folder.read_status(number)
            except ResultsInvalid:
                status = None
            self._offsets_ns[number] = status.clock_offset_ns if status else 0
        return self._offsets_ns[number]


def _together(series: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Many nodes on one axis of time; for each name three columns: mean, least, most; one column for one node."""
    if not series:
        return {"at": [], "series": {}}
    if len(series) == 1:
        at_s, columns = series[0]
        return {"at": _plain(at_s, 2), "series": _known(columns[:, None])}
    grid = np.linspace(min(at[0] for at, _ in series), max(at[-1] for at, _ in series), _POINTS)
    placed = np.array([[np.interp(grid, at, c, left=np.nan, right=np.nan) for c in cols] for at, cols in series])
    count = np.isfinite(placed).sum(axis=0)
    mean = np.divide(np.nansum(placed, axis=0), count, where=count > 0, out=np.full(count.shape, np.nan))
    low, high = np.fmin.reduce(placed), np.fmax.reduce(placed)
    return {"at": _plain(grid, 2), "series": _known(np.stack([mean, low, high], axis=1))}


def _known(columns: np.ndarray) -> dict[str, list[list[float | None]]]:
    """Those of `Rates` that any node has."""
    found = zip(_NAMES, columns, strict=True)
    return {name: [_plain(line) for line in lines] for name, lines in found if np.isfinite(lines).any()}


def _plain(values: np.ndarray, digits: int = 3) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]
