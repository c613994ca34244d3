"""Logistic regression, the model of task 2a: one weight a feature, no bias."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class LogisticConfig:
    """The size of the model."""

    features: int = 2_000


class LogisticRegression(nn.Module):
    """Log-odds of the positive class; MLBench draws the initial weights as torch's linear layer does."""

    def __init__(self, config: LogisticConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.features, 1, bias=False)

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, F) -> (B,)."""
        scores_B: Tensor = self.linear(x_BF).squeeze(1)
        return scores_B
