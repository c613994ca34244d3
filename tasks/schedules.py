"""Learning-rate schedules: what each task's recipe names, as functions of epochs or steps, or of the losses seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def one_cycle(step: int, total: int, peak_at: float) -> float:
    """Factor of the peak rate at a step (from 0): linear up over the first `peak_at` of the steps, then down to 0."""
    done = (step + 1) / total
    return done / peak_at if done < peak_at else max(0.0, (1.0 - done) / (1.0 - peak_at))


def inverse_root(step: int, warmup: int) -> float:
    """Factor of the peak rate at a step (from 1): linear up over `warmup` steps, then the root of warmup / step."""
    return step / warmup if step < warmup else (warmup / step) ** 0.5


def warmup_and_halvings(
    step: int, total: int, *, warmup: int, remain: float, interval: float, most: int, factor: float
) -> float:
    """Factor of the peak rate at a step (from 0) of `total`: up from a hundredth, exponentially, over `warmup` steps;
    from `remain` x total on times `factor`, once more every `interval` x total, `most` times at most."""
    if step < warmup:
        return float(0.01 ** ((warmup - step) / warmup))
    if step < remain * total:
        return 1.0
    # The tiny addend keeps a step that lies on a border there: the quotient may be a hair below a whole number.
    return float(factor ** min(most, int((step - remain * total) / (interval * total) + 1e-9) + 1))


def polynomial(step: int, *, warmup: int, total: int, power: float, peak: float, end: float) -> float:
    """The rate of a step (from 0): linear up from 0 over `warmup` steps, then a power of what is left of `total` + 1.

    As MLPerf's ResNet reference has it (its lars_util.py): the very first step has the rate 0.
    """
    if step <= warmup:
        return peak * step / warmup if warmup else peak
    left = max(0.0, 1.0 - (step - warmup) / (total - warmup + 1))
    return float((peak - end) * left**power + end)


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
