"""Task 4a's runs as MLPerf's log lines of GNMT, read by MLCommons' checker."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.results.export import export
from mlb.results.keys import MLPERF_HYPERPARAMETERS
from mlb.tasks.base import Setup
from mlb.tasks.recipe4 import RECIPES_4A
from mlb.tasks.task4a import Task4a

MS = 1_000_000


@pytest.mark.parametrize(("quality", "verdict"), [(24.1, "SUCCESS"), (23.9, "FAIL")])
def test_mlcommons_own_checker_judges_the_lines(
    story: Any, run_at: Any, small_pairs: Path, tmp_path: Path, quality: float, verdict: str
) -> None:
    """All that the task itself says of its hyperparameters, under MLPerf's names for its schedule."""
    recipe = replace(RECIPES_4A["reference"], width=8, layers=2)
    setup = Setup("full", "reference", small_pairs, 7, 0, 1, torch.device("cpu"), lambda total: total)
    told = story().start().stage("model", 100 * MS).event("seed", value=7)
    for name, value in Task4a(setup, recipe).hyperparameters().items():
        own = name not in MLPERF_HYPERPARAMETERS
        told.event("hyperparameter", name=name, value=value) if own else told.event(name, value=value)
    told.event("run_start").event("epoch_start", epoch_num=1).step(1, 1, 1, 1, 0, 1, 1).event("epoch_stop", epoch_num=1)
    told.evaluate(quality, 5 * MS).event("run_stop", status="success", reason="goal").stop()
    spec = {"task": "task4a", "ranks": 1, "target": 24.0, "target_is_upper_bound": False, "division": "closed"}
    export(run_at(tmp_path, **spec).tell(told).folder, "mllog", tmp_path / "result.txt")
    command = ["-m", "mlperf_logging.compliance_checker", "--usage", "training", "--ruleset", "0.7.0"]
    command += ["--log_output", str(tmp_path / "checker.log"), str(tmp_path / "result.txt")]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert verdict in done.stdout + done.stderr
