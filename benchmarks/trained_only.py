"""The base of a task that is trained and neither evaluated nor resumed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mlb.tasks.base import Evaluation


class TrainedOnly:
    """What the training loop asks of a task besides its model, its batches and its steps."""

    metric = "nothing"
    clip_norm: float | None = None

    def hyperparameters(self) -> Mapping[str, object]:
        return {}

    def averages(self) -> AbstractContextManager[bool]:
        return nullcontext(False)

    def evaluate(self, split: str) -> Evaluation:
        raise AssertionError("nothing is evaluated here")

    def end_epoch(self, quality: float) -> str | None:
        return None

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        raise AssertionError("nothing is resumed here")
