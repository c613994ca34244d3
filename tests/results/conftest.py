"""Hand-built runs as fixtures."""

from collections.abc import Callable
from pathlib import Path

import pytest
import stories
from stories import Run, Story


@pytest.fixture(scope="session")
def story() -> type[Story]:
    return Story


@pytest.fixture(scope="session")
def run_at() -> Callable[..., Run]:
    """Makes a run folder below a path: `run_at(tmp_path, ranks=1)`."""
    return Run


@pytest.fixture(scope="session")
def small_run() -> Callable[[Path], Run]:
    """The run of the golden reports: two ranks, two epochs, the goal in the second."""
    return stories.small_run
