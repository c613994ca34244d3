"""Small data sets in the prepared form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from task_support import Arrays, prepared


@pytest.fixture(scope="session")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 and 61 images of 32 x 32 in ten classes, each class with a colour of its own under noise."""
    random = np.random.default_rng(5)
    arrays: Arrays = {}
    for split, n in (("train", 200), ("test", 61)):
        labels = random.integers(0, 10, n).astype("|u1")
        images = random.integers(0, 60, (n, 3, 32, 32)) + (labels * 19)[:, None, None, None]
        arrays |= {split: images.astype("|u1"), f"{split}_labels": labels}
    return prepared(tmp_path_factory.mktemp("images"), arrays)


@pytest.fixture(scope="session")
def small_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 and 83 rows of 12 features, divided by a hyperplane."""
    random = np.random.default_rng(6)
    weights = random.normal(size=12)
    arrays: Arrays = {}
    for split, n in (("train", 500), ("test", 83)):
        rows = random.normal(size=(n, 12)).astype("<f4")
        arrays |= {split: rows, f"{split}_labels": (rows @ weights > 0).astype("|u1")}
    return prepared(tmp_path_factory.mktemp("rows"), arrays)
