"""A run in Weights & Biases, where it is installed: the one file that imports wandb."""

from __future__ import annotations

from typing import Any

from ..errors import PreflightError
from .metrics import compute
from .points import facts_of, points_of, summary_of
from .run import RunFolder


def write(folder: RunFolder, project: str) -> int:
    """Log the run to a project, under its own id; gives the number of points. WANDB_MODE=offline keeps it here.

    Raises:
        PreflightError: wandb is not installed.
        ResultsInvalid: the run cannot be read.
    """
    try:
        import wandb
    except ImportError as error:
        raise PreflightError("W&B is not installed.", why=str(error), fix="pip install wandb; wandb login") from error
    metrics = compute(folder)
    points = list(points_of(folder, metrics))
    run: Any = wandb.init(
        project=project, name=folder.run_id, id=folder.run_id, config=facts_of(metrics), reinit="create_new"
    )
    try:
        by_step: dict[int, dict[str, float]] = {}
        for point in points:
            if not point.name.startswith("run/"):
                by_step.setdefault(point.step, {})[point.name] = point.value
        for step in sorted(by_step):
            run.log(by_step[step], step=step)
        run.summary.update(summary_of(metrics))
    finally:
        run.finish(exit_code=1 if metrics.failure else 0)
    return len(points)
