"""CIFAR's binary layout to arrays: a record is one label byte and 3 x 32 x 32 bytes of red, green and blue rows."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DataCorrupt, UsageError
from .making import Order
from .writing import Writing


def check(order: Order) -> None:
    """
    Raises:
        UsageError: a vocabulary of images.
    """
    if order.vocabulary is not None:
        raise UsageError(f"{order.of.title} has no vocabulary.")


def inputs(_: Order) -> Mapping[str, object]:
    """Nothing but the files determines the arrays."""
    return {}


def make(order: Order, writing: Writing) -> None:
    """`train` and `test`, (N, 3, side, side) bytes, and `train_labels`, `test_labels`, (N,).

    Raises:
        DataCorrupt: a file holds no whole number of records, or a label that is no class.
    """
    import numpy as np

    side, classes = int(order.of.options["side"]), int(order.of.options["classes"])
    shape = (3, side, side)
    writing.unit = "images"
    for split in ("train", "test"):
        writing.array(split, "|u1", shape)
        writing.array(f"{split}_labels", "|u1")
        writing.counts[split] = 0
    for name, path in order.paths.items():
        split = "test" if name.startswith("test") else "train"
        raw = np.fromfile(path, np.uint8)
        if raw.size % (1 + 3 * side * side):
            raise DataCorrupt(f"{path} is damaged.", why="It does not hold a whole number of images.")
        records = raw.reshape(-1, 1 + 3 * side * side)
        if (wrong := np.flatnonzero(records[:, 0] >= classes)).size:
            raise DataCorrupt(
                f"{path} holds a wrong label.",
                why=f"Image {wrong[0]:,} has the label {records[wrong[0], 0]}; labels go from 0 to {classes - 1}.",
                fix="Replace the file with an intact copy.",
            )
        writing.append(split, records[:, 1:].reshape(-1, *shape))
        writing.append(f"{split}_labels", records[:, 0])
        writing.counts[split] += len(records)
