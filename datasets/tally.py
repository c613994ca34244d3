"""Progress of several downloads at once, told as progress of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from ..errors import DataCorrupt, DataMissing, Interrupted
from .download import Progress


class Tally:
    """Adds up what each download has; also the rope that stops them all when one fails or the user gives up."""

    def __init__(self, totals: Sequence[int], progress: Progress | None) -> None:
        """
        Args:
            totals: bytes each download will have; 0 where that is not known.
            progress: told the sums; 0 bytes in all as long as one of the totals is not known.
        """
        self._totals = list(totals)
        self._done = [0] * len(totals)
        self._progress = progress
        self._lock = Lock()
        self._stopped = False

    def report(self, number: int) -> Progress:
        """What download `number` reports to."""

        def one(done: int, total: int) -> None:
            with self._lock:
                if self._stopped:
                    raise Interrupted("The download was stopped.")
                self._done[number], self._totals[number] = done, total
                if self._progress:
                    self._progress(sum(self._done), sum(self._totals) if all(self._totals) else 0)

        return one

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Whatever ends this block with an error ends the downloads at their next piece.

        Except that a file cannot be had: what another source must deliver now are the files that are lacking then.
        """
        try:
            yield
        except (DataMissing, DataCorrupt):
            raise
        except BaseException:
            self._stopped = True
            raise
