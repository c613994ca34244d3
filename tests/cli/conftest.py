"""The command, in a home of its own, for every test of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Mlb, processes_of


@pytest.fixture
def mlb(tmp_path: Path) -> Iterator[Mlb]:
    """The command; whatever it left running is ended, and a test that leaves something running fails."""
    work = tmp_path / "work"
    work.mkdir()
    yield Mlb(tmp_path / "home", work)
    left = processes_of(tmp_path)
    for process in left:
        process.kill()
    assert not left, f"left running: {left}"
