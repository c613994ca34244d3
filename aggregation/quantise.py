"""Tensors as few bits: signs, and whole numbers scaled by blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pack_signs(vector: Tensor, *, zeros_up: bool = True) -> Tensor:
    """Eight signs to a byte, the first in the lowest bit; 1 is up. Shape (ceil(N / 8),), uint8.

    Args:
        zeros_up: what a zero is said to be: one bit has no third value.
    """
    return _pack((vector >= 0 if zeros_up else vector > 0).to(torch.uint8), 1)


def unpack_signs(packed: Tensor, like: Tensor) -> Tensor:
    """The signs as +1 and -1, of the shape and dtype of `like`."""
    return _unpack(packed, 1)[: like.numel()].to(like.dtype).mul_(2).sub_(1)


def encode(vector: Tensor, bits: int, block: int, chance: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Quantise a vector of N entries to the levels -s … s of each block's scale, s = 2^(bits-1) - 1.

    Args:
        chance: rounds at random, without bias, by multiples of the block's Euclidean norm / s; None: to the nearest
            multiple of its largest modulus / s.

    Returns:
        Codes, (ceil(N / block) x block x bits / 8,) uint8, and scales, (ceil(N / block),), of the vector's dtype.
    """
    levels = (1 << bits - 1) - 1
    blocks = F.pad(vector, (0, -vector.numel() % block)).view(-1, block)
    scales = blocks.abs().amax(dim=1) if chance is None else torch.linalg.vector_norm(blocks, dim=1)
    # A block of zeros has the scale 0, and any finite number times 0 decodes it.
    steps = blocks * (levels / scales.clamp_min(torch.finfo(vector.dtype).tiny))[:, None]
    if chance is None:
        codes = steps.round()
    else:
        codes = (steps + torch.rand(steps.shape, generator=chance, dtype=steps.dtype, device=steps.device)).floor()
    return _pack((codes.clamp_(-levels, levels) + levels).to(torch.uint8).flatten(), bits), scales


def decode(codes: Tensor, scales: Tensor, bits: int, like: Tensor) -> Tensor:
    """What `encode` made of a vector of the shape and dtype of `like`."""
    levels = (1 << bits - 1) - 1
    steps = (_unpack(codes, bits).to(like.dtype) - levels).view(len(scales), -1)
    return (steps * (scales / levels)[:, None]).flatten()[: like.numel()]


def _pack(numbers: Tensor, bits: int) -> Tensor:
    """Numbers below 2^bits, uint8, several to a byte, the first in the lowest bits."""
    each = 8 // bits
    rows = F.pad(numbers, (0, -numbers.numel() % each)).view(-1, each)
    packed = rows[:, 0].clone()
    for place in range(1, each):
        packed |= rows[:, place] << place * bits
    return packed


def _unpack(packed: Tensor, bits: int) -> Tensor:
    mask = (1 << bits) - 1
    return torch.stack([packed >> place * bits & mask for place in range(8 // bits)], dim=1).flatten()
