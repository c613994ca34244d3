"""The learning rate that goes by the losses seen: warm-up by epochs, then cut on a plateau."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class WarmupPlateau:
    """Linear warm-up by epochs, then a rate that is cut where the validation loss no longer falls.

    As MLBench has it: from `base` to `peak` over `warmup_epochs`, whose losses count for nothing; afterwards torch's
    `ReduceLROnPlateau` with an absolute threshold, never below `base`.
    """

    def __init__(
        self, *, base: float, peak: float, warmup_epochs: int, factor: float, patience: int, threshold: float
    ) -> None:
        self._base, self._peak, self._warmup_epochs = base, peak, warmup_epochs
        self._epochs = 0
        # The plateau rule acts on an optimiser of its own: fused and compiled ones may hold their rate elsewhere.
        self._holder = torch.optim.SGD([torch.zeros(())], lr=base if warmup_epochs else peak)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._holder, factor=factor, patience=patience, threshold=threshold, threshold_mode="abs", min_lr=base
        )

    @property
    def rate(self) -> float:
        """The learning rate of the epoch that comes next."""
        return float(self._holder.param_groups[0]["lr"])

    def end_epoch(self, loss: float) -> None:
        """Adapt to the loss on data that is not trained on."""
        self._epochs += 1
        if self._epochs <= self._warmup_epochs:
            p = self._epochs / self._warmup_epochs
            self._holder.param_groups[0]["lr"] = p * self._peak + (1 - p) * self._base
        else:
            self._plateau.step(loss)

    def state(self) -> dict[str, Any]:
        return {"epochs": self._epochs, "rate": self.rate, "plateau": self._plateau.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._epochs = state["epochs"]
        self._plateau.load_state_dict(state["plateau"])
        self._holder.param_groups[0]["lr"] = state["rate"]
