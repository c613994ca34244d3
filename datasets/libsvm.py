"""LIBSVM's text format to dense arrays: a line is `label index:value index:value …`, the indices from 1 and rising."""

from __future__ import annotations

import bz2
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import DataCorrupt, UsageError
from .making import Order
from .writing import Writing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BLOCK_ROWS = 4096


def check(order: Order) -> None:
    """
    Raises:
        UsageError: a vocabulary of numbers.
    """
    if order.vocabulary is not None:
        raise UsageError(f"{order.of.title} has no vocabulary.")


def inputs(order: Order) -> Mapping[str, object]:
    """The number of features: a file need not name the last ones."""
    return {"features": order.of.options["features"]}


def make(order: Order, writing: Writing) -> None:
    """`train` and `test`, (N, features) float32, and `train_labels`, `test_labels`, (N,), 0 for -1 and 1 for +1.

    Raises:
        DataCorrupt: a line that is none of the format; the message names it.
    """
    features = int(order.of.options["features"])
    writing.unit = "rows"
    for name, path in order.paths.items():
        split = "test" if ".t" in name else "train"
        writing.array(split, "<f4", (features,))
        writing.array(f"{split}_labels", "|u1")
        writing.counts[split] = 0
        for rows, labels in read_blocks(path, features):
            writing.append(split, rows)
            writing.append(f"{split}_labels", labels)
            writing.counts[split] += len(labels)


def read_blocks(path: Path, features: int) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    """The rows, (n, features), and labels, (n,), of a file, a block at a time.

    Raises:
        DataCorrupt: a line that is none of the format; the message names it.
    """
    import numpy as np

    rows, labels = np.zeros((_BLOCK_ROWS, features), np.float32), np.zeros(_BLOCK_ROWS, np.uint8)
    number, filled = 0, 0
    with _opened(path) as lines, warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's word for text that is no number
        try:
            for line in lines:
                number += 1  # the handler below wants it
                labels[filled] = _fill(rows[filled], line)
                filled += 1
                if filled == _BLOCK_ROWS:
                    yield rows, labels
                    rows[:], filled = 0, 0
        except (ValueError, DeprecationWarning, OSError, EOFError) as error:
            raise DataCorrupt(
                f"{path} is not a LIBSVM file of {features:,} features.",
                why=f"In or after line {number:,}: {error}.",
                fix="Replace the file with an intact copy.",
            ) from error
    yield rows[:filled], labels[:filled]


def _fill(row: npt.NDArray[np.float32], line: bytes) -> int:
    """Write a line's values into a row of zeros; the label, 0 or 1."""
    import numpy as np

    # One call for the whole line: epsilon has a thousand million values.
    numbers = np.fromstring(line.replace(b":", b" "), np.float64, sep=" ")
    label, indices, values = numbers[:1], numbers[1::2], numbers[2::2]
    if not line.strip() or len(indices) != len(values) or len(values) != line.count(b":"):
        raise ValueError("it is not `label index:value …`")
    if label[0] not in (1.0, -1.0):
        raise ValueError(f"the label {label[0]:g}; labels are +1 and -1")
    where = indices.astype(np.int64)
    if (np.diff(where, prepend=0, append=len(row) + 1) < 1).any() or (where != indices).any():
        raise ValueError(f"its indices do not rise from 1 to at most {len(row)}")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    row[where - 1] = values
    return int(label[0] == 1.0)


def _opened(path: Path) -> IO[bytes]:
    return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")
