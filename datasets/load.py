"""Prepared token ids as tensors: the one file of this room that needs torch.

Shapes: N tokens of a split, B columns of one sequence each, T tokens of a column.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataCorrupt, UsageError
from .sources import SPLITS

_AGAIN = "Delete the folder and start again: it is made anew from the raw files."


def load_tokens(path: Path, split: str) -> Tensor:
    """The token ids of a split, shape (N,), int32, mapped from the file: all ranks of a node share its pages.

    Writing to the tensor changes this process's copy alone, never the file.

    Args:
        path: the folder of a prepared data set (`Prepared.path`).
        split: `train`, `valid` or `test`.

    Raises:
        UsageError: there is no such split.
        DataCorrupt: the folder is not a prepared data set, or the file has not the length it was made with.
    """
    if split not in SPLITS:
        raise UsageError(f"There is no split {split!r}.", fix=f"Splits: {', '.join(SPLITS)}.")
    file = path / f"{split}.i32"
    try:
        count = int(json.loads((path / "meta.json").read_text())["tokens"][split])
        found_bytes = file.stat().st_size
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataCorrupt(
            f"{path} is not a prepared data set.", why=f"{type(error).__name__}: {error}", fix=_AGAIN
        ) from error
    if count < 1 or found_bytes != 4 * count:
        raise DataCorrupt(
            f"{file} is damaged.", why=f"{4 * count:,} bytes expected, {found_bytes:,} found.", fix=_AGAIN
        )
    return torch.from_file(str(file), shared=False, size=count, dtype=torch.int32)


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
