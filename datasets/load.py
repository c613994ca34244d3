"""Prepared arrays as tensors, and how they are shared out to ranks: the files of this room that need torch.

Shapes: N tokens of a split, B columns of one sequence each, T tokens of a column.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import DataCorrupt, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_AGAIN = "Delete the folder and start again: it is made anew from the raw files."

_DTYPES = {"<i4": torch.int32, "<i8": torch.int64, "|u1": torch.uint8, "<f4": torch.float32}


def load_array(path: Path, name: str) -> Tensor:
    """An array of a prepared data set, mapped from its file: all ranks of a node share its pages.

    Writing to the tensor changes this process's copy alone, never the file.

    Args:
        path: the folder of a prepared data set (`Prepared.path`).
        name: of the array: `train`, `test_labels`, …

    Raises:
        UsageError: there is no such array.
        DataCorrupt: the folder is not a prepared data set, or the file has not the length it was made with.
    """
    file, shape, dtype = _described(path, name)
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    return torch.from_file(str(file), shared=False, size=math.prod(shape), dtype=dtype).view(shape)


def map_bytes(path: Path, name: str) -> npt.NDArray[np.uint8]:
    """An array of bytes, mapped read-only: it may be larger than the memory, which `load_array`'s may not.

    Raises:
        UsageError, DataCorrupt: as `load_array`.
    """
    import numpy as np

    file, shape, _ = _described(path, name)
    return np.memmap(file, np.uint8, "r") if math.prod(shape) else np.empty(0, np.uint8)


def _described(path: Path, name: str) -> tuple[Path, list[int], torch.dtype]:
    """The file of an array, its shape and its type, as meta.json has them."""
    try:
        files = json.loads((path / "meta.json").read_text())["files"]
        arrays = {entry["array"]: (path / file, entry) for file, entry in files.items() if "array" in entry}
        if name not in arrays:
            raise UsageError(f"There is no array {name!r} in {path}.", fix=f"Arrays: {', '.join(arrays)}.")
        file, entry = arrays[name]
        shape, dtype, expected_bytes = list(entry["shape"]), _DTYPES[entry["dtype"]], int(entry["bytes"])
        found_bytes = file.stat().st_size
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataCorrupt(
            f"{path} is not a prepared data set.", why=f"{type(error).__name__}: {error}", fix=_AGAIN
        ) from error
    if found_bytes != expected_bytes:
        raise DataCorrupt(
            f"{file} is damaged.", why=f"{expected_bytes:,} bytes expected, {found_bytes:,} found.", fix=_AGAIN
        )
    return file, shape, dtype


def columns(ids: Tensor, batch: int) -> Tensor:
    """Cut a text, shape (N,), into `batch` equal consecutive pieces, the columns of the result, shape (T, B).

    The last N mod B tokens are left out.

    Raises:
        UsageError: there are more columns than tokens.
    """
    length = ids.numel() // batch
    if length < 1:
        raise UsageError(
            f"A batch of {batch} sequences is larger than the text of {ids.numel():,} tokens.",
            fix="Use a smaller batch or fewer ranks.",
        )
    return ids[: length * batch].view(batch, length).t().contiguous()


def shard_columns(columns_TB: Tensor, rank: int, world: int) -> Tensor:
    """The columns of one rank, shape (T, B / world): columns rank * B / world and on, each on one rank only.

    Raises:
        UsageError: the columns cannot be shared out evenly.
    """
    batch = columns_TB.shape[1]
    if batch % world or not 0 <= rank < world:
        raise UsageError(
            f"{batch} sequences cannot be shared out evenly to {world} ranks (rank {rank}).",
            fix="Use a number of ranks that divides the batch.",
        )
    share = batch // world
    return columns_TB[:, rank * share : (rank + 1) * share].contiguous()
