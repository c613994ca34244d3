"""One piece of work on every node at once; what one node comes to does not hide what the others do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ..errors import MlbError, NodeNotReady

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")

MAX_PARALLEL = 64
"""Nodes that are worked on at a time: each takes a thread, and all share this machine's uplink."""


def fan_out(items: Mapping[K, T], work: Callable[[T], R], *, parallel: int = MAX_PARALLEL) -> dict[K, R | MlbError]:
    """Do `work` for each item, up to `parallel` at a time.

    The threads do not keep the process from ending: after ctrl-C nobody waits for a node that does not answer.

    Returns:
        Key -> what `work` returned, or the MlbError it raised, in the order of `items`.

    Raises:
        Exception: whatever else `work` raised: a bug.
    """
    results: dict[K, R | MlbError] = {}
    others: list[BaseException] = []
    todo = iter(list(items.items()))
    lock = threading.Lock()

    def worker() -> None:
        while True:
            with lock:
                entry = next(todo, None)
            if entry is None:
                return
            key, item = entry
            try:
                results[key] = work(item)
            except MlbError as error:
                results[key] = error
            except BaseException as error:  # noqa: BLE001  # it is raised again in the caller's thread
                others.append(error)

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(min(parallel, len(items)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if others:
        raise others[0]
    return {key: results[key] for key in items}


def refuse_if_any_failed(results: Mapping[str, R | MlbError], doing: str) -> dict[str, R]:
    """The results, if every node has one.

    Args:
        results: node name -> result or error.
        doing: what failed, to follow "failed on": `bootstrap`.

    Raises:
        NodeNotReady: names every node that failed, with its error. Where they agree, it has their error's class.
    """
    errors = {name: result for name, result in results.items() if isinstance(result, MlbError)}
    good = {name: result for name, result in results.items() if not isinstance(result, MlbError)}
    if errors:
        raise combined(errors, f"{doing} failed on {len(errors)} of {len(results)} nodes: {_names(errors)}.")
    return good


def combined(errors: Mapping[str, MlbError], what: str) -> MlbError:
    """One error from those of several nodes."""
    kinds = {type(error) for error in errors.values()}
    kind = kinds.pop() if len(kinds) == 1 else NodeNotReady
    fixes: Iterable[str] = dict.fromkeys(error.fix for error in errors.values() if error.fix)
    why = "\n".join(f"{name}: {error.what}{f' {error.why}' if error.why else ''}" for name, error in errors.items())
    return kind(what, why=why, fix="\n".join(fixes))


def _names(errors: Iterable[str], most: int = 8) -> str:
    listed = list(errors)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
