"""`mlb infra destroy --force` while a run uses the fleet: the run is stopped and its files are brought here first."""

from __future__ import annotations

import json
import signal

import pytest
from mlb.cli.infra_force import save_the_run
from mlb.infra.folder import FleetFolder

from .test_fleet_faults import FleetRuns, ended
from .test_fleet_faults import fleet_runs as fleet_runs
from .test_fleet_faults import runs as runs

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_run_is_saved_before_its_fleet_is_destroyed(runs: FleetRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLB_HOME", str(runs.mlb.home))
    process, folder = runs.start("--steps", "100000", "--nodes", "2")
    process.send_signal(signal.SIGINT)
    ended(process, 90)
    fleet, said = FleetFolder(runs.mlb.home / "state", "t"), []
    save_the_run(fleet, said.append)
    assert said[:2] == [f"Stopping the run {folder.run_id}, which uses the fleet", f"  {folder.run_id}: stopped"]
    assert said[-1] == f"  its files: {folder.path}"
    runs.assert_all_is_here(folder, 2)
    assert not runs.left()

    # A run of another machine: it is told, and the fleet can be destroyed all the same.
    fleet.held_by.write_text(json.dumps({"run_id": "of-bob", "pid": 0, "start_ticks": 0, "host": "elsewhere"}))
    said.clear()
    save_the_run(fleet, said.append)
    assert said[-1].startswith("  ! what is on its nodes alone is lost: There is no run 'of-bob'")
    fleet.held_by.unlink()
    said.clear()
    save_the_run(fleet, said.append)
    assert said == [], "nobody uses it"
