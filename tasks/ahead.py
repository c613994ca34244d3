"""Make what comes next while what came before is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_LOOK_S = 0.2
"""How often a thread whose items nobody takes looks whether anybody still wants them."""


def ahead(items: Iterator[Item], depth: int) -> Generator[Item]:
    """The same items in the same order, made by a thread up to `depth` beyond the one that is used.

    What it raises is raised here, in its place. The thread has ended when this iterator has: with the last item, or
    where it is closed.
    """
    made: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: Item | None, error: BaseException | None, last: bool) -> bool:
        while not closed.is_set():
            try:
                made.put((item, error, last), timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item, None, False):
                    return
            put(None, None, True)
        except BaseException as error:  # noqa: BLE001  # handed on to the thread that asked
            put(None, error, True)

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = made.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # an item wherever it is not the last
    finally:
        closed.set()
        thread.join()
