"""A run in MLflow's tracking store: the one file that imports mlflow."""

from __future__ import annotations

import os
from typing import Any, Final

from ..errors import PreflightError, UsageError
from .metrics import compute
from .points import Point, facts_of, points_of
from .run import RunFolder

_AT_ONCE: Final = 500
"""Points of one call; MLflow takes a thousand."""
_TAG: Final = "mlb.run_id"


def write(folder: RunFolder, uri: str) -> int:
    """Log the run to the store at `uri`, in the experiment `mlb TASK GOAL`; gives the number of points.

    Raises:
        PreflightError: mlflow is not installed.
        UsageError: the store cannot be used, or has this run already.
        ResultsInvalid: the run cannot be read.
    """
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise PreflightError("MLflow is not installed.", why=str(error), fix="pip install mlflow-skinny") from error
    metrics = compute(folder)
    points = list(points_of(folder, metrics))
    try:
        client: Any = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, f"mlb {metrics.spec.task} {metrics.spec.goal}")
        found = client.search_runs([experiment], f"tags.`{_TAG}` = '{folder.run_id}'")
        if found:
            raise UsageError(
                f"{uri} has {folder.run_id} already, as the run {found[0].info.run_id}.",
                fix="Delete it there first, or name another store.",
            )
        started_ms = metrics.launched_unix_ns // 1_000_000
        made = client.create_run(experiment, start_time=started_ms, run_name=folder.run_id)
        run = made.info.run_id
        params = [Param(name, value) for name, value in facts_of(metrics).items()]
        client.log_batch(run, params=params[:100], tags=[RunTag(_TAG, folder.run_id)])
        for some in _parts(points):
            client.log_batch(run, [Metric(p.name, p.value, p.unix_ns // 1_000_000, p.step) for p in some])
        ended_ms = started_ms + round(1e3 * (metrics.split.wall_s or 0.0))
        client.set_terminated(run, "FAILED" if metrics.failure else "FINISHED", ended_ms)
    except MlflowException as error:
        raise UsageError(
            f"MLflow's store at {uri} cannot be used.",
            why=str(error)[:500],
            fix="A server's address, or sqlite:///FILE.db where mlflow is installed whole.",
        ) from error
    return len(points)


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _parts(points: list[Point]) -> list[list[Point]]:
    return [points[i : i + _AT_ONCE] for i in range(0, len(points), _AT_ONCE)]
