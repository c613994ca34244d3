"""Images decoded in processes beside the training: what is wanted is planned ahead, and comes in that order.

The JPEG bytes stay in files mapped into memory, read-only, which all processes of a node share. An image's crop
depends on the run's seed, the epoch and the image alone.

Shapes: B images, S pixels a side.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import DataCorrupt
from .jpeg import centre_crop, random_crop
from .load import load_array, map_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

_CROP = 3
"""Purpose of a stream of random numbers."""
_MOST_WORKERS = 32
_LEAST_AHEAD = 16
"""Entries of a plan: a worker that is kept from its core for a while is not waited for."""


@dataclass(frozen=True)
class Wanted:
    """A few images to be decoded together."""

    split: str
    places: tuple[int, ...]
    side: int
    seed: int | None = None
    """Of random crops; None: the middle of each image."""
    epoch: int = 0
    area: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest part of an image that a random crop takes."""
    resized: int = 0
    """Length of the shorter side, of which the middle is taken."""


@dataclass
class Images(Dataset[Any]):
    """The images of a prepared data set in the layout of datasets/imagenet.py."""

    path: Path
    _index: dict[str, Tensor] = field(default_factory=dict)
    _shards: dict[tuple[str, int], npt.NDArray[np.uint8]] = field(default_factory=dict)

    def index(self, split: str) -> Tensor:
        """Shard, first byte, bytes and class of every image, (N, 4)."""
        if split not in self._index:
            self._index[split] = load_array(self.path, f"{split}_index")
        return self._index[split]

    def __getitem__(self, wanted: Wanted) -> tuple[Tensor, Tensor]:
        """The images, (B, 3, S, S) bytes laid out with channels last, and their classes, (B,).

        Raises:
            DataCorrupt: an image does not decode: it did when the data set was made.
        """
        rows = self.index(wanted.split)[list(wanted.places)]
        pixels_BSSC = np.stack([self._decoded(wanted, place) for place in wanted.places])
        return torch.from_numpy(pixels_BSSC).permute(0, 3, 1, 2), rows[:, 3].clone()

    def __getstate__(self) -> dict[str, Any]:
        """A worker maps the files itself."""
        return {"path": self.path, "_index": {}, "_shards": {}}

    def _decoded(self, wanted: Wanted, place: int) -> npt.NDArray[np.uint8]:
        content = self._content(wanted.split, place)
        try:
            if wanted.seed is None:
                return centre_crop(content, wanted.resized, wanted.side)
            random = np.random.Generator(
                np.random.Philox(key=[wanted.seed % 2**64, _CROP], counter=[0, 0, wanted.epoch, place])
            )
            return random_crop(content, wanted.side, random, wanted.area)
        except (OSError, SyntaxError) as error:
            raise DataCorrupt(
                f"{self.path} is damaged.",
                why=f"Image {place:,} of {wanted.split} does not decode: {error}.",
                fix="Delete the folder and start again: it is made anew from the raw files.",
            ) from error

    def _content(self, split: str, place: int) -> bytes:
        shard, first, size, _ = self.index(split)[place].tolist()
        if (split, shard) not in self._shards:
            self._shards[split, shard] = map_bytes(self.path, f"{split}-{shard:05}")
        return self._shards[split, shard][first : first + size].tobytes()


class Feed:
    """Decodes ahead in processes of its own; one plan at a time."""

    def __init__(self, path: Path, *, pinned: bool, workers: int | None = None) -> None:
        """Start the processes and wait for them.

        Args:
            pinned: hand over memory that copies to a GPU in the background.
            workers: None: all cores of this machine but one for each of its ranks, and at least one; 0 decodes in
                this process.
        """
        self.images = Images(path)
        self.workers = usual_workers() if workers is None else workers
        self._plan: list[Wanted] = []
        self._pinned = pinned
        self._ahead = 0
        self._loader: DataLoader[Any] | None = None

    def prepare(self, ahead: int) -> None:
        """Start the processes, which decode up to `ahead` entries of a plan beyond the one that is used."""
        several = self.workers > 0
        self._loader = DataLoader(
            self.images,
            batch_size=None,
            sampler=_Plan(self._plan),
            num_workers=self.workers,
            pin_memory=self._pinned,
            persistent_workers=several,
            prefetch_factor=max(2, -(-max(ahead, _LEAST_AHEAD) // self.workers)) if several else None,
            # Ranks have threads, which a fork would not survive; the server forks from a process without any.
            multiprocessing_context="forkserver" if several else None,
        )
        some = min(4, len(self.images.index("train")))
        list(self.decoded([Wanted("train", tuple(range(some)), 8, resized=8)] * max(1, self.workers)))

    def decoded(self, plan: Sequence[Wanted]) -> Iterator[tuple[Tensor, Tensor]]:
        """What a plan wants, in its order."""
        assert self._loader is not None, "prepare comes first"
        self._plan[:] = plan
        yield from self._loader


class _Plan:
    """The sampler: hands out what the feed's plan is when an iteration begins."""

    def __init__(self, plan: list[Wanted]) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[Wanted]:
        return iter(list(self._plan))

    def __len__(self) -> int:
        return len(self._plan)


def usual_workers() -> int:
    """Processes that decode for this rank: the machine's cores, shared out to its ranks, but one to train on."""
    ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return min(_MOST_WORKERS, max(1, len(os.sched_getaffinity(0)) // ranks - 1))
