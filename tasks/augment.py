"""Random crops and flips of small images, drawn for each sample of an epoch, not for each batch.

A sample's crop and flip depend on the run's seed, the epoch and the sample alone: any number of ranks sees the same
augmented images, and a resumed run goes on with the very ones that would have come.

Shapes: B images, N images of the data set, S pixels a side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..datasets.share import generator

_AUGMENT = 2
"""Purpose of a stream of random numbers."""


class CropAndFlip:
    """Crops of S x S pixels out of images padded with black, half of them mirrored."""

    def __init__(self, padding: int, flip: bool) -> None:
        self._padding, self._flip = padding, flip
        self._drawn: tuple[tuple[int, int, int], Tensor] | None = None

    def __call__(self, images_BCSS: Tensor, places_B: Tensor, samples: int, seed: int, epoch: int) -> Tensor:
        """The augmented images, uint8 and laid out with channels last; `places_B` tells which of `samples` they are.

        They are made on the images' device, from the same draws on each.
        """
        draws_B3 = self._draws(samples, seed, epoch, images_BCSS.device)[places_B]
        side, padding = images_BCSS.shape[-1], self._padding
        padded = F.pad(images_BCSS.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
        ramp = torch.arange(side, device=images_BCSS.device)
        columns_BS = torch.where(draws_B3[:, 2:] > 0, side - 1 - ramp, ramp) + draws_B3[:, 1:2]
        rows_BS = ramp + draws_B3[:, :1]
        width = side + 2 * padding
        base_B = torch.arange(len(places_B), device=images_BCSS.device) * width * width
        # One look-up of whole pixels: copying three bytes at a time costs far less than three separate planes.
        pixels = (base_B[:, None, None] + rows_BS[:, :, None] * width + columns_BS[:, None, :]).flatten()
        taken = padded.reshape(-1, images_BCSS.shape[1]).index_select(0, pixels)
        return taken.view(len(places_B), side, side, -1).permute(0, 3, 1, 2)

    def _draws(self, samples: int, seed: int, epoch: int, device: torch.device) -> Tensor:
        """Row offset, column offset and whether to mirror, (N, 3), for an epoch."""
        key = (samples, seed, epoch)
        if self._drawn is None or self._drawn[0] != key:
            random = generator(seed, _AUGMENT, epoch)
            offsets = torch.randint(0, 2 * self._padding + 1, (samples, 2), generator=random)
            mirrored = torch.randint(0, 2, (samples, 1), generator=random) * int(self._flip)
            self._drawn = key, torch.cat([offsets, mirrored], 1).to(device)
        return self._drawn[1]
