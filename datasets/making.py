"""What is to be made of which raw files: the order that a maker of arrays is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError
from .download import Progress
from .sources import SPLITS, DataSet


@dataclass(frozen=True)
class Limits:
    """The largest size of each split; None: all there is."""

    train: int | None = None
    valid: int | None = None
    test: int | None = None

    def check(self) -> None:
        """
        Raises:
            UsageError: a split of nothing.
        """
        for split, length in self.by_split.items():
            if length is not None and length < 1:
                raise UsageError(f"A {split} split of {length} tokens makes no sense.", fix="Use 1 or more.")

    @property
    def by_split(self) -> dict[str, int | None]:
        return dict(zip(SPLITS, (self.train, self.valid, self.test), strict=True))

    def at_most(self, split: str, length: int) -> int:
        """`length`, or the split's limit where that is smaller."""
        return min(length, self.by_split[split] or length)


@dataclass(frozen=True)
class Order:
    """One data set to be made."""

    vocabulary: int | None = None
    limits: Limits = field(default_factory=Limits)
    seed: int = 1
    """Of generated data."""
    dataset: DataSet | None = None
    """None for generated data."""
    paths: Mapping[str, Path] = field(default_factory=dict)
    """Name of the file in `DataSet.files` -> where it lies; empty until the files are found."""
    progress: Progress | None = None
    """Told about work of minutes, in raw bytes (done, in all)."""

    @property
    def of(self) -> DataSet:
        """The data set of files that this order is for."""
        assert self.dataset is not None
        return self.dataset
