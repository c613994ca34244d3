"""What the tests of task 1b share."""

from pathlib import Path

import numpy as np
import pytest
from mlb.datasets.jpeg import encode
from task_support import prepared


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 training images in two shards, and 20 to validate on."""
    random = np.random.default_rng(5)
    arrays: dict[str, np.ndarray] = {}
    for split, shards in (("train", (50, 40)), ("valid", (20,))):
        rows = []
        for number, count in enumerate(shards):
            contents = [encode(random.integers(0, 256, (24, 30, 3), np.uint8), 90) for _ in range(count)]
            arrays[f"{split}-{number:05}"] = np.frombuffer(b"".join(contents), np.uint8)
            first = 0
            for content in contents:
                rows.append((number, first, len(content), len(rows) % 3))
                first += len(content)
        arrays[f"{split}_index"] = np.array(rows, "<i8")
    return prepared(tmp_path_factory.mktemp("images"), arrays)
