"""Runs in TensorBoard, MLflow and W&B, read back by those themselves."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mlb.errors import UsageError
from mlb.results import to_mlflow, to_tensorboard
from stories import small_run
from support import need_module

need_module("mlflow", "trackers")
need_module("tensorboard", "trackers")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = small_run(tmp_path).folder
    for _ in range(2):  # again: the same, not twice as much
        to_tensorboard.write(folder, str(tmp_path / "tb"))
    read = EventAccumulator(str(tmp_path / "tb" / folder.run_id))
    read.Reload()
    assert next((e.step, e.value) for e in read.Scalars("eval/validation perplexity")) == (4, 420.5)
    assert len(read.Scalars("train/loss")) == 10
    assert read.Scalars("run/time_to_target_s")[0].value == pytest.approx(5.22)


def test_mlflow_reads_it_and_takes_it_once(tmp_path: Path) -> None:
    import mlflow

    folder, uri = small_run(tmp_path).folder, f"sqlite:///{tmp_path}/mlflow.db"
    to_mlflow.write(folder, uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mlb task3a smoke").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["backend"] == "gloo"
    assert run.data.metrics["run/time_to_target_s"] == pytest.approx(5.22)
    assert [m.value for m in client.get_metric_history(run.info.run_id, "eval/validation perplexity")][-1] == 288.1234
    with pytest.raises(UsageError, match="has a-run already"):
        to_mlflow.write(folder, uri)


def test_a_store_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MLflow's store at nothing:x cannot be used"):
        to_mlflow.write(small_run(tmp_path).folder, "nothing:x")


@pytest.mark.skipif(find_spec("wandb") is None, reason="W&B is not installed")
def test_wandb_takes_it_offline(tmp_path: Path) -> None:
    folder = small_run(tmp_path).folder
    imports = "import sys; from pathlib import Path; from mlb.results import run, to_wandb"
    code = f"{imports}; print(to_wandb.write(run.RunFolder(Path(sys.argv[1])), 'p'))"
    env = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(folder.path)], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "wandb").glob("offline-run-*-a-run"))
