"""Compressed gradients with error feedback: what a message leaves out is remembered and added to the next one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .exchange import Exchange
from .flat import FlatGradients
from .quantise import decode, encode, pack_signs, unpack_signs


class Compressed(FlatGradients):
    """v = gradient + memory; the ranks exchange messages of v; memory = v - what the own message says of v
    (Karimireddy et al. 2019, "Error feedback fixes SignSGD and other gradient compression schemes").

    Args:
        error_feedback: whether there is a memory.
    """

    def __init__(self, model: nn.Module, exchange: Exchange, error_feedback: bool = True) -> None:
        super().__init__(model, exchange)
        self.memory = torch.zeros_like(self.buffer) if error_feedback else None
        self._own_chance = torch.Generator(self.buffer.device).manual_seed(1_000_003 + exchange.rank)

    def _average(self) -> None:
        if self.memory is not None:
            self.buffer.add_(self.memory)
        mean, own = self._messages(self.buffer)
        if self.memory is not None:
            torch.sub(self.buffer, own, out=self.memory)
        self.buffer.copy_(mean)

    def _messages(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Exchange messages of a vector; returns what all say together, and what the own one says, both in full."""
        raise NotImplementedError


class Sparsified(Compressed):
    """Some of the entries.

    Args:
        ratio: the share of all entries that is sent, rounded up.
    """

    def __init__(self, model: nn.Module, exchange: Exchange, ratio: float = 0.01, error_feedback: bool = True) -> None:
        super().__init__(model, exchange, error_feedback)
        self._k = kept(ratio, self.buffer.numel())
        self._common_chance = torch.Generator().manual_seed(1_000_003)


class TopK(Sparsified):
    """The entries of largest modulus, each with its place: 8 bytes for one of 4."""

    def _messages(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        places = vector.abs().topk(self._k, sorted=False).indices
        all_places = self.exchange.all_gather(places.int()).long()
        all_values = self.exchange.all_gather(vector[places])
        mean = torch.zeros_like(vector).index_add_(0, all_places.flatten(), all_values.flatten())
        return mean.div_(self.world_size), torch.zeros_like(vector).index_copy_(0, places, vector[places])


class RandomK(Sparsified):
    """Entries drawn anew at each step, the same on every rank, so that their values alone can be all-reduced."""

    def _messages(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.randperm(vector.numel(), generator=self._common_chance)[: self._k].to(vector.device)
        own = torch.zeros_like(vector).index_copy_(0, places, vector[places])
        values = vector[places]
        self.exchange.all_reduce(values)
        return torch.zeros_like(vector).index_copy_(0, places, values.div_(self.world_size)), own


class SignVote(Compressed):
    """One bit an entry; each entry goes where the majority of the ranks says, by the mean of their mean moduli
    (Bernstein et al. 2019, "signSGD with majority vote"; the size as in Karimireddy et al. 2019). A tie moves nothing.

    sign(0) is 0, which one bit cannot say: a zero votes up and down by turns, in each step against the zeros of the
    ranks before and after. What has no gradient on an even number of ranks is a tie; on an odd one it goes up and down
    by one size, and nowhere in two steps.
    """

    _steps = 0

    def _messages(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        size = vector.abs().mean().reshape(1)
        sizes = self.exchange.all_gather(size)
        packed = pack_signs(vector, zeros_up=(self._steps + self.exchange.rank) % 2 == 0)
        self._steps += 1
        signs = self.exchange.all_gather(packed)
        votes = torch.zeros_like(vector)
        for bits in signs:
            votes.add_(unpack_signs(bits, vector))
        return votes.sign_().mul_(sizes.mean()), unpack_signs(packed, vector).mul_(size)


class Quantised(Compressed):
    """Whole numbers of few bits, scaled block by block; the messages are gathered, so that no sum can overflow.

    Args:
        bits: of one entry: 2, 4 or 8.
        block: entries that share a scale.
        stochastic: QSGD (Alistarh et al. 2017): scaled by the block's Euclidean norm and rounded at random, so that
            the mean is exact; else scaled by its largest modulus and rounded to the nearest.
    """

    def __init__(
        self,
        model: nn.Module,
        exchange: Exchange,
        bits: int = 8,
        block: int = 512,
        stochastic: bool = False,
        error_feedback: bool = True,
    ) -> None:
        super().__init__(model, exchange, error_feedback)
        self._bits, self._block = bits, block
        self._chance = self._own_chance if stochastic else None

    def _messages(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        codes, scales = encode(vector, self._bits, self._block, self._chance)
        all_codes, all_scales = self.exchange.all_gather(codes), self.exchange.all_gather(scales)
        mean = torch.zeros_like(vector)
        for other_codes, other_scales in zip(all_codes, all_scales, strict=True):
            mean.add_(decode(other_codes, other_scales, self._bits, vector))
        return mean.div_(self.world_size), decode(codes, scales, self._bits, vector)


def kept(ratio: float, elements: int) -> int:
    """How many of the entries a ratio keeps: at least one, at most all."""
    return min(elements, max(1, -int(-ratio * elements // 1)))
