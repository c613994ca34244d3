"""What outlives a test run, and what only one run at a time may use."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """Where the engine's images and the base system outlive a test run: building them takes a minute."""
    folder = Path(os.environ.get("MLB_TEST_CACHE", "/var/tmp/mlb-test-cache"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def only_one(what: str) -> Iterator[None]:
    """Waits until no other test run on this machine uses the same thing (an engine's data, a range of addresses)."""
    with (cache_dir() / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
