"""A dashboard of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboards import Dashboard
from support import Mlb, processes_of


@pytest.fixture
def dashboard(mlb_home: Path, tmp_path: Path) -> Iterator[Dashboard]:
    mlb_home.mkdir(exist_ok=True)
    (mlb_home / "runs").mkdir(exist_ok=True)
    made = Dashboard(Mlb(mlb_home, tmp_path))
    yield made
    made.stop()
    for process in processes_of(tmp_path):
        process.kill()
