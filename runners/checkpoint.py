"""Checkpoints of a run: taken between two steps, written beside the training, resumed to the same bits on a CPU.

The layout, below a run's folder on each node:

    checkpoints/step-00000500/rank-00000.pt … rank-NNNNN.pt

A file is written under another name, synchronised and renamed, so that it is whole or absent; a checkpoint counts only
if every rank's file is there. Ranks save each for themselves: random numbers and hidden states differ between them.
"""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ResultsInvalid
from ..results.run import RunFolder, rank_checkpoint
from ..tasks.base import Task

FORMAT = 1
KEPT = 2
"""So many of a run's newest whole checkpoints are kept: one may be damaged by what ended the run."""


@dataclass(frozen=True)
class Position:
    """Where a run stands: after `steps` steps in all, `epoch_steps` of them in `epoch`."""

    epoch: int = 1
    epoch_steps: int = 0
    steps: int = 0


class Checkpoints:
    """Saves one rank's part of a run's checkpoints."""

    def __init__(self, folder: RunFolder, rank: int, world_size: int, every_steps: int | None) -> None:
        self._folder, self._rank, self._world_size, self._every = folder, rank, world_size, every_steps
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def due(self, steps: int) -> bool:
        """Whether a checkpoint is to be taken after so many steps: the same answer on every rank."""
        return bool(self._every) and steps % (self._every or 1) == 0

    def take(self, task: Task, position: Position) -> None:
        """Copy the task's state; it is written while the training goes on.

        A write that is still going on is waited for: at most one copy of the state exists at a time.
        """
        self.wait()
        content = {
            "format": FORMAT,
            "rank": self._rank,
            "world_size": self._world_size,
            "position": [position.epoch, position.epoch_steps, position.steps],
            "random": _random_state(),
            "task": _copied(task.state()),
        }
        self._writing = self._writer.submit(self._write, content, position.steps)

    def wait(self) -> None:
        """Wait for the write that is going on; one that failed is said in the rank's output, and training goes on."""
        if self._writing is None:
            return
        try:
            self._writing.result()
        except OSError as error:
            print(f"a checkpoint could not be written: {error}", file=sys.stderr)  # noqa: T201
        self._writing = None

    def _write(self, content: dict[str, Any], steps: int) -> None:
        path = rank_checkpoint(self._folder.checkpoint(steps), self._rank)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if self._rank == 0:
            self._clear()

    def _clear(self) -> None:
        """Delete all but the newest whole checkpoints, and what is older than those."""
        whole = self._folder.whole_checkpoints(self._world_size)
        if len(whole) > KEPT:
            for path in sorted(self._folder.checkpoints.glob("step-*")):
                if path.name < whole[-KEPT].name:
                    shutil.rmtree(path, ignore_errors=True)


def resume(checkpoint: Path, task: Task, rank: int, world_size: int) -> Position:
    """Bring a task, and torch's random numbers, to where a checkpoint was taken.

    Raises:
        ResultsInvalid: the file is damaged, or of another task, format or number of ranks.
    """
    path = rank_checkpoint(checkpoint, rank)
    try:
        # Nothing but tensors and plain values: a file cannot run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
        if (content["format"], content["rank"], content["world_size"]) != (FORMAT, rank, world_size):
            raise ValueError(f"it is of rank {content['rank']} of {content['world_size']}, format {content['format']}")
        task.load_state(content["task"])
        _set_random_state(content["random"])
        return Position(*content["position"])
    except ResultsInvalid:
        raise
    except Exception as error:  # torch names no class of its own: pickle, zip, key and shape errors all come here
        raise ResultsInvalid(
            f"{path} is not a checkpoint that this run can go on from.",
            why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix=f"Delete {checkpoint} and resume again: an older checkpoint is taken then, where there is one.",
        ) from error


def _copied(value: Any) -> Any:
    """The same structure with every tensor copied to the host's memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
