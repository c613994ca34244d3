"""Compressed messages: what is sent plus what is remembered is the whole gradient, and what each message may be."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.aggregation.catalogue import parse
from mlb.aggregation.compression import Compressed, Quantised, RandomK, SignVote, TopK, kept
from mlb.aggregation.exchange import Exchange
from mlb.aggregation.patterns import create
from mlb.aggregation.quantise import decode, encode, pack_signs, unpack_signs
from torch import Tensor, nn

LOSSY = ["topk:ratio=0.2", "randomk:ratio=0.2", "sign", "qsgd:error_feedback=yes", "qsgd:bits=2:block=8", "int8"]


class Others(Exchange):
    """Stands in for other ranks, whose messages are given."""

    def __init__(self, *messages: Tensor) -> None:
        super().__init__(3)
        self.messages = list(messages)

    def all_gather(self, tensor: Tensor, group: Any = None) -> Tensor:
        others = [self.messages.pop(0) for _ in range(2)] if self.messages else [tensor, tensor]
        return torch.stack([tensor, *others])

    def all_reduce(self, tensor: Tensor, group: Any = None) -> None:
        tensor.mul_(3)


def pattern(text: str, exchange: Exchange, shape: tuple[int, ...] = (7, 5)) -> Compressed:
    choice = parse(text)
    made = create(text, nn.ParameterList([nn.Parameter(torch.zeros(shape, dtype=torch.float64))]), 1)
    options = {**choice.info.fixed, **choice.options}
    made = type(made)(made.model, exchange, **options)
    assert isinstance(made, Compressed)
    return made


@pytest.mark.parametrize("text", LOSSY)
def test_what_is_sent_and_what_is_remembered_are_the_whole_gradient(text: str) -> None:
    """Step after step: the sum of all gradients is the sum of all own messages plus the memory."""
    made = pattern(text.replace(":block=8", ":block=8:error_feedback=yes"), Others())
    given_in, said = torch.zeros_like(made.buffer), torch.zeros_like(made.buffer)
    for step in range(6):
        gradient = torch.randn(35, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        made.buffer.copy_(gradient)
        given_in += gradient
        made.reduce()
        # All three ranks say the same here, so the mean is the own message.
        said += made.buffer
    assert made.memory is not None
    torch.testing.assert_close(said + made.memory, given_in, rtol=1e-12, atol=1e-12)
    assert made.memory.abs().sum() > 0


def test_without_memory_nothing_is_remembered() -> None:
    made = pattern("topk:ratio=0.2:error_feedback=no", Others())
    made.buffer.copy_(torch.arange(35.0))
    made.reduce()
    assert made.memory is None
    assert made.buffer.nonzero().flatten().tolist() == list(range(28, 35))


def test_the_majority_decides_each_sign() -> None:
    vectors = [torch.tensor(v, dtype=torch.float64) for v in ([3.0, -1, 2, -4], [1.0, 5, -1, -1], [-2.0, -2, 4, -1])]
    others = Others(*(v.abs().mean().reshape(1) for v in vectors[1:]), *(pack_signs(v) for v in vectors[1:]))
    made = pattern("sign", others, (4,))
    made.buffer.copy_(vectors[0])
    made.reduce()
    size = sum(v.abs().mean() for v in vectors) / 3
    torch.testing.assert_close(made.buffer, size * torch.tensor([1, -1, 1, -1], dtype=torch.float64))


def test_the_same_random_entries_on_every_rank_and_others_in_every_step() -> None:
    first, second = (pattern("randomk:ratio=0.1", Others()) for _ in range(2))
    places = []
    for made in (first, second, first):
        made.buffer.fill_(1)
        made.reduce()
        places.append(made.buffer.nonzero().flatten().tolist())
    assert places[0] == places[1] != places[2]
    assert len(places[0]) == 4


@given(st.integers(1, 200), st.sampled_from([2, 4, 8]), st.sampled_from([8, 64]), st.integers(0, 99))
@settings(max_examples=60)
def test_rounding_is_off_by_at_most_half_a_level(elements: int, bits: int, block: int, seed: int) -> None:
    vector = torch.randn(elements, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    codes, scales = encode(vector, bits, block, None)
    assert codes.numel() == -(-elements // block) * block * bits // 8
    error = (decode(codes, scales, bits, vector) - vector).abs()
    levels = 2 ** (bits - 1) - 1
    limit = scales.repeat_interleave(block)[:elements] / levels / 2
    assert (error <= limit * (1 + 1e-12)).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_random_rounding_has_the_right_mean_and_no_more_than_the_known_variance(bits: int) -> None:
    """QSGD, lemma 3.1: E|q - v|^2 <= min(d / s^2, sqrt(d) / s) |v|^2."""
    chance, d = torch.Generator().manual_seed(1), 64
    vector = torch.randn(d, generator=chance, dtype=torch.float64)
    draws = torch.stack([decode(*encode(vector, bits, d, chance), bits, vector) for _ in range(4000)])
    s, norm = 2 ** (bits - 1) - 1, vector.norm()
    spread = norm / s / 2 / 4000**0.5
    assert (draws.mean(dim=0) - vector).abs().max() < 5 * spread
    assert (draws - vector).pow(2).sum(dim=1).mean() <= min(d / s**2, d**0.5 / s) * norm**2


def test_zeros_stay_zeros_and_signs_survive_packing() -> None:
    zeros = torch.zeros(13)
    for chance in (None, torch.Generator()):
        assert torch.equal(decode(*encode(zeros, 4, 8, chance), 4, zeros), zeros)
    vector = torch.randn(13)
    for zeros_up in (True, False):
        assert torch.equal(unpack_signs(pack_signs(vector, zeros_up=zeros_up), vector), vector.sign())
        turned = unpack_signs(pack_signs(zeros, zeros_up=zeros_up), zeros)
        assert torch.equal(turned, torch.full_like(zeros, 1.0 if zeros_up else -1.0))
    assert len(pack_signs(vector)) == 2


def test_at_least_one_entry_is_kept_and_at_most_all() -> None:
    assert [kept(r, n) for r, n in ((0.01, 5), (0.5, 5), (1.0, 5), (0.1, 100))] == [1, 3, 5, 10]
    assert all(issubclass(kind, Compressed) for kind in (TopK, RandomK, SignVote, Quantised))
